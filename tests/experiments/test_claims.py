"""The arithmetic of claims: intervals over seeds, verdicts, titles of figures."""

import math
from pathlib import Path

import pytest

from experiments import c1_coarse_before_fine, claims, ledger, tables, verdict
from mindiffusion.runtime.errors import UserError


def table(tmp_path: Path, values: dict[tuple[str, int, str, str], float]) -> claims.StudyTable:
    rows = [dict(zip(("cell", "seed", "checkpoint", "metric"), key, strict=True), value=v) for key, v in values.items()]
    tables.write_csv(tmp_path / "results.csv", tables.RESULT_COLUMNS, rows)
    return claims.StudyTable(tmp_path)


def test_the_interval_is_students():
    got = claims.interval([1.0, 2.0, 3.0])
    assert (got.mean, got.seeds) == (2.0, 3)
    assert got.high - got.mean == pytest.approx(4.302653 / math.sqrt(3))
    assert claims.interval([1.0]).low != claims.interval([1.0]).low and claims.interval([]).seeds == 0


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([1, 1.1, 0.9], claims.HOLDS),
        ([-1, -1.1, -0.9], claims.FAILS),
        ([1, -1, 0.5], claims.DEPENDS),
        ([1], claims.DEPENDS),
    ],
)
def test_a_claim_holds_only_where_the_interval_excludes_zero(values, verdict):
    assert claims.interval(values).verdict_above_zero == verdict


def test_comparisons_are_paired_by_seed_and_positive_for_the_better(tmp_path):
    values = {("C", s, "final", "swd"): 80.0 + 8 * s for s in range(3)}
    values |= {("uniform", s, "final", "swd"): 100.0 + 10 * s for s in range(4)}
    swd, bpd = claims.compare(table(tmp_path, values), "C", "uniform")
    assert swd.interval.mean == pytest.approx(20.0) and swd.interval.high == pytest.approx(20.0)
    assert (swd.verdict, swd.interval.seeds) == (claims.HOLDS, 3)
    assert bpd.verdict == claims.NOT_MEASURED


def test_c1_sees_coarse_before_fine_and_what_the_curriculum_adds(tmp_path):
    curves = {  # swd per stage
        ("C", "swd_8"): (100, 10, 0, 0, 0),
        ("C", "swd_32"): (100, 100, 90, 50, 0),
        ("uniform", "swd_8"): (100, 50, 20, 10, 0),
        ("uniform", "swd_32"): (100, 60, 30, 10, 0),
    }
    values = {
        (cell, seed, f"stage{k + 1}", metric): float(value)
        for (cell, metric), curve in curves.items()
        for seed in range(3)
        for k, value in enumerate(curve)
    }
    by_name = {f.quantity: f for f in c1_coarse_before_fine.measure(table(tmp_path, values))}
    own, recovery = by_name["C: swd_32 later than swd_8"], by_name["C: recovery_fine later than recovery_coarse"]
    assert own.interval.mean == pytest.approx((3.4 - 1.1) / 5) and own.verdict == claims.HOLDS
    assert recovery.verdict == claims.NOT_MEASURED


def test_a_claim_without_a_study_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match=r"python -m experiments\.run_study"):
        claims.StudyTable(tmp_path)


def test_a_title_says_what_was_found():
    def finding(values, quantity="C better than uniform: swd"):
        return claims.Finding(quantity, claims.interval(values).verdict_above_zero, claims.interval(values), "%")

    better, worse, unsure = finding([10, 10.1]), finding([-10, -10.1]), finding([-30, 60])
    assert better.sentence() == "C is 10.1 % better than uniform in swd"
    assert worse.sentence() == "C is 10.1 % worse than uniform in swd"
    assert unsure.sentence() == "C against uniform in swd: no sure difference (2 seeds)"
    assert finding([2, 2.1], "  fine later than coarse").sentence() == "fine later than coarse: yes, 2.05 %"
    claim = verdict.Claim("C2", "C is better.", lambda table: [], lambda findings: findings[1:])
    assert claim.title([better, worse]) == "C2. C is 10.1 % worse than uniform in swd"


def test_a_claim_that_cannot_be_measured_here_leaves_its_files_alone(tmp_path, capsys):
    study = table(tmp_path, {("C", 0, "final", "swd"): 1.0})
    (tmp_path / "c3.csv").write_text("as it was")
    for number in ("C3", "C5", "C8", "C2"):
        ledger.claim(number).judge(study)
    assert (tmp_path / "c3.csv").read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c3.csv", "results.csv"]
    assert "not measured yet" in capsys.readouterr().out
