"""The harness of studies: constants passed to scripts, specs, runs, tables that grow."""

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import ROOT, write_pngs

from experiments import calls, collect, launch, run_study, spec, tables
from experiments.tables import StudyTable
from mindiffusion.checkpoints.weights import read_weights, weights_digest
from mindiffusion.evaluation.bootstrap import Estimate
from mindiffusion.evaluation.results import Result, write_report
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.signals import Stopped
from mindiffusion.runtime.terminal import command_to_resume
from mindiffusion.sharing.evaluations import ALIKE

SPECS = sorted((ROOT / "experiments" / "specs").glob("[a-z]*.py"))


def test_a_replaced_constant_reaches_what_is_computed_from_it(tmp_path, monkeypatch):
    settings = ["--set", 'STAGES=[[0, 1, "a", 1], [0.5, 1, "b", 1], [0, 1, "c", 1]]']
    settings += ["--set", "STAGES.lam=[1e-3, 5e-4, 0]", "--set", "CONSTANTS.penalty_method=proximal"]
    monkeypatch.setattr(sys, "argv", ["launch.py"])
    asked = []
    monkeypatch.setattr("mindiffusion.training.loop.train", lambda config, *rest, **more: asked.append(config))
    launch.main(["train_celeba_cr_32", *settings, "--", "--data-path", "synthetic", "--n-feat", "8"])
    (config,) = asked
    assert [stage.lam for stage in config.stages] == [1e-3, 5e-4, 0.0] and config.n_feat == 8
    assert config.constants == {"penalty_method": "proximal"}
    assert (config.stages[1].t_min, config.stages[2].name) == (0.5, "c")
    assert launch.load_script("train_celeba_cr_32").STAGES[0].lam == 5e-5  # the script itself is as it was


def test_a_launched_run_that_is_stopped_names_the_command_that_goes_on(monkeypatch):
    def train(*args, **more):
        raise Stopped(f"Continue with: {command_to_resume(sys.argv)}", 143)

    monkeypatch.setattr(sys, "argv", ["launch.py"])
    monkeypatch.setattr("mindiffusion.training.loop.train", train)
    words = ["train_celeba_c_32", "--set", "LR=1e-3"]
    flags = ["--data-path", "synthetic", "--n-feat", "8", "--overwrite"]
    with pytest.raises(Stopped) as stopped:
        launch.main([*words, "--", *flags])
    goes_on = " ".join(["python -m experiments.launch", *words, "--", *flags[:-1], "--resume"])
    assert str(stopped.value) == f"Continue with: {goes_on}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["LAMDA=1"], "no constant LAMDA"),
        (["LR=1e-"], "no JSON"),
        (["STAGES.lamda=[1, 1, 1, 1, 1]"], r"no constant STAGES\.lamda"),
        (["STAGES.lam=[1, 1]"], "a list of 5 numbers"),
        (['CONSTANTS.regrowth="random"'], r"no constant CONSTANTS\.regrowth"),
        (['STAGES=[[0, 1, "a", 1]]'], r"set STAGES\.lam too"),
        (["N_FEAT=0.5"], "another kind"),
    ],
)
def test_a_constant_that_the_script_does_not_have_so_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        launch.main(["train_celeba_cr_32", *(part for each in settings for part in ("--set", each))])


def test_only_training_scripts_can_be_launched():
    for name in ("sample", "train_celeba_x_32", "json"):
        with pytest.raises(UserError, match="no training script"):
            launch.load_script(name)


@pytest.mark.parametrize("path", SPECS, ids=[path.stem for path in SPECS])
def test_every_spec_names_real_scripts_constants_and_flags(path):
    study = spec.load_spec(path)
    for cell in study.cells:
        script = launch.load_script(cell.script)
        launch.replace_constants(script, json.loads(json.dumps(spec.all_constants(cell))))
        found = [stage.to_dict() for stage in script.STAGES]
        stages = [(stage.get("t_min", 0), stage.get("t_max", 1), stage["epochs"]) for stage in found]
        assert stages == list(cell.stages)
    assert (study.train_images, study.eval_images) == ("1-8000", "8001-9000")


def test_a_study_of_unequal_budgets_or_equal_names_is_refused():
    c = spec.Cell("C", "train_celeba_c_32")
    with pytest.raises(UserError, match="equally many epochs"):
        spec.Study((c, spec.Cell("short", "train_celeba_c_32", ((0, 1, 1),))), (0,), 100)
    with pytest.raises(UserError, match="one name"):
        spec.Study((c, c), (0,), 100)


def test_more_images_than_an_epoch_can_have_make_more_epochs_in_the_same_shares():
    study = spec.Study((spec.Cell("C", "train_celeba_c_32"),), (0,), 1_000_000)
    long = spec.stretched(study, 8000)
    assert long.epochs == 8 * 16 and [stage[2] for stage in long.cells[0].stages] == [8, 16, 24, 32, 48]
    assert long.images / long.epochs <= 8000 and spec.stretched(spec.stretched(study, 8000), 8000) == long


TINY = """
from experiments.spec import Cell, Study
STAGES = ((0.8, 1, 1), (0.6, 1, 1), (0.4, 1, 1), (0.2, 1, 1), (0, 1, 1))
STUDY = Study(
    cells=(
        Cell("CS", "train_celeba_cs_32", STAGES),
        Cell("C", "train_celeba_c_32", STAGES),
    ),
    seeds=(0,),
    images=40,
    train_images="1-16",
    eval_images="17-24",
    flags=("--n-feat", "8", "--global-batch-size", "8", "--lr", "2e-3", "--num-samples", "0", "--device", "cpu"),
    evaluate=("--metrics", "color", "loss", "--num-samples", "4", "--num-loss-images", "4", "--steps", "2"),
)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The study of TINY, all its runs done: the folder that holds it (study), its spec and its images."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.py").write_text(TINY)
    write_pngs(folder / "faces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINDIFFUSION_CACHE", str(folder / "cache"))
        run_study.main(
            [str(folder / "tiny.py"), str(folder / "study"), "--data-path", str(folder / "faces"), "--jobs", "2"]
        )
    return folder


def test_a_study_trains_on_the_first_images_and_its_numbers_know_their_weights(finished):
    study = finished / "study"
    runs = tables.read_csv(study / "runs.csv")
    assert {run["precision"] for run in runs} == {"fp32"}
    config = json.loads((study / "runs" / "C" / "seed0" / "contents_c_32" / "config.json").read_text())
    assert (config["train_images"], config["data_path"]) == ("1-16", str(finished / "faces"))
    rows = tables.read_csv(study / "results.csv")
    assert tuple(rows[0]) == tables.RESULT_COLUMNS
    assert {(row["cell"], row["seed"], row["checkpoint"], row["images"]) for row in rows} == {
        (cell, "0", "final", "40") for cell in ("CS", "C")
    }
    assert {"color_error", "loss"} <= {row["metric"] for row in rows}
    digests = {run["cell"]: run["weights_digest"] for run in runs}
    assert len({*digests.values()}) == 2 and all(row["weights_digest"] == digests[row["cell"]] for row in rows)


def test_numbers_of_other_weights_than_the_runs_are_refused(finished, tmp_path):
    shutil.copy(finished / "study" / "runs.csv", tmp_path)
    text = (finished / "study" / "results.csv").read_text()
    digest = tables.read_csv(tmp_path / "runs.csv")[0]["weights_digest"]
    (tmp_path / "results.csv").write_text(text)
    assert StudyTable(tmp_path).by_seed("C", "loss")
    (tmp_path / "results.csv").write_text(text.replace(digest, "0" * len(digest)))
    with pytest.raises(UserError, match="C, seed 0, that were measured on other weights"):
        StudyTable(tmp_path)


def digest(model):
    return weights_digest(read_weights(Path(model)).state)


def evaluated(folder, rows, **settings):
    """An evaluation of {model: metrics}, as evaluate.py writes it; None for real images."""
    about = {**dict.fromkeys(ALIKE, 1), "swd_normalization": "reference", **settings}
    results = []
    for path, metrics in rows.items():
        digests = {"weights_digest": digest(path)} if path else {}
        results.append(Result(str(path), {name: Estimate(value) for name, value in metrics.items()}, digests))
    folder.mkdir()
    write_report(folder, results, about)
    return str(folder)


def test_models_and_their_evaluations_become_a_table_that_grows(finished, tmp_path):
    run, export = str(finished / "study" / "runs" / "C" / "seed0"), str(ROOT / "pretrained" / "s_1m_32")
    numbers = {"swd": 52.6, "swd_8": 71.2, "bpd": 4.412, "face_rate": 0.939, "loss": 0.03}
    one = evaluated(tmp_path / "one", {export: numbers, run: {"swd": 200.0}, None: {"swd": 17.0, "face_rate": 0.9}})
    own = evaluated(tmp_path / "own", {export: {"swd": 27.7, "swd_8": 9.0}}, swd_normalization="own")
    table = ["--table", str(tmp_path / "converged.csv")]
    collect.main([run, "--names", "C, tiny", "--evaluations", one, *table])
    collect.main([export, "--evaluations", one, own, *table])
    lines = (tmp_path / "converged.csv").read_text().splitlines()
    assert lines == [
        "training,seed,images,learning rate,swd,swd_32,swd_16,swd_8,swd_own,bits/dim,face_rate,color_error,weights",
        'S: P with a soft order,0,"1,000,000",1e-3,53,,,71,28,4.41,0.94,,' + digest(export)[:12],
        '"C, tiny",0,40,2e-3,200,,,,,,,,' + digest(run)[:12],
        "other real images,-,-,-,17,,,,,,0.90,,",
    ]
    for wrong, message in (
        ([run, "--evaluations", own], "evaluate it again"),
        ([run, "--evaluations", one, evaluated(tmp_path / "other", {run: {"swd": 1.0}}, sampler="2")], "sampler 2"),
    ):
        with pytest.raises(UserError, match=message):
            collect.main([*wrong, *table])
    assert (tmp_path / "converged.csv").read_text().splitlines() == lines


def test_a_study_ends_with_its_wall_time_and_a_second_call_does_what_is_missing(finished, tmp_path, capsys):
    common = [str(finished / "tiny.py"), "--data-path", str(finished / "faces")]
    run_study.main([*common, str(tmp_path / "study"), "--wall-minutes", "0"])
    assert "0 of 2 runs are done" in capsys.readouterr().out
    run_study.main([*common, str(finished / "study")])  # nothing is missing
    said = capsys.readouterr().out
    assert "training" not in said and "2 of 2 runs are done" in said
    with pytest.raises(UserError, match="other settings"):
        run_study.main([*common, str(finished / "study"), "--images", "80"])


def copy_run(study, to, cell):
    """A study with one run of another, as if it had been made there."""
    done = shutil.copytree(study / "runs" / cell, to / "runs" / cell) / "seed0" / "done.json"
    done.write_text(done.read_text().replace(str(study), str(to)))


def test_a_study_goes_on_from_tables_without_the_folders_of_its_runs(finished, tmp_path, capsys):
    common = [str(finished / "tiny.py"), "--data-path", str(finished / "faces"), "--tables", str(tmp_path / "tables")]
    copy_run(finished / "study", tmp_path / "monday", "CS")
    run_study.main([*common, "--cells", "CS", "--", str(tmp_path / "monday")])
    before = tables.read_csv(tmp_path / "tables" / "results.csv")
    assert {row["cell"] for row in before} == {"CS"} and not (tmp_path / "monday" / "results.csv").exists()
    copy_run(finished / "study", tmp_path / "tuesday", "C")

    capsys.readouterr()
    run_study.main([*common, str(tmp_path / "tuesday")])
    said = capsys.readouterr().out
    assert "CS, seed 0: in the tables already" in said and "2 of 2 runs are done" in said
    after = tables.read_csv(tmp_path / "tables" / "results.csv")
    assert [row for row in after if row["cell"] == "CS"] == before
    runs = tables.read_csv(tmp_path / "tables" / "runs.csv")
    assert [row["cell"] for row in runs] == ["C", "CS"]
    assert not (tmp_path / "tuesday" / "runs" / "CS").exists()


def test_tables_grow_by_runs_the_new_ones_winning(tmp_path):
    path = tmp_path / "results.csv"
    columns = ("cell", "seed", "metric", "value")
    old = [("C", 0, "swd", "1"), ("C", 0, "bpd", "2"), ("C", 10, "swd", "3"), ("CS", 2, "swd", "0.123456789")]
    tables.write_csv(path, columns, [dict(zip(columns, row, strict=True)) for row in old])
    tables.grow_csv(path, columns, [{"cell": "C", "seed": 0, "metric": "swd", "value": 9.0}])
    assert path.read_text().splitlines()[1:] == ["C,0,swd,9", "C,10,swd,3", "CS,2,swd,0.123456789"]


@pytest.mark.parametrize(
    ("jobs", "given", "seen"), [(3, "", ["0", "0", "1"]), (2, "5,7", ["5", "7"]), (1, "5,7", ["5,7"])]
)
def test_each_of_several_jobs_has_a_gpu_of_its_own(jobs, given, seen, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    show = [sys.executable, "-c", "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES']); time.sleep(0.5)"]
    caller, logs = calls.Caller(float("inf"), jobs), [tmp_path / str(job) for job in range(jobs)]
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda log: caller.call(show, log), logs))
    assert sorted(log.read_text().strip() for log in logs) == seen


def test_a_study_says_what_is_wrong_with_its_data(tmp_path):
    (tmp_path / "tiny.py").write_text(TINY)
    few = write_pngs(tmp_path / "few", count=10)
    with pytest.raises(UserError, match="has 10"):
        run_study.main([str(tmp_path / "tiny.py"), str(tmp_path / "study"), "--data-path", str(few)])
    with pytest.raises(UserError, match="no cell X"):
        run_study.main([str(tmp_path / "tiny.py"), str(tmp_path / "study"), "--data-path", str(few), "--cells", "X"])
