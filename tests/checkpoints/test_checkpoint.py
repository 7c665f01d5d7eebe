"""Checkpoint files: whole, verified, and never executed."""

import pickle

import pytest
import torch
from helpers import small_content

from mindiffusion.checkpoints.checkpoint import BadCheckpoint, Found, load_checkpoint, save_checkpoint
from mindiffusion.checkpoints.same_run import check_same_run
from mindiffusion.runtime.errors import UserError


class Payload:
    def __reduce__(self):
        return (open, ("executed", "w"))


def test_a_pickle_payload_is_never_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, save in (("torch.pt", torch.save), ("plain.pt", lambda x, p: p.write_bytes(pickle.dumps(x)))):
        save(Payload(), tmp_path / name)
        with pytest.raises(BadCheckpoint, match=name) as error:
            load_checkpoint(tmp_path / name)
        assert "weights_only" not in str(error.value)  # PyTorch's own advice is to load it all the same
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("thing", [torch.zeros(2), None, "text", {"format": 1}, b"", b"hello", b"PK\x03\x04"])
def test_a_file_of_another_kind_is_refused(tmp_path, thing):
    (tmp_path / "a.pt").write_bytes(thing) if isinstance(thing, bytes) else torch.save(thing, tmp_path / "a.pt")
    with pytest.raises(BadCheckpoint, match=r"a\.pt (is not a|cannot be read as a) checkpoint"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1", None, 99])
def test_a_version_that_never_was_or_is_newer_is_refused(tmp_path, version):
    save_checkpoint(tmp_path / "a.pt", small_content())
    altered = torch.load(tmp_path / "a.pt", weights_only=True)
    torch.save(altered | {"format_version": version}, tmp_path / "a.pt")
    with pytest.raises(BadCheckpoint, match=r"checkpoint format.*update the program"):
        load_checkpoint(tmp_path / "a.pt")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "latest.pt", small_content(next_step=1))

    def full(path, data):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with pytest.raises(UserError, match=r"No space left on device.*write elsewhere"):
        save_checkpoint(tmp_path / "latest.pt", small_content(next_step=2))
    assert [p.name for p in tmp_path.iterdir()] == ["latest.pt"]
    assert load_checkpoint(tmp_path / "latest.pt")["next_step"] == 1


def test_other_pixels_are_another_run_and_a_checkpoint_without_them_goes_on_with_a_word(tmp_path, capsys):
    data = {"kind": "folder", "images": 9}
    old = Found(tmp_path / "a.pt", small_content(data=data))
    check_same_run(old, {"lr": 0.1}, {**data, "pixels": "abc"})
    assert "a.pt is of a version that did not note the pixels" in capsys.readouterr().err
    new = Found(tmp_path / "a.pt", small_content(data={**data, "pixels": "abc"}))
    check_same_run(new, {"lr": 0.1}, {**data, "pixels": "abc"})
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError, match=r"(?s)data\.pixels: 'abc' in the checkpoint, 'def' now.*but other content"):
        check_same_run(new, {"lr": 0.1}, {**data, "pixels": "def"})
