"""evaluate.py from the command line to its files."""

import csv
import json
from pathlib import Path

import pytest
import torch
from helpers import UNIFORM, checkpoints, launch, sample, write_pngs

import evaluate
from mindiffusion.checkpoints.weights import read_weights
from mindiffusion.evaluation import measure
from mindiffusion.evaluation.inception import describe_inception, inception_row, no_inception
from mindiffusion.evaluation.settings import Settings
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.packages import installed

pytestmark = pytest.mark.usefixtures("elsewhere")
FAST = [
    *("--num-samples", "16", "--num-loss-images", "8", "--steps", "4", "--resamples", "10"),
    *("--batch-size", "8", "--device", "cpu", "--no-plots", "--overwrite"),
]


@pytest.fixture
def run(finished) -> Path:
    """The checkpoints of a tiny run on synthetic data."""
    return checkpoints(UNIFORM, finished(UNIFORM))


def evaluated(*arguments: object) -> tuple[list[dict[str, str]], dict]:
    """Run evaluate.py; the rows of its CSV and the content of its JSON."""
    evaluate.main([*map(str, arguments), *FAST, "--output-dir", "out"])
    with open("out/evaluation.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads(Path("out/evaluation.json").read_text(), parse_constant=pytest.fail)


def test_a_checkpoint_gets_every_metric_that_needs_no_pretrained_network_and_what_must_be_known_to_compare(run, capsys):
    rows, report = evaluated(run, "--data-path", "synthetic", "--names", "uniform", "--floor")
    assert [row["name"] for row in rows] == ["uniform", "real"]
    bands = [f"{part}_band{k}" for part in ("loss", "loss_dc", "loss_rest") for k in (1, 10)]
    names = ["swd_32", "swd_16", "swd_8", "swd", "spectrum_db_16", "color_error", "saturation", "bpd", *bands]
    for name in [*names, "recovery_coarse", "recovery_fine", "recovery_outside"]:
        assert float(rows[0][name]) == pytest.approx(report["results"][0]["metrics"][name]["value"], rel=1e-5)
    assert float(rows[1]["swd"]) < 0.2 * float(rows[0]["swd"])  # real images are near the floor, an untrained net far
    assert rows[1]["bpd"] == ""
    assert "swd_32" in capsys.readouterr().out
    settings, (result, _) = report["settings"], report["results"]
    for name in ("data", "reference_hash", "reference_images", "crop", "resize", "image_size", "num_samples", "seed"):
        assert settings[name] not in (None, "")
    assert settings["inception"] is None
    assert (result["name"], result["kind"], result["samples"]) == ("uniform", "model", 16)
    assert result["step"] == read_weights(run).checkpoint["next_step"]
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


def test_a_folder_of_pngs_stands_in_for_the_checkpoint_they_came_from(run):
    alike = ["--sampler", "ddim", "--eta", "1", "--steps", "4"]
    sample(run, "-o", "pngs", "-n", "16", "--device", "cpu", *alike)
    flags = [*alike, "--data-path", "synthetic", "--metrics", "swd", "spectrum", "color", "recovery"]
    rows, report = evaluated(run, "pngs", *flags)
    assert {**rows[0], "name": ""} == {**rows[1], "name": ""}
    assert [row["name"] for row in rows] == ["control", "pngs"]
    assert report["results"][1]["kind"] == "folder" and report["results"][1]["reference"] == "not known"


def test_the_reference_is_what_the_run_held_out_and_one_that_it_saw_is_noted(tmp_path, capsys):
    folder = write_pngs(tmp_path / "faces")
    launch(UNIFORM, tmp_path, "--data-path", str(folder), "--train-images", "1-16")
    trained = checkpoints(UNIFORM, tmp_path)
    _, report = evaluated(trained, "--data-path", folder, "--metrics", "loss")
    assert report["settings"]["eval_images"] == "17-24"
    assert report["results"][0]["reference"] == "held out"
    assert "the reference is 8 real images: 17-24 of faces." in capsys.readouterr().err
    _, report = evaluated(trained, "--data-path", folder, "--eval-images", "9-20", "--metrics", "loss")
    said = capsys.readouterr()
    assert "was not measured on held-out images: it was trained on 8 of the 12" in said.err
    assert report["results"][0]["reference"] == "trained on" and "trained on" in said.out


@pytest.mark.skipif(not installed("torch_fidelity"), reason="torch-fidelity is optional (requirements-eval.txt)")
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
    settings = Settings(("kid", "precision", "recall"), inception_weights=tmp_path / "weights.pth")
    assert no_inception(settings) == ""
    assert len(describe_inception(settings.inception_weights)["weights_sha256"]) == 64
    real = torch.randint(0, 256, (12, 3, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    real = real.repeat_interleave(8, 2).repeat_interleave(8, 3)
    same = inception_row(real[:6], real[:6], settings)
    other = inception_row(real[6:] // 8, real[:6], settings)
    assert same["precision"].value == same["recall"].value == 1.0
    assert other["kid"].value > same["kid"].value and other["precision"].value < 1.0
    torch.save({"a": torch.zeros(1)}, settings.inception_weights)
    with pytest.raises(UserError, match=r"weights\.pth does not hold the Inception weights"):
        no_inception(settings)
