"""What evaluate.py says before it measures, and which weights it measures. No run is trained."""

import json
from pathlib import Path

import pytest
import torch
from helpers import write_pngs

import evaluate
from mindiffusion.checkpoints.checkpoint import save_checkpoint
from mindiffusion.checkpoints.weights import read_weights
from mindiffusion.config import Stage, TrainConfig
from mindiffusion.evaluation import choose, measure
from mindiffusion.evaluation.bootstrap import Estimate
from mindiffusion.runtime.errors import UserError
from mindiffusion.sharing.export import export
from mindiffusion.unet import NaiveUnet

STAGES = (Stage(0.6, 1.0, "high", 1), Stage(0.0, 1.0, "full", 1))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """No image cache and no Inception weights of this machine's user; no .env of this folder."""
    for name in ("MINDIFFUSION_CACHE", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)


def checkpoint(name: str, averaged: bool = True, epochs: int = 2) -> Path:
    """A checkpoint of untrained networks after so many of two epochs of one step."""
    nets = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        nets.append(NaiveUnet(3, 3, 8).state_dict())
    config = TrainConfig("", STAGES, global_batch_size=8, n_feat=8, ema_decay=0.9 if averaged else 0.0).to_dict()
    content = {"network": "NaiveUnet", "model": nets[0], "ema": nets[1] if averaged else None, "optimizer": {}}
    content |= {"regrowth": None, "interval": {}, "next_stage": 0, "next_epoch": epochs, "next_step": epochs}
    save_checkpoint(Path(name), {**content, "config": config, "data": {"kind": "synthetic", "images": 8, "seed": 0}})
    return Path(name)


def evaluated(*arguments: object) -> dict:
    """Run evaluate.py with little to do; the content of its JSON."""
    few = ["--n-samples", "4", "--n-loss-images", "2", "--device", "cpu", "--no-plots", "--overwrite"]
    evaluate.main([*map(str, arguments), "--resamples", "0", *few, "--output-dir", "out"])
    return json.loads(Path("out", "evaluation.json").read_text())


@pytest.fixture
def no_measuring(monkeypatch):
    """Whoever begins to measure fails."""
    monkeypatch.setattr(evaluate, "measure_all", lambda *args: pytest.fail("measured in vain"))


@pytest.fixture
def quick(monkeypatch):
    """Networks are not asked: black samples, and the last bias as the loss."""

    def row(process, images, settings, prefix, batch_size):
        return {f"{prefix}loss": Estimate(float(process.eps_model.out.bias.detach()[0]))}, []

    monkeypatch.setattr(measure, "draw", lambda work, model, tick: torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
    monkeypatch.setattr(measure, "network_row", row)


def test_an_export_of_averaged_weights_is_measured_with_those_alone(quick):
    pytest.importorskip("safetensors")
    export(read_weights(checkpoint("a.pt")), Path("model"), raw=False, overwrite=False)
    report = evaluated("model", "--data-path", "synthetic", "--metrics", "color", "loss")
    (result,) = report["results"]
    assert list(result["terms"]) == ["ema"] and "raw_loss" not in result["metrics"]
    assert result["sample_weights"] == report["settings"]["sample_weights"] == "ema"
    with pytest.raises(UserError, match="averaged weights only: leave --weights raw out"):
        evaluated("model", "--data-path", "synthetic", "--metrics", "loss", "--weights", "raw")


def test_a_run_without_an_average_is_measured_as_what_it_is(quick):
    path = checkpoint("raw.pt", averaged=False)
    (result,) = evaluated(path, "--data-path", "synthetic", "--metrics", "color", "loss")["results"]
    assert list(result["terms"]) == ["raw"] and result["sample_weights"] == "raw"
    with pytest.raises(UserError, match="last weights only: leave --weights ema out"):
        evaluated(path, "--data-path", "synthetic", "--metrics", "loss", "--weights", "ema")


def test_a_checkpoint_that_is_replaced_meanwhile_is_measured_as_it_was(quick, monkeypatch):
    path = checkpoint("a.pt")
    state = read_weights(path, raw=True).state["out.bias"], read_weights(path).state["out.bias"]
    monkeypatch.setattr(evaluate, "note_reference", lambda *args: path.write_bytes(b"another"))
    (result,) = evaluated(path, "--data-path", "synthetic", "--metrics", "color", "loss")["results"]
    found = [result["metrics"][name]["value"] for name in ("raw_loss", "loss")]
    assert found == [float(each[0]) for each in state]


def test_few_images_and_an_unfinished_curriculum_are_noted(quick, capsys):
    write_pngs(Path("pngs"), 2)
    evaluated("pngs", checkpoint("early.pt", epochs=1), "--data-path", "synthetic", "--metrics", "color")
    said = capsys.readouterr().err
    assert "pngs has 2 images, not 4" in said and "trained on t >= 600 only" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FACES", "--data-path", "FACES", "--metrics", "color", "--floor"], "--floor needs real images"),
        (["BROKEN", "--data-path", "synthetic", "--metrics", "color"], "cannot be read"),
        (["FACES", "--data-path", "synthetic", "--metrics", "color", "--floor", "--names", "real"], "of --floor"),
        (["FACES", "--data-path", "synthetic", "--metrics", "swd", "--image-size", "96"], "can be had here"),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is(no_measuring, arguments, message):
    faces, broken = write_pngs(Path("faces"), 4), write_pngs(Path("broken"), 2)
    (broken / "000.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=message):
        evaluated(*({"FACES": faces, "BROKEN": broken}.get(each, each) for each in arguments))
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "flags",
    ["--image-size 48", "--image-size 0", "--image-size -32", "--sampler ddpm --steps 50", "--sampler ddpm --eta 1"],
)
def test_flags_that_cannot_be_followed_are_refused(flags, capsys):
    with pytest.raises(SystemExit) as end:
        evaluate.parse_args(["x", *flags.split()])
    assert end.value.code == 2 and ("multiple of 32" in (said := capsys.readouterr().err) or "DDPM visits" in said)


def test_without_a_data_path_models_of_synthetic_images_are_compared_with_their_own(monkeypatch):
    monkeypatch.setenv("CELEBA_PATH", "faces")
    demo, other = ({"kind": "synthetic", **more} for more in ({"set": "synthetic-demo"}, {}))
    choices = [[demo], [demo, demo], [other], [demo, other], [demo, {"files": "x", "images": 3}], [None], []]
    chosen = [choose.choose_data_path(None, seen) for seen in choices]
    assert chosen == ["synthetic-demo", "synthetic-demo", "synthetic", "faces", "faces", "faces", "faces"]
    assert choose.choose_data_path("mine", [demo]) == "mine"


def test_swd_is_left_out_where_the_size_has_none(capsys):
    assert "swd" not in choose.choose_groups(None, "synthetic", None, 96)
    assert "no swd: it needs a power of two" in capsys.readouterr().err
    assert "swd" in choose.choose_groups(None, "synthetic", None, 64)


def test_unreadable_real_images_can_be_left_out():
    faces = write_pngs(Path("faces"), 4)
    (faces / "003.png").write_bytes(b"no image")
    report = evaluated(write_pngs(Path("pngs"), 4), "--data-path", faces, "--metrics", "color", "--skip-bad-images")
    assert report["settings"]["reference_images"] == 3


def test_a_plot_of_an_evaluation_that_was_replaced_goes_and_another_is_kept():
    pngs = write_pngs(Path("pngs"), 4)
    Path("out").mkdir()
    Path("out", "evaluation.png").write_bytes(b"old")
    with pytest.raises(UserError, match=r"evaluation\.png is there already"):
        evaluate.main([str(pngs), "--data-path", "synthetic", "--metrics", "color", "--output-dir", "out"])
    evaluated(pngs, "--data-path", "synthetic", "--metrics", "color")
    assert not Path("out", "evaluation.png").exists()
