"""The tables that the pages show, and the figures that are drawn of tables."""

import pytest
from helpers import ROOT

from experiments import budget_figure, summary, tables
from experiments.tables import interval
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
        "grid file=small/results.csv where=metric:swd rows=cell columns=seed value=value",
        "csv file=large/results.csv where=metric:bpd,seed:0 columns=cell,value digits=1",
        'csv file=named.csv "where=images:256,000|1,000,seed:1" columns=images digits=',
        'pairs file=ways.csv "where=images:256,000" "pairs=S: soft/P" columns=swd,bits/dim',
    ]
    ways = ("P,0,100,4", "P,1,100,4", "S: soft,1,60,", "S: soft,0,50,5")
    lines = [f'{way},"256,000"\n' for way in ways] + ['P,0,10,1,"64,000"\n']
    (studies / "ways.csv").write_text("training,seed,swd,bits/dim,images\n" + "".join(lines))
    (studies / "named.csv").write_text('images,seed\n"256,000",0\n"256,000",1\n"1,000",1\n"64,000",1\n')
    page = "Words.\n" + "\n".join(f"<!-- table: {kind} -->\nold\n<!-- end -->" for kind in kinds) + "\nMore.\n"
    filled = summary.filled(page)
    assert "old" not in filled and filled.startswith("Words.") and filled.endswith("More.\n")
    assert summary.filled(filled) == filled
    parts = [part.split(" -->")[1].split("\n\n")[1].splitlines() for part in filled.split("<!-- table:")[1:]]
    assert parts[0][0::3] == ["| | control | P |", "| `swd` | 21 ± 1 | 11 ± 1 |"]
    assert parts[1][2].startswith("| P against control | 48 % better (19 to 77) |")
    assert parts[2][0::2] == ["| | 0 | 1 |", "| P | 10 | 12 |"]
    assert parts[3][2] == "| P | 6.0 |"
    assert parts[4][2:] == ["| 256,000 |", "| 1,000 |"]
    assert parts[5][0] == "| | `swd` | bits/dim | seeds |"
    assert parts[5][2] == "| S: soft against P | 45 % better (-19 to 109) | 25.0 % worse | 2 |"
    for wrong in (
        "unknown",
        "means cells=P",
        "grid file=small/results.csv size=3",
        "differences study=small pairs=P",
        "pairs file=ways.csv pairs=P/Q columns=swd",
    ):
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


def test_the_figure_of_budgets_has_a_line_per_way_of_training_and_a_dot_per_seed(tmp_path):
    pytest.importorskip("matplotlib")
    table = tmp_path / "converged.csv"
    table.write_text(
        "training,seed,images,learning rate,swd,bits/dim\n"
        'P,0,"1,000,000",1e-3,60,4.4\nP,0,"64,000",1e-3,90,5.0\nP,1,"64,000",1e-3,100,\n'
        'P,0,"64,000",5e-4,95,5.1\nreal,-,-,-,17,\n'
    )
    rows = tables.read_csv(table)
    assert budget_figure.lines(rows, "swd") == {"P, 1e-3": {64_000: [90.0, 100.0], 1_000_000: [60.0]}}
    assert budget_figure.lines(rows, "bits/dim") == {"P, 1e-3": {64_000: [5.0], 1_000_000: [4.4]}}
    budget_figure.main([str(table), "-o", str(tmp_path / "budget.png")])
    assert (tmp_path / "budget.png").stat().st_size > 10_000
    table.write_text("\n".join(table.read_text().splitlines()[::4]))
    with pytest.raises(UserError, match="no way of training has two budgets"):
        budget_figure.main([str(table)])
