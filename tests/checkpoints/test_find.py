"""One way to name a model: whichever name is given, the same weights come out, and mistakes say what can be named."""

import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from helpers import C, checkpoints, contents, sample

from mindiffusion.checkpoints.checkpoint import BadCheckpoint, find_newest
from mindiffusion.checkpoints.find import find_model, is_model
from mindiffusion.checkpoints.models import open_model
from mindiffusion.checkpoints.weights import read_weights
from mindiffusion.runtime.errors import UserError


@pytest.fixture
def run(finished):
    """The output folder of a tiny run of C; do not change it."""
    return finished(C)


def same(path, other) -> bool:
    one, two = read_weights(path).state, read_weights(other).state
    return all(torch.equal(one[name], two[name]) for name in two)


def test_every_name_of_a_run_is_its_newest_checkpoint(run):
    latest = checkpoints(C, run) / "latest.pt"
    for name in (run, contents(C, run), checkpoints(C, run), latest):
        assert find_model(name).resolve() == latest.resolve()
        assert same(name, latest) and is_model(name)
    model = open_model(contents(C, run))
    assert (model.image_size, model.n_T, model.t_stop) == (32, 1000, 0)
    assert open_model(checkpoints(C, run) / "stage2.pt").t_stop == 600


def test_an_export_and_a_bare_state_dict_are_named_like_any_other(run, tmp_path):
    pytest.importorskip("safetensors")
    sample(run, "--export", tmp_path / "model")
    torch.save(read_weights(run).state, tmp_path / "bare.pth")
    for path in (tmp_path / "model", tmp_path / "model" / "model.safetensors", tmp_path / "bare.pth"):
        assert same(path, run)


def test_the_newest_checkpoint_is_that_of_the_highest_step_whatever_its_name(run, tmp_path, capsys):
    folder = shutil.copytree(checkpoints(C, run), tmp_path / "checkpoints_c_32")
    (folder / "latest.pt").unlink()
    assert find_model(folder).name == "stage5.pt"
    shutil.copy(folder / "stage2.pt", folder / "latest.pt")  # an old backup, say
    assert find_newest(folder).path.name == "stage5.pt"
    damage = (folder / "stage5.pt").read_bytes()
    (folder / "stage5.pt").write_bytes(damage[: len(damage) // 2] + b"x" + damage[len(damage) // 2 + 1 :])
    assert find_newest(folder).path.name == "previous.pt"  # the epoch before the last, which is stage 4
    assert "stage5.pt" in capsys.readouterr().err
    for path in folder.glob("*.pt"):
        path.write_bytes(b"junk")
    with pytest.raises(UserError, match=r"none of the 7 checkpoints"):
        find_newest(folder)


def test_what_is_no_model_is_told_what_could_be_named(run, tmp_path):
    for path, words in ((tmp_path / "absent", "does not exist"), (tmp_path, "holds no model: train one, or")):
        with pytest.raises(BadCheckpoint, match=f"{words}:? name a run's folder"):
            find_model(path)
        assert not is_model(path)
    for name in ("checkpoints_32", "checkpoints_c_32"):
        shutil.copytree(checkpoints(C, run), tmp_path / name)
    with pytest.raises(UserError, match="holds several runs"):
        find_model(tmp_path)


def test_a_file_that_may_not_be_read_is_told_so_and_gives_way_to_the_one_before(run, tmp_path, monkeypatch):
    folder = shutil.copytree(checkpoints(C, run), tmp_path / "checkpoints_c_32")
    denied, load = PermissionError(13, "Permission denied"), torch.load

    def guarded(path, **options):
        return Mock(side_effect=denied)() if path.name == "latest.pt" else load(path, **options)

    monkeypatch.setattr(torch, "load", guarded)
    with pytest.raises(BadCheckpoint, match=r"latest\.pt cannot be read as a checkpoint: Permission denied"):
        read_weights(folder / "latest.pt")
    assert find_model(folder).name == "stage5.pt"  # of the same step; previous.pt is older
    monkeypatch.setattr(Path, "is_file", Mock(side_effect=denied))
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        find_model(folder)
    assert is_model(folder)
