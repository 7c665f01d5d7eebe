"""What docs/results.md and the README claim is what the tables in the tree give."""

import csv
import re

import pytest
from helpers import ROOT

from experiments import ledger
from experiments.claims import StudyTable, interval

RESULTS = ROOT / "docs" / "results"
FROM_TABLES = ("c1", "c2", "c4", "c6", "c7", "c9")  # the others look into checkpoints
TABLES = sorted(path for path in RESULTS.glob("*/c*.csv") if path.stem in FROM_TABLES)


@pytest.mark.parametrize("path", TABLES, ids=[f"{path.parent.name}-{path.stem}" for path in TABLES])
def test_a_verdict_in_the_tree_follows_from_the_results_beside_it(path):
    findings = ledger.claim(path.stem.upper()).measure(StudyTable(path.parent))
    stored = list(csv.DictReader(path.read_text().splitlines()))
    assert [(row["quantity"], row["verdict"]) for row in stored] == [(each.quantity, each.verdict) for each in findings]
    for row, each in zip(stored, findings, strict=True):
        assert float(row["mean"]) == pytest.approx(each.interval.mean, rel=1e-4, nan_ok=True)
        assert int(row["seeds"]) == each.interval.seeds


def test_the_headline_is_that_of_the_fresh_seeds_in_both_documents():
    table = StudyTable(RESULTS / "faces_confirm")
    gain = table.improvement("C_experts_rest", "uniform")
    assert (gain.seeds, sorted(table.by_seed("uniform", "swd"))) == (3, [10, 11, 12])
    numbers = f"{gain.mean:.1f} %", f"{gain.low:.1f}", f"{gain.high:.1f}"
    headline = re.search(r"^Headline: .*?\n\n", (ROOT / "docs" / "results.md").read_text(), re.M | re.S)[0]
    row = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| what wins"))
    for text in (headline, row):
        assert [number for number in numbers if number not in text] == []


def test_the_means_table_is_that_of_the_results():
    table = StudyTable(RESULTS / "faces_cpu")
    text = (ROOT / "docs" / "results.md").read_text()
    for cell, column in zip(("uniform", "C", "CS", "CR", "C_experts_rest"), range(2, 7), strict=True):
        line = next(line for line in text.splitlines() if line.startswith("| `swd` |"))
        assert (
            line.split("|")[column].split("±")[0].strip()
            == f"{interval([*table.by_seed(cell, 'swd').values()]).mean:.0f}"
        )
