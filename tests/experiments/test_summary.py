"""The tables that the pages show, and the figures that are drawn of tables."""

import pytest
from helpers import ROOT

from experiments import budget_figure, summary, tables
from experiments.study_table import interval
from mindiffusion.runtime.errors import UserError

PAGES = [path for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")) if summary.BLOCK.search(path.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=[path.name for path in PAGES])
def test_the_tables_of_a_page_are_those_of_the_results(page):
    text = page.read_text()
    assert summary.filled(text) == text, f"python -m experiments.summary --write {page.relative_to(ROOT)}"


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """Two studies, "small" and "large", of two cells and two budgets."""
    monkeypatch.setattr(summary, "RESULTS", tmp_path)
    for study, images, better in (("small", 64_000, 0.0), ("large", 1_000_000, 4.0)):
        (tmp_path / study).mkdir()
        rows = [
            {"cell": cell, "seed": seed, "checkpoint": "final", "images": images, "metric": metric, "value": value}
            for cell, seed, value in (
                ("P", 0, 10.0 - better),
                ("P", 1, 12.0),
                ("uniform", 0, 20.0),
                ("uniform", 1, 22.0),
            )
            for metric in ("swd", "bpd")
        ]
        tables.write_csv(tmp_path / study / "results.csv", tables.RESULT_COLUMNS, rows)
    return tmp_path


def test_every_kind_of_table_is_written_between_its_comments(studies):
    kinds = [
        "means study=small cells=uniform,P,unknown metrics=swd",
        "differences study=small pairs=P/uniform metrics=swd",
        'rows "the control, small=small/uniform" P=large/P metrics=swd,bpd',
        "grid file=small/results.csv where=metric:swd rows=cell columns=seed value=value",
        "csv file=large/results.csv where=metric:bpd,seed:0 columns=cell,value digits=1",
    ]
    page = "Words.\n" + "\n".join(f"<!-- table: {kind} -->\nold\n<!-- end -->" for kind in kinds) + "\nMore.\n"
    filled = summary.filled(page)
    assert "old" not in filled and filled.startswith("Words.") and filled.endswith("More.\n")
    assert summary.filled(filled) == filled
    parts = [part.split(" -->")[1].split("\n\n")[1].splitlines() for part in filled.split("<!-- table:")[1:]]
    assert parts[0][0::3] == ["| | control | P |", "| `swd` | 21 ± 1 | 11 ± 1 |"]
    assert parts[1][2].startswith("| P against control | 48 % better (19 to 77) |")
    assert parts[2][2:4] == ["| the control, small | 21 ± 1 | 21.00 ± 1.41 | 2 |", "| P | 9 ± 4 | 9.00 ± 4.24 | 2 |"]
    assert parts[3][0::2] == ["| | 0 | 1 |", "| P | 10 | 12 |"]
    assert parts[4][2] == "| P | 6.0 |"
    for wrong in ("unknown", "means cells=P", "grid file=small/results.csv size=3", "differences study=small pairs=P"):
        with pytest.raises(UserError):
            summary.filled(f"<!-- table: {wrong} -->\n<!-- end -->")


def test_a_summary_says_which_is_better_and_counts_the_interval_in_that_direction():
    assert summary.gain_text(interval([3.0, 5.0, 7.0]), 0) == "5 % better (0 to 10)"
    assert summary.gain_text(interval([-1.0, -2.0, -0.9]), 1) == "1.3 % worse (-0.2 to 2.8)"
    assert summary.gain_text(interval([-2.0]), 1) == "2.0 % worse"
    assert summary.mean_text([1.0, 2.0], 1) == "1.5 ± 0.7" and summary.mean_text([], 1) == "-"


def test_an_interval_is_that_of_students_t():
    found = interval([1.0, 2.0, 3.0])
    assert (found.mean, found.seeds) == (2.0, 3)
    assert found.high - found.mean == pytest.approx(4.303 / 3**0.5, rel=1e-3)


def test_the_figure_of_budgets_has_a_line_per_way_of_training(studies, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    drawn = []
    plot = budget_figure.plot
    monkeypatch.setattr(budget_figure, "plot", lambda path, values: (drawn.append(values), plot(path, values)))
    folders = [str(studies / "small"), str(studies / "large")]
    budget_figure.main([*folders, "-o", str(tmp_path / "budget.png")])
    assert drawn[0]["swd"]["P"] == {64_000: [10.0, 12.0], 1_000_000: [6.0, 12.0]}
    assert (tmp_path / "budget.png").stat().st_size > 10_000
    with pytest.raises(UserError, match="another study too"):
        budget_figure.main([folders[0], folders[0]])
    with pytest.raises(UserError, match="no way of training has two budgets"):
        budget_figure.main(folders[:1])
