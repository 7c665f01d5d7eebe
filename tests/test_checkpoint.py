"""Checkpoint files: whole, verified, and never executed."""

import pickle

import pytest
import torch

from mindiffusion.checkpoint import (
    BadCheckpoint,
    Found,
    check_same_run,
    find_newest,
    load_checkpoint,
    save_checkpoint,
    save_latest,
)
from mindiffusion.errors import UserError


def content(step=3):
    return {
        "network": "NaiveUnet",
        "model": {"w": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1.5, float("nan")])},
        "ema": None,
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "fused": True}]},
        "regrowth": None,
        "interval": {"mse": 0.25},
        "next_stage": 0,
        "next_epoch": 1,
        "next_step": step,
        "config": {"lr": 0.1, "stages": [{"t_min": 0.0}]},
        "data": {"images": 9},
    }


def test_round_trip(tmp_path):
    save_checkpoint(tmp_path / "a.pt", content())
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert torch.equal(loaded["model"]["w"], content()["model"]["w"]) and loaded["config"] == content()["config"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("position", [0.02, 0.3, 0.5, 0.7, 0.9, 0.995])
def test_a_flipped_byte_is_refused_or_harmless(tmp_path, position):
    path = tmp_path / "a.pt"
    save_checkpoint(path, content())
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 0xFF
    path.write_bytes(data)
    try:
        loaded = load_checkpoint(path)  # the byte may be padding of the zip file
    except BadCheckpoint as error:
        assert "a.pt" in str(error)
    else:
        assert torch.equal(loaded["model"]["w"], content()["model"]["w"]) and loaded["next_step"] == 3


def test_an_altered_value_fails_the_checksum(tmp_path):
    path = tmp_path / "a.pt"
    save_checkpoint(path, content())
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["model"]["w"][0, 0] += 1e-6
    torch.save(checkpoint, path)
    with pytest.raises(BadCheckpoint, match="checksum"):
        load_checkpoint(path)


class Payload:
    def __reduce__(self):
        return (open, ("executed", "w"))


def test_a_pickle_payload_is_never_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, save in (("torch.pt", torch.save), ("plain.pt", lambda x, p: p.write_bytes(pickle.dumps(x)))):
        save(Payload(), tmp_path / name)
        with pytest.raises(BadCheckpoint, match=name):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_a_newer_version_is_refused(tmp_path):
    torch.save({"format": "mindiffusion-checkpoint", "format_version": 99}, tmp_path / "a.pt")
    with pytest.raises(BadCheckpoint, match="update the program"):
        load_checkpoint(tmp_path / "a.pt")


def test_the_newest_good_one_is_found(tmp_path, capsys):
    assert find_newest(tmp_path) is None
    for step in (1, 2):
        save_latest(tmp_path, content(step))
    assert find_newest(tmp_path).content["next_step"] == 2
    (tmp_path / "latest.pt").write_bytes(b"")
    assert find_newest(tmp_path).content["next_step"] == 1
    assert "latest.pt" in capsys.readouterr().err
    (tmp_path / "previous.pt").write_bytes(b"junk")
    with pytest.raises(UserError, match="none of the 2 checkpoints"):
        find_newest(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    save_latest(tmp_path, content(1))

    def full(value, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"No space left on device.*--resume"):
        save_latest(tmp_path, content(2))
    assert [p.name for p in tmp_path.iterdir()] == ["latest.pt"]
    assert load_checkpoint(tmp_path / "latest.pt")["next_step"] == 1


def test_another_run_is_refused_with_the_fields_that_differ(tmp_path):
    found = Found(tmp_path / "a.pt", content())
    check_same_run(found, {"lr": 0.1}, {"images": 9})
    with pytest.raises(UserError, match=r"(?s)lr: 0\.1 in the checkpoint, 0\.2 now.*data\.images: 9"):
        check_same_run(found, {"lr": 0.2}, {"images": 8})
