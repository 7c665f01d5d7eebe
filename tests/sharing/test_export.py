"""sample.py --export: a folder that samples as its checkpoint does, and says what it is."""

import json
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from helpers import CR, CS, UNIFORM, C, P, checkpoints, sample

from mindiffusion.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from mindiffusion.checkpoints.weights import build_network, read_weights, weights_digest
from mindiffusion.config import PLACES
from mindiffusion.reports.grid_picture import read_grid
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.locks import claim
from mindiffusion.sharing import export
from mindiffusion.sharing.evaluations import DOUBT
from mindiffusion.unet import NaiveUnet

pytest.importorskip("safetensors")
FEW = ("-n", "2", "--steps", "3", "--device", "cpu")
FILES = {"model.safetensors", "config.json", "README.md"}


@pytest.fixture
def trained(finished):
    """latest.pt of a finished run of a script; do not change it."""
    return lambda name: checkpoints(name, finished(name)) / "latest.pt"


def pixels(path):
    return read_grid(path).samples.tobytes()  # not the caption, which has the model's name


@pytest.mark.parametrize("name", [UNIFORM, C, CS, CR, P])
def test_an_export_gives_the_samples_of_its_checkpoint(name, trained, tmp_path):
    path = trained(name).with_name("stage1.pt")  # of a curriculum, and of a mask, that have only begun
    sample(path, "--export", tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == FILES
    sample(path, "-o", tmp_path / "a.png", *FEW)
    sample(tmp_path / "model", "-o", tmp_path / "b.png", *FEW)
    assert pixels(tmp_path / "a.png") == pixels(tmp_path / "b.png")
    sample(tmp_path / "model", "--export", tmp_path / "again")
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "model" / file).read_bytes()


def test_a_checkpoint_holds_no_place_of_its_machine(trained):
    content = load_checkpoint(trained(CS))
    told = json.dumps({name: content[name] for name in ("config", "data", "args")})
    assert str(trained(CS).parents[1]) not in told and not set(PLACES) & set(content["config"])


def test_averaged_weights_are_exported_unless_raw_ones_are_asked_for(trained, tmp_path):
    path = trained(C)
    sample(path, "--export", tmp_path / "averaged")
    sample(path, "--export", tmp_path / "raw", "--raw-weights")
    for kind, raw in (("averaged", False), ("raw", True)):
        expected = read_weights(path, raw=raw).state["out.weight"]
        assert torch.equal(read_weights(tmp_path / kind).state["out.weight"], expected)
        assert json.loads((tmp_path / kind / "config.json").read_text())["weights"] == kind


def test_a_checkpoint_of_the_original_imports_the_same_way(tmp_path):
    torch.manual_seed(0)
    state = {f"eps_model.{name}": value for name, value in NaiveUnet(3, 3, 8).state_dict().items()}
    torch.save({**state, "alpha_t": torch.ones(1001)}, tmp_path / "ddpm_celeba.pth")
    sample(tmp_path / "ddpm_celeba.pth", "--export", tmp_path / "model")
    sample(tmp_path / "ddpm_celeba.pth", "-o", tmp_path / "a.png", *FEW)
    sample(tmp_path / "model", "-o", tmp_path / "b.png", *FEW)
    assert pixels(tmp_path / "a.png") == pixels(tmp_path / "b.png")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "original minDiffusion" in card and "Not known" in card and "non-commercial" in card


def test_the_card_shows_what_was_measured_on_these_very_weights(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained(C).parents[1], run)
    rows = []
    for number, name in enumerate(("latest.pt", "stage1.pt")):
        digest = weights_digest(read_weights(run / "checkpoints_c_32" / name).state)
        about = {"weights_digest": digest, "step": 15 - 12 * number, "reference": "held *out*"}
        rows.append({"name": f"row {number}", **about, "metrics": {"swd": {"value": 101 + number}}})
    (run / "evaluation").mkdir()
    content = {"settings": {"sampler": "*DDIM*"}, "results": rows}
    (run / "evaluation" / "evaluation.json").write_text(json.dumps(content))
    for number, name in enumerate(("latest.pt", "stage1.pt", "stage2.pt")):
        sample(run / "checkpoints_c_32" / name, "--export", tmp_path / name)
        card = (tmp_path / name / "README.md").read_text()
        assert (f"| {101 + number} |" in card) == (number < 2)
        assert card.count("Measured on") == card.count(r"samples drawn by \*DDIM\*") == (number < 2)
    assert "Training mse at step 6" in card and "2 of 5 epochs" in card
    del rows[0]["weights_digest"]
    rows[0]["name"] = "C"
    (run / "evaluation" / "evaluation.json").write_text(json.dumps(content))
    for name, shown in (("latest.pt", 1), ("stage1.pt", 0)):
        sample(run / "checkpoints_c_32" / name, "--export", tmp_path / name, "--overwrite")
        assert (tmp_path / name / "README.md").read_text().count(DOUBT) == shown


def test_words_of_a_checkpoint_are_plain_in_its_card(trained, tmp_path):
    content = load_checkpoint(trained(C))
    evil = "a | b\n# <script>\x1b[0m [x](http://evil)"
    content["config"]["variant"] = content["config"]["stages"][0]["name"] = evil
    save_checkpoint(tmp_path / "a.pt", content)
    sample(tmp_path / "a.pt", "--export", tmp_path / "model", "--licence", evil)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "<script" not in card and "\x1b" not in card and "](http:" not in card and card.count("license:") == 1
    assert "\nlicense: other\nlicense_name: a-b-script-" in card  # a sentence is no licence that hubs know
    assert r"a \| b \# &lt;script>?\[0m \[x\](http\://evil)" in card


def test_an_export_is_whole_or_absent(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "model_card", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space left"):
        sample(trained(UNIFORM), "--export", tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_cannot_be_replaced_is_still_there(trained, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    sample(trained(UNIFORM), "--export", folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    rename = Path.rename

    def interrupted(path, to):
        if path.name == ".model.tmp":
            raise KeyboardInterrupt
        rename(path, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sample(trained(C), "--export", folder, "--overwrite")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_only_an_export_is_overwritten_and_only_when_asked(trained, tmp_path):
    sample(trained(UNIFORM), "--export", tmp_path / "model")
    with pytest.raises(UserError, match="is there already"):
        sample(trained(C), "--export", tmp_path / "model")
    sample(trained(C), "--export", tmp_path / "model", "--overwrite")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["config"]["variant"] == "c"
    (tmp_path / "model" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="replaces an export only"):
        sample(trained(UNIFORM), "--export", tmp_path / "model", "--overwrite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_what_a_killed_export_left_goes_with_the_next_and_there_is_one_writer(trained, tmp_path):
    (tmp_path / ".model.tmp").mkdir()
    (tmp_path / ".model.tmp" / "model.safetensors").touch()
    with claim(tmp_path / "model", tmp_path), pytest.raises(UserError, match=r"another sample\.py is writing"):
        sample(trained(UNIFORM), "--export", tmp_path / "model")
    sample(trained(UNIFORM), "--export", tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", None),
        ("config.json", b'{"format": "else", "format_version": 1}'),
        ("model.safetensors", b"cut off"),
        ("model.safetensors", None),
    ],
)
def test_a_damaged_export_is_named(file, content, trained, tmp_path):
    folder = tmp_path / "model"
    sample(trained(UNIFORM), "--export", folder)
    (folder / file).unlink()
    if content:
        (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=r"model (cannot be read as an export|holds no model)"):
        read_weights(folder)


def test_half_precision_halves_the_file_and_samples_nearly_alike(trained, tmp_path):
    checkpoint = trained(CS)
    sample(checkpoint, "--export", tmp_path / "whole")
    sample(checkpoint, "--export", tmp_path / "half", "--half")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    assert json.loads((tmp_path / "half" / "config.json").read_text())["stored"] == "float16"
    whole, half = (build_network(read_weights(tmp_path / name)) for name in ("whole", "half"))
    assert torch.equal(whole.channel_birth_stage, half.channel_birth_stage)
    for a, b in zip(whole.parameters(), half.parameters(), strict=True):
        assert b.dtype == torch.float32 and torch.equal(b, a.half().float())
