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


@pytest.mark.parametrize(
    "wrong",
    [
        "unknown",
        "means cells=P",
        "grid file=converged.csv size=3",
        "differences study=faces pairs=P",
        "pairs file=converged.csv pairs=P/Q columns=swd",
    ],
)
def test_a_comment_that_says_no_table_is_refused(wrong):
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
