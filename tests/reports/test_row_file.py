"""metrics.csv, bands.csv and recovery.csv as people and machines leave them: nothing is lost, nothing is misread."""

import re

import pytest
from helpers import GRIDS, STEPS_PER_EPOCH, C, contents, launch, launch_until, metrics

from mindiffusion.reports.row_file import BANDS, COLUMNS, METRICS, RowFile, read_rows
from mindiffusion.runtime.errors import UserError

GOOD = "stage,step,loss\n1,3,0.5\n1,6,nan\n"


DAMAGES = (
    ("metrics.csv", lambda text: text.replace(",", ";")),
    ("bands.csv", lambda text: re.sub(r"\A(.*\n.*,).*", r"\g<1>9e300", text)),  # an overflow in the last cell
    ("recovery.csv", lambda text: text.partition("\n")[2]),  # without its first line
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A file of few columns."""
    monkeypatch.setitem(COLUMNS, "a.csv", ("stage", "step", "loss"))


@pytest.mark.parametrize(
    ("text", "rows", "good"),
    [
        (GOOD, 2, True),
        (GOOD + "1,9,0.2", 2, True),  # cut off by a kill
        (GOOD.replace("\n", "\r\n"), 2, True),
        ("", 0, True),
        (GOOD.replace("6", "six"), 1, False),
        (GOOD.replace("0.5", "9" * 400), 1, False),
        (GOOD.replace("stage", "step"), 0, False),
        (GOOD + "1,9,\0\0\n", 2, False),
        (GOOD + "1,9,0.2\r1,12,0.2\r", 2, False),
        (GOOD.replace("loss", "foreign"), 2, False),
        ("\x89PNG\0\0\n" + GOOD[20:], 0, False),
    ],
)
def test_only_whole_rows_of_numbers_are_read(tmp_path, text, rows, good):
    (tmp_path / "a.csv").write_bytes(text.encode())
    found, as_written = read_rows(tmp_path / "a.csv")
    assert (len(found), as_written) == (rows, good)


def test_a_column_that_an_older_file_lacks_is_unknown_and_old_names_are_known(tmp_path):
    (tmp_path / "a.csv").write_text("stage,step\n1,3\n")
    assert read_rows(tmp_path / "a.csv") == ([{"stage": "1", "step": "3", "loss": "nan"}], True)
    old = [*METRICS[:4], *(f"t<={i / 10:g}" for i in range(1, 11))]
    (tmp_path / "bands.csv").write_text(",".join(old) + "\n" + ",".join("1" * 14) + "\n")
    assert read_rows(tmp_path / "bands.csv")[0] == [dict.fromkeys((*METRICS[:4], *BANDS), "1")]


def test_resume_keeps_a_file_that_is_not_as_it_was_written(tmp_path, monkeypatch, capsys):
    launch_until(2 * STEPS_PER_EPOCH, C, tmp_path)
    folder = contents(C, tmp_path)
    (folder / "recovery.csv").write_text("stage,coarse,fine,outside\n1,0.1,0.2,0.3\n")
    damaged = {file: damage((folder / file).read_text()) for file, damage in DAMAGES}
    for file, text in damaged.items():
        (folder / file).write_text(text)
    (folder / "bands.csv.bad").write_text("an earlier one")
    launch(C, tmp_path, "--resume", *GRIDS)
    out = capsys.readouterr().out
    for file, text in damaged.items():
        kept = folder / f"{file}.bad{2 if file == 'bands.csv' else ''}"
        assert kept.read_text() == text
        assert out.count(f"{file} was not as a run had written it: kept as {kept.name}") == 1
    assert (folder / "bands.csv.bad").read_text() == "an earlier one"
    assert [row["stage"] for row in metrics(C, tmp_path)][-3:] == ["3", "4", "5"]
    assert [row["stage"] for row in read_rows(folder / "recovery.csv")[0]][-3:] == ["3", "4", "5"]
    launch(C, tmp_path, "--overwrite")
    assert not list(folder.glob("*.bad*"))


def test_what_can_be_read_is_taken_over_and_a_folder_is_named(tmp_path, capsys):
    path = tmp_path / "metrics.csv"
    row = ",".join("1" for _ in METRICS)
    path.write_text(f"{','.join(METRICS)}\n{row}\nbroken\n{row}\n")
    RowFile(path).keep_up_to(1)
    assert len(read_rows(path)[0]) == 2 and "2 rows are taken over" in capsys.readouterr().out
    path.write_text("broken again\n")
    assert RowFile(path).rows() == [] and (tmp_path / "metrics.csv.bad2").read_text() == "broken again\n"
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"cannot be read: not a regular file|cannot be read: Is a directory"):
        read_rows(path)


def test_a_column_whose_name_could_not_be_read_again_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no column 'drop-out': use letters"):
        RowFile(tmp_path / "metrics.csv").append({"stage": 1, "drop-out": 0.5})
