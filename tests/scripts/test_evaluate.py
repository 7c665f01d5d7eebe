"""evaluate.py from the command line to its files."""

import csv
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from helpers import checkpoints, launch, write_pngs

import evaluate
import sample
from mindiffusion.checkpoints.weights import read_weights, weights_digest
from mindiffusion.evaluation import measure
from mindiffusion.evaluation.inception import Unavailable, describe_inception, find_inception, inception_row
from mindiffusion.evaluation.settings import Settings
from mindiffusion.runtime.command_line import run_script
from mindiffusion.runtime.errors import UserError

pytestmark = pytest.mark.usefixtures("elsewhere")
needs_fidelity = pytest.mark.skipif(
    find_spec("torch_fidelity") is None, reason="torch-fidelity is optional (requirements-eval.txt)"
)
FAST = [
    *("--n-samples", "16", "--n-loss-images", "8", "--steps", "4", "--resamples", "10"),
    *("--batch-size", "8", "--device", "cpu", "--no-plots", "--overwrite"),
]


@pytest.fixture
def run(finished) -> Path:
    """The checkpoints of a tiny run on synthetic data."""
    return checkpoints("train_celeba_32", finished("train_celeba_32"))


def evaluated(*arguments: object, output: str = "out") -> tuple[list[dict[str, str]], dict]:
    """Run evaluate.py; the rows of its CSV and the content of its JSON."""
    evaluate.main([*map(str, arguments), *FAST, "--output-dir", output])
    with open(Path(output) / "evaluation.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((Path(output) / "evaluation.json").read_text(), parse_constant=pytest.fail)


def refusal(capsys, *arguments: object) -> str:
    """The message of a run that ends with exit code 2 and writes nothing."""
    with pytest.raises(SystemExit) as end:
        run_script(lambda: evaluate.main([*map(str, arguments), *FAST, "--output-dir", "refused"]))
    assert end.value.code == 2
    assert not Path("refused").exists()
    return capsys.readouterr().err


def test_a_checkpoint_gets_every_metric_that_needs_no_pretrained_network(run, capsys):
    rows, report = evaluated(run, "--data-path", "synthetic", "--names", "uniform", "--floor")
    assert [row["name"] for row in rows] == ["uniform", "real"]
    assert next(iter(rows[0])) == "name"
    bands = [f"{part}_band{k}" for part in ("loss", "loss_dc", "loss_rest") for k in (1, 10)]
    names = ["swd_32", "swd_16", "swd_8", "swd", "spectrum_db_16", "color_error", "saturation", "bpd", *bands]
    for name in [*names, "recovery_coarse", "recovery_fine", "recovery_outside"]:
        assert float(rows[0][name]) == pytest.approx(report["results"][0]["metrics"][name]["value"], rel=1e-5)
    assert float(rows[1]["swd"]) < 0.2 * float(rows[0]["swd"])  # real images are near the floor, an untrained net far
    assert rows[1]["bpd"] == ""
    assert "swd_32" in capsys.readouterr().out


def test_the_json_tells_what_must_be_known_to_compare(run):
    _, report = evaluated(run, "--data-path", "synthetic", "--metrics", "swd", "loss", "bpd")
    settings, (result,) = report["settings"], report["results"]
    for name in ("data", "reference_hash", "reference_images", "crop", "resize", "image_size", "n_samples", "seed"):
        assert settings[name] not in (None, "")
    assert settings["inception"] is None
    assert (result["name"], result["kind"], result["samples"]) == ("control", "model", 16)
    weights = read_weights(run)
    assert (result["weights"], result["weights_digest"]) == ("averaged", weights_digest(weights.state))
    assert result["step"] == weights.checkpoint["next_step"]
    assert settings["sampler"] == "DPM-Solver++ ODE, 4 steps"
    assert result["reference"] == "drawn alike"
    swd = result["metrics"]["swd_32"]
    assert swd["low"] < swd["value"] < swd["high"]
    terms = result["terms"]
    assert terms[0]["t_first"] == 1 and terms[-1]["t_last"] == 1000
    total = sum((term["t_last"] - term["t_first"] + 1) * term["bits_per_dim"] for term in terms)
    assert total + result["metrics"]["bpd_LT"]["value"] == pytest.approx(result["metrics"]["bpd"]["value"])


def test_what_is_measured_of_bf16_samples_is_fp32(run, monkeypatch):
    """TF32, which bf16 drawing allows cuDNN, is forbidden again before anything is measured."""
    allowed, measure_row = [], measure.sample_row

    def noting(*args):
        allowed.append(torch.backends.cudnn.allow_tf32)
        return measure_row(*args)

    monkeypatch.setattr(measure, "sample_row", noting)
    evaluated(run, "--data-path", "synthetic", "--metrics", "color", "--precision", "bf16")
    assert allowed == [False]


def test_a_folder_of_pngs_stands_in_for_the_checkpoint_they_came_from(run, monkeypatch):
    alike = ["--sampler", "ddim", "--eta", "1", "--steps", "4"]
    monkeypatch.setattr(sys, "argv", ["sample.py", str(run), "-o", "pngs", "-n", "16", "--device", "cpu", *alike])
    sample.main()
    flags = [*alike, "--data-path", "synthetic", "--metrics", "swd", "spectrum", "color", "recovery"]
    rows, report = evaluated(run, "pngs", *flags)
    assert {**rows[0], "name": ""} == {**rows[1], "name": ""}
    assert [row["name"] for row in rows] == ["control", "pngs"]
    assert report["results"][1]["kind"] == "folder" and report["results"][1]["reference"] == "not known"


def test_held_out_images_are_those_of_the_sorted_folder(run):
    folder = write_pngs(Path("faces"))
    for places in ("17-24", "1-8"):
        evaluate.main([str(folder), "--data-path", str(folder), "--eval-images", places, "--metrics", "color", *FAST,
                       "--output-dir", places])  # fmt: skip
    hashes = [
        json.loads(Path(p, "evaluation.json").read_text())["settings"]["reference_hash"] for p in ("17-24", "1-8")
    ]
    assert hashes[0] != hashes[1]
    held_out = Path("held_out")
    held_out.mkdir()
    for path in sorted(folder.iterdir())[16:24]:
        (held_out / path.name).symlink_to(path.resolve())
    _, report = evaluated(folder, "--data-path", held_out, "--metrics", "color")
    assert report["settings"]["reference_images"] == 8
    assert report["settings"]["reference_hash"] == hashes[0]


def test_a_checkpoint_trained_on_the_very_images_is_noted(tmp_path, capsys):
    folder = write_pngs(tmp_path / "faces")
    launch("train_celeba_32", tmp_path, "--data-path", str(folder))
    trained = checkpoints("train_celeba_32", tmp_path)
    _, report = evaluated(trained, "--data-path", folder, "--eval-images", "1-8", "--metrics", "loss")
    said = capsys.readouterr()
    assert "was not measured on held-out images: it was trained on 8 of the 8" in said.err
    assert report["results"][0]["reference"] == "trained on" and "trained on" in said.out


def test_without_a_choice_the_reference_is_what_the_run_held_out(tmp_path, capsys):
    folder = write_pngs(tmp_path / "faces")
    launch("train_celeba_32", tmp_path, "--data-path", str(folder), "--train-images", "1-16")
    trained = checkpoints("train_celeba_32", tmp_path)
    _, report = evaluated(trained, "--data-path", folder, "--metrics", "loss")
    assert report["settings"]["eval_images"] == "17-24"
    assert report["results"][0]["reference"] == "held out"
    assert "the reference is 8 real images: 17-24 of faces." in capsys.readouterr().err


def test_an_evaluation_is_not_overwritten_and_an_impossible_folder_is_told_first(run, capsys):
    arguments = [str(run), "--data-path", "synthetic", "--metrics", "loss", *FAST[:-1]]
    evaluate.main([*arguments, "--output-dir", "kept"])
    before = Path("kept", "evaluation.json").read_text()
    with pytest.raises(UserError, match=r"kept/evaluation\.csv, kept/evaluation\.json is there already.*--overwrite"):
        evaluate.main([*arguments, "--seed", "1", "--output-dir", "kept"])
    assert Path("kept", "evaluation.json").read_text() == before
    Path("file").touch()
    with pytest.raises(UserError, match="cannot write file/x") as error:
        evaluate.main([*arguments, "--output-dir", "file/x"])
    assert "--resume" not in str(error.value)


def test_missing_inception_weights_are_told_once_and_the_rest_is_measured(run, capsys):
    rows, _ = evaluated(run, run / "latest.pt", "--data-path", "synthetic", "--metrics", "fid", "kid", "color")
    message = capsys.readouterr().err
    assert message.count("no fid, kid: ") == 1 and "All other measures go on" in message
    assert "fid" not in rows[0] and rows[0]["color_error"]


def test_asking_only_for_what_cannot_be_had_is_an_error(run, capsys):
    assert "can be had here" in refusal(capsys, run, "--data-path", "synthetic", "--metrics", "fid")


@needs_fidelity
def test_inception_weights_come_from_the_cache_and_a_wrong_file_is_named(tmp_path, capsys):
    with pytest.raises(Unavailable, match="cache"):
        find_inception(None)
    torch.save({"a": torch.zeros(1)}, tmp_path / "wrong.pth")
    message = refusal(capsys, tmp_path, "--data-path", "synthetic", "--inception-weights", tmp_path / "wrong.pth")
    assert "wrong.pth" in message or "no images" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.pt", "--data-path", "synthetic"], "absent.pt does not exist"),
        (["RUN", "--data-path", "absent"], "does not exist"),
        (["RUN", "--data-path", "synthetic", "--eval-images", "1-8"], "--eval-images"),
        (["RUN", "--data-path", "synthetic", "--eval-images", "8"], "8001-9000"),
        (["RUN", "RUN", "--data-path", "synthetic"], "same name"),
        (["RUN", "--data-path", "synthetic", "--names", "a", "b"], "2 names"),
        (["RUN", "--data-path", "synthetic", "--n-samples", "1"], "--n-samples"),
        (["FACES", "--data-path", "FACES", "--eval-images", "20-30"], "has 24 images"),
        (["FACES"], "no path to the real images"),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_written(run, capsys, monkeypatch, arguments, message):
    monkeypatch.delenv("CELEBA_PATH", raising=False)
    faces = write_pngs(Path("faces")) if "FACES" in arguments else ""
    arguments = [{"RUN": run, "FACES": faces}.get(each, each) for each in arguments]
    if message in ("--n-samples",):  # FAST comes last on the command line and would win
        with pytest.raises(SystemExit) as end:
            evaluate.main([*map(str, arguments)])
        assert end.value.code == 2
        return
    assert message in refusal(capsys, *arguments)


@needs_fidelity
@pytest.mark.filterwarnings("ignore:.*worker processes.*")  # the library's choice
def test_inception_metrics_of_the_library_move_the_right_way(tmp_path, monkeypatch):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with monkeypatch.context() as patch:  # random weights in a file of the right form: no download, no real network
        patch.setattr(torch, "load", lambda *args, **options: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *args, **options: None)
        network = FeatureExtractorInceptionV3("random", ["2048"], feature_extractor_weights_path="none")
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)  # else the signal dies on its way
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    settings = Settings(("kid", "precision", "recall"), inception_weights=find_inception(tmp_path / "weights.pth"))
    assert len(describe_inception(settings.inception_weights)["weights_sha256"]) == 64
    real = torch.randint(0, 256, (12, 3, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    real = real.repeat_interleave(8, 2).repeat_interleave(8, 3)
    same = inception_row(real[:6], real[:6], settings)
    other = inception_row(real[6:] // 8, real[:6], settings)
    assert same["precision"].value == same["recall"].value == 1.0
    assert other["kid"].value > same["kid"].value and other["precision"].value < 1.0
