"""What evaluate.py says before it measures, and which weights it measures. No run is trained."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import code_of, small_content, write_pngs
from PIL import Image

import evaluate
from mindiffusion.checkpoints.checkpoint import save_checkpoint
from mindiffusion.checkpoints.weights import read_weights, weights_digest
from mindiffusion.config import TrainConfig
from mindiffusion.evaluation import inception, measure, measures, reference
from mindiffusion.evaluation.bootstrap import Estimate
from mindiffusion.evaluation.measures import MEASURES, NETWORK
from mindiffusion.evaluation.results import Result
from mindiffusion.evaluation.settings import Settings
from mindiffusion.runtime.errors import UserError
from mindiffusion.sharing.export import export
from mindiffusion.stages import Stage
from mindiffusion.unet import NaiveUnet

pytestmark = pytest.mark.usefixtures("elsewhere")


def checkpoint(name: str | Path, averaged: bool = True) -> Path:
    """A checkpoint of untrained networks after an epoch of one step."""
    nets = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        nets.append(NaiveUnet(3, 3, 8).state_dict())
    stages = (Stage("full", 1, t_min=0.0, t_max=1.0),)
    config = TrainConfig("", stages, global_batch_size=8, n_feat=8, ema_decay=0.9 if averaged else 0.0).to_dict()
    content = small_content(model=nets[0], ema=nets[1] if averaged else None, next_step=1, config=config)
    save_checkpoint(Path(name), content | {"data": {"kind": "synthetic", "images": 8, "seed": 0}})
    return Path(name)


def evaluated(*arguments: object) -> dict:
    """Run evaluate.py with little to do; the content of its JSON."""
    few = ["--num-samples", "4", "--num-loss-images", "2", "--device", "cpu", "--no-plots", "--overwrite"]
    evaluate.main([*map(str, arguments), "--resamples", "0", *few, "--output-dir", "out"])
    return json.loads(Path("out", "evaluation.json").read_text())


@pytest.fixture
def quick(monkeypatch):
    """Networks are not asked: black samples, and the last bias as the loss."""

    def row(process, images, settings):
        return {"loss": Estimate(float(process.eps_model.out.bias.detach()[0]))}, []

    black = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    monkeypatch.setattr(measure, "samples_of", lambda *args: black)
    table = tuple(replace(each, row=row) if each.of == NETWORK else each for each in MEASURES)
    monkeypatch.setattr(measures, "MEASURES", table)


def test_a_row_is_of_one_kind_of_weights_and_an_export_has_one(quick):
    pytest.importorskip("safetensors")
    path, without = checkpoint("a.pt"), checkpoint("raw.pt", averaged=False)
    export(read_weights(path), Path("model"))
    asked = ((path, [], "averaged"), ("model", [], "averaged"), (path, ["--raw-weights"], "raw"), (without, [], "raw"))
    for name, flags, kind in asked:
        (result,) = evaluated(name, "--data-path", "synthetic", "--metrics", "color", "loss", *flags)["results"]
        state = read_weights(path if name == "model" else name, raw=kind == "raw").state
        assert (result["weights"], result["weights_digest"]) == (kind, weights_digest(state))
        assert result["metrics"]["loss"]["value"] == float(state["out.bias"][0])
    with pytest.raises(UserError, match="averaged weights only: leave --raw-weights out"):
        evaluated("model", "--data-path", "synthetic", "--metrics", "loss", "--raw-weights")


def test_a_checkpoint_that_is_replaced_meanwhile_is_measured_as_it_was(quick, monkeypatch):
    path = checkpoint("a.pt")
    bias = read_weights(path).state["out.bias"]
    monkeypatch.setattr(evaluate, "note_reference", lambda *args: path.write_bytes(b"another"))
    (result,) = evaluated(path, "--data-path", "synthetic", "--metrics", "color", "loss")["results"]
    assert result["metrics"]["loss"]["value"] == float(bias[0])


def test_rows_are_kept_when_a_later_one_fails_and_no_number_is_null(monkeypatch):
    rows = iter([Result("a", {"loss": Estimate(float("nan")), "swd": Estimate(1.0)}, {"kind": "model"})])
    monkeypatch.setattr(evaluate, "measure_model", lambda *args: next(rows, None) or pytest.fail("a late failure"))
    with pytest.raises(pytest.fail.Exception):
        evaluated(checkpoint("a.pt"), checkpoint("b.pt"), "--data-path", "synthetic", "--metrics", "loss")
    report = json.loads(Path("out", "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert [row["name"] for row in report["results"]] == ["a"]
    assert report["results"][0]["metrics"]["loss"] == {"value": None, "low": None, "high": None}
    assert Path("out", "evaluation.csv").read_text() == "name,loss,swd\na,,1\n"


def test_samples_that_are_no_numbers_are_refused(monkeypatch):
    monkeypatch.setattr(measure, "draw", lambda *args, **more: torch.full((4, 3, 32, 32), torch.nan))
    model = measure.model_of(read_weights(checkpoint("a.pt")))
    with pytest.raises(UserError, match=r"samples of .* are not numbers"):
        measure.samples_of(Settings(("swd",), num_samples=4), model, "a", lambda images: None)


def test_nothing_that_is_written_names_a_place_of_this_machine(quick, tmp_path):
    faces = write_pngs(tmp_path / "faces", 6)
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
    twins = [checkpoint(tmp_path / run / "a.pt") for run in ("one", "two")]
    report = evaluated(*twins, faces, "--data-path", faces, "--metrics", "color", "loss")
    assert [row["name"] for row in report["results"]] == ["a in one", "a in two", "faces"]
    for name in ("evaluation.json", "evaluation.csv"):
        assert str(tmp_path) not in Path("out", name).read_text()


def test_images_of_another_size_are_counted_and_rows_say_their_own_number(quick, capsys):
    faces = write_pngs(Path("faces"), 3)
    Image.new("RGB", (20, 300)).save(faces / "narrow.png")
    (row,) = evaluated(faces, "--data-path", "synthetic", "--metrics", "color", "--num-samples", "9")["results"]
    assert (row["samples"], row["resized"]) == (4, 1)
    said = capsys.readouterr()
    assert "1 of 4 images of faces are not 32x32" in said.err and "DDIM" not in said.out


def test_the_reference_is_capped_unless_it_is_chosen(monkeypatch, capsys):
    monkeypatch.setattr(reference, "MOST_REAL", 3)
    faces = write_pngs(Path("faces"), 8)
    for flags, places in (([], "1-3"), (["--eval-images", "2-8"], "2-8")):
        about = evaluated(faces, "--data-path", faces, "--metrics", "color", *flags)["settings"]
        assert about["eval_images"] == places
        assert ("no more are taken" in capsys.readouterr().err) == (not flags)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("grey.pth", r"1 channel\(s\): what is measured"),
        ("a.pt --eval-images 1-8", "--eval-images chooses files of a folder"),
        ("a.pt --eval-images 8", "write it like 8001-9000"),
        ("a.pt --names a b", "2 names for 1"),
        ("a.pt --num-samples 1", "--num-samples is 1; it must be at least 2"),
        ("faces --data-path faces --eval-images 3-30", "has 4 images"),
        ("faces --data-path faces --metrics color --floor", "--floor needs real images"),
        ("faces --data-path", "no path to the real images"),
        ("broken --metrics color", "cannot be read"),
        ("a.pt --metrics fid", "can be had here"),
        ("faces --metrics loss", "faces is of images"),
        ("a.pt faces --metrics loss", "faces is of images"),
        ("a.pt --metrics loss --floor", "--floor is of images"),
        ("a.pt --image-size 64", "trained on 32x32 images"),
        ("faces --metrics swd --image-size 96", "can be had here"),
        *((f"a.pt --image-size {size}", "multiple of 32") for size in (48, 0, -32)),
        *((f"a.pt --sampler ddpm {flag}", "DDPM visits every step") for flag in ("--steps 50", "--eta 1")),
    ],
)
def test_what_cannot_be_measured_is_one_message_before_anything_is(arguments, message, monkeypatch, capsys):
    monkeypatch.delenv("CELEBA_PATH", raising=False)
    monkeypatch.setattr(evaluate, "measured", lambda *args: pytest.fail("measured in vain"))
    checkpoint("a.pt")
    torch.save(NaiveUnet(1, 1, 8).state_dict(), "grey.pth")
    write_pngs(Path("faces"), 4)
    (write_pngs(Path("broken"), 2) / "000.png").write_bytes(b"no image")
    arguments = arguments.replace("--data-path", "--data-path=") if arguments.endswith("path") else arguments
    arguments = arguments if "--data-path" in arguments else f"{arguments} --data-path synthetic"
    assert code_of(lambda: evaluate.main(arguments.split())) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not Path("evaluation").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [("face_rate", "OpenCV is not inst"), ("fid", "not in torch's cache"), ("recovery", "whose features are known")],
)
def test_what_cannot_be_had_is_told_once_and_the_rest_is_measured(name, words, monkeypatch, capsys):
    monkeypatch.setattr(measures, "installed", lambda package: False)
    monkeypatch.setattr(inception, "installed", lambda package: True)
    assert measures.choose_measures([name, "color"], Settings(data_path="faces")) == ("color",)
    said = capsys.readouterr().err
    assert said.count(f"no {name}: ") == 1 and words in said and "All other measures go on" in said


def test_without_a_data_path_models_of_synthetic_images_are_compared_with_their_own(monkeypatch):
    monkeypatch.setenv("CELEBA_PATH", "faces")
    demo, other = ({"kind": "synthetic", **more} for more in ({"set": "synthetic-tiles"}, {}))
    choices = [[demo], [demo, demo], [other], [demo, other], [demo, {"files": "x", "images": 3}], [None], []]
    chosen = [reference.choose_data_path(None, seen) for seen in choices]
    assert chosen == ["synthetic-tiles", "synthetic-tiles", "synthetic", "faces", "faces", "faces", "faces"]
    assert reference.choose_data_path("mine", [demo]) == "mine"


def test_an_evaluation_is_not_overwritten_and_its_plot_goes_with_it():
    arguments = [str(write_pngs(Path("pngs"), 4)), "--data-path", "synthetic", "--metrics", "color"]
    evaluated(*arguments)
    before = Path("out", "evaluation.json").read_text()
    Path("out", "evaluation.png").write_bytes(b"old")
    with pytest.raises(UserError, match=r"evaluation\.csv is there already.*it with --o"):
        evaluate.main(["nowhere", "--output-dir", "out"])  # before anything is loaded
    assert Path("out", "evaluation.json").read_text() == before
    evaluated(*arguments)
    assert not Path("out", "evaluation.png").exists()
    Path("out", "evaluation.png").mkdir()
    with pytest.raises(UserError, match=r"out/evaluation\.png is a folder"):
        evaluated("nowhere")
    with pytest.raises(UserError, match=r"cannot write out/evaluation\.json/x") as error:
        evaluate.main([*arguments, "--output-dir", "out/evaluation.json/x"])
    assert "--resume" not in str(error.value)
