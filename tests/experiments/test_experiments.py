"""The harness of studies and the arithmetic of claims."""

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, write_pngs

sys.path.append(str(ROOT / "experiments"))

import c1_coarse_before_fine
import claims
import launch
import run_study
import spec
import tables

from mindiffusion.runtime.errors import UserError

SPECS = sorted((ROOT / "experiments" / "specs").glob("*.py"))


# --- launching a script with other constants --------------------------------------------------------------------------


def constants(**replaced: str) -> dict:
    namespace = {"__name__": "launched"}
    exec(launch.compile_with(ROOT / "train_celeba_cr_32.py", replaced), namespace)
    return namespace


def test_a_replaced_constant_reaches_those_computed_from_it():
    script = constants(LAMBDA_MAX="1e-3", STAGES='[Stage(0, 1, "a", 2), Stage(0, 1, "b", 1)]')
    assert script["LAMBDA_SCHEDULE"] == (1e-3, 0.0)
    assert constants()["LAMBDA_SCHEDULE"][0] == 5e-5


def test_an_unknown_constant_or_a_broken_expression_is_refused():
    with pytest.raises(UserError, match="no constant LAMDA"):
        constants(LAMDA="1")
    with pytest.raises(UserError, match="no Python expression"):
        constants(LAMBDA_MAX="1e-")


# --- specs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SPECS, ids=[path.stem for path in SPECS])
def test_every_spec_names_real_scripts_constants_and_flags(path):
    study = spec.load_spec(path)
    for cell in study.cells:
        settings = {"STAGES": spec.stages_expression(cell.stages), **cell.constants}
        script = {"__name__": "launched"}
        exec(launch.compile_with(ROOT / f"{cell.script}.py", settings), script)
        stages = [(stage.t_min, stage.t_max, stage.epochs) for stage in script["STAGES"]]
        assert stages == list(cell.stages)
    assert study.data_path == "synthetic" or (study.train_images, study.eval_images) == ("1-8000", "8001-9000")


def test_stages_keep_the_total_and_the_share_of_the_full_range():
    for build in (spec.union, spec.window):
        stages = build(12, 24)
        assert sum(epochs for *_, epochs in stages) == 24 and stages[-1] == (0, 1, 12)
    assert [stage[:2] for stage in spec.window(12, 24)][:2] == [(0.8, 1), (0.6, 0.8)]
    assert [epochs for *_, epochs in spec.uniform(spec.union(6, 16))] == [1, 2, 3, 4, 6]
    with pytest.raises(UserError, match="too few"):
        spec.union(23, 24)


def test_a_study_of_unequal_budgets_or_equal_names_is_refused():
    c = spec.Cell("C", "train_celeba_c_32")
    with pytest.raises(UserError, match="equally many epochs"):
        spec.Study((c, spec.Cell("short", "train_celeba_c_32", ((0, 1, 1),))), (0,), 100)
    with pytest.raises(UserError, match="one name"):
        spec.Study((c, c), (0,), 100)
    with pytest.raises(UserError, match="paced by"):
        spec.Study((spec.Cell("P", "train_celeba_c_32", paced_by="C"), c), (0,), 100)
    with pytest.raises(UserError, match="trained as"):
        spec.Study((spec.Cell("E", "train_celeba_c_32", trained_as="C"), c), (0,), 100)


def test_patience_ends_a_stage_when_its_loss_stalls_and_gives_the_rest_to_the_last():
    stages = ((0.5, 1, 4), (0.2, 1, 3), (0, 1, 2))
    losses = [(1, 1, 1.0), (1, 2, 0.5), (1, 3, 0.499), (1, 4, 0.1), (2, 5, 0.4), (2, 6, 0.3), (2, 7, 0.2), (3, 8, 0.2)]
    assert spec.patient_epochs(losses, stages) == ((0.5, 1, 3), (0.2, 1, 3), (0, 1, 3))
    assert spec.patient_epochs(losses, stages, patience=2) == stages


# --- a study from end to end ------------------------------------------------------------------------------------------

TINY = """
from spec import Cell, Study
STAGES = ((0.8, 1, 1), (0.6, 1, 1), (0.4, 1, 1), (0.2, 1, 1), (0, 1, 1))
STUDY = Study(
    cells=(
        Cell("CS", "train_celeba_cs_32", STAGES),
        Cell("C", "train_celeba_c_32", STAGES),
        Cell("C_experts", "train_celeba_c_32", STAGES, experts=("stage4", 0.6), trained_as="C"),
    ),
    seeds=(0,),
    images=40,
    train_images="1-16",
    eval_images="17-24",
    flags=("--n-feat", "8", "--global-batch-size", "8", "--lr", "2e-3", "--num-samples", "0", "--device", "cpu"),
    evaluate=("--metrics", "color", "loss", "--n-samples", "4", "--n-loss-images", "4", "--steps", "2"),
)
"""


def test_a_study_trains_on_the_first_images_resumes_and_answers_a_claim(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINDIFFUSION_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.py").write_text(TINY)
    faces = write_pngs(tmp_path / "faces")
    arguments = [str(tmp_path / "tiny.py"), str(tmp_path / "study"), "--data-path", str(faces), "--jobs", "2"]
    run_study.main([*arguments, "--wall-minutes", "0"])
    assert "0 of 3 runs are done" in capsys.readouterr().out
    run_study.main(arguments)
    links = sorted((tmp_path / "study" / "train_images").iterdir())
    assert [link.name for link in links] == [f"{k:03d}.png" for k in range(16)] and links[0].is_symlink()
    rows = list(csv.DictReader((tmp_path / "study" / "results.csv").read_text().splitlines()))
    assert tuple(rows[0]) == tables.RESULT_COLUMNS
    assert {(row["cell"], row["seed"], row["checkpoint"], row["images"]) for row in rows} == {
        (cell, "0", "final", "40") for cell in ("CS", "C", "C_experts")
    }
    assert not (tmp_path / "study" / "runs" / "C_experts" / "seed0" / "checkpoints_c_32").exists()
    losses = {row["cell"]: row["value"] for row in rows if row["metric"] == "loss_band1"}
    assert losses["C"] == losses["C_experts"]  # the last stage's network answers for low noise, stage 4's for high
    losses = {row["cell"]: row["value"] for row in rows if row["metric"] == "loss_band10"}
    assert losses["C"] != losses["C_experts"]
    assert {"color_error", "loss", "raw_loss_band10"} <= {row["metric"] for row in rows}

    capsys.readouterr()
    run_study.main(arguments)  # nothing is left to do
    assert "training" not in capsys.readouterr().out
    with pytest.raises(UserError, match="other settings"):
        run_study.main([*arguments, "--images", "80"])

    script = ROOT / "experiments" / "c3_clean_channels.py"
    command = [sys.executable, str(script), str(tmp_path / "study")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert "masked channels that changed: 0 channels (1 seeds): holds" in done.stdout
    assert (tmp_path / "study" / "c3.csv").exists()


def test_a_study_says_what_is_wrong_with_its_data(tmp_path):
    (tmp_path / "tiny.py").write_text(TINY)
    few = write_pngs(tmp_path / "few", count=10)
    with pytest.raises(UserError, match="has 10"):
        run_study.main([str(tmp_path / "tiny.py"), str(tmp_path / "study"), "--data-path", str(few)])
    with pytest.raises(UserError, match="no cell X"):
        run_study.main([str(tmp_path / "tiny.py"), str(tmp_path / "study"), "--data-path", str(few), "--cells", "X"])


# --- claims -----------------------------------------------------------------------------------------------------------


def table(tmp_path: Path, values: dict[tuple[str, int, str, str], float]) -> claims.StudyTable:
    rows = [dict(zip(("cell", "seed", "checkpoint", "metric"), key, strict=True), value=v) for key, v in values.items()]
    tables.write_csv(tmp_path / "results.csv", tables.RESULT_COLUMNS, rows)
    return claims.StudyTable(tmp_path)


def test_the_interval_is_students():
    got = claims.interval([1.0, 2.0, 3.0])
    assert (got.mean, got.seeds) == (2.0, 3)
    assert got.high - got.mean == pytest.approx(4.303 / math.sqrt(3))
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
    with pytest.raises(UserError, match=r"run_study\.py"):
        claims.StudyTable(tmp_path)
