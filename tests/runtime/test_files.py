"""Reading: regular files alone, of a size that can be; what is no such file is told, and waited for never."""

import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from mindiffusion.checkpoints.checkpoint import BadCheckpoint, load_plain
from mindiffusion.checkpoints.find import find_newest
from mindiffusion.checkpoints.weights import read_weights
from mindiffusion.reports.row_file import read_rows
from mindiffusion.reports.run_record import read_record
from mindiffusion.runtime import files
from mindiffusion.runtime.env_file import no_images_named, read_env_file
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import open_regular, read_text
from mindiffusion.sharing.evaluations import read_evaluation

ASIDE = {
    "config.json": read_record,
    "latest.pt": find_newest,
    "model.safetensors": lambda at: read_weights(at, raw=False),
}
NAMED = {
    "evaluation.json": read_evaluation,
    "metrics.csv": read_rows,
    "stage1.pt": load_plain,
    ".env": lambda path: read_env_file(),
}


@pytest.mark.parametrize("name", [*ASIDE, *NAMED])
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text('{"format": "mindiffusion-export", "format_version": 1}')
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises((UserError, OSError), match=r"regular file|not a file|none of the 1") as caught:
        NAMED[name](tmp_path / name) if name in NAMED else ASIDE[name](tmp_path)
    assert str(caught.value).count(str(tmp_path / name)) < 2


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/proc", "."])
def test_devices_and_folders_are_not_read(path):
    with pytest.raises(OSError, match=r"regular file|Is a directory"):
        open_regular(path)


def test_a_text_of_absurd_length_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "TEXT_LIMIT", 4)
    (tmp_path / "a").write_text("abcd")
    assert read_text(tmp_path / "a") == "abcd"
    (tmp_path / "a").write_text("abcde")
    with pytest.raises(OSError, match="longer than"):
        read_text(tmp_path / "a")


def deflated(path: Path) -> None:
    """The same file of tensors, with its content packed."""
    torch.save({"w": torch.zeros(1000, 1000)}, path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as packed:
        for member in whole.namelist():
            packed.writestr(member, whole.read(member))
    shutil.move(path.with_suffix(".zip"), path)


@pytest.mark.parametrize(
    "make",
    [deflated, lambda path: torch.save({"w": torch.zeros(1).expand(10**6, 10**6)}, path)],
    ids=["deflated", "hollow"],
)
def test_a_checkpoint_that_would_swell_in_memory_is_refused(make, tmp_path):
    make(tmp_path / "a.pt")
    with pytest.raises(BadCheckpoint, match=r"are packed into|not all there"):
        load_plain(tmp_path / "a.pt")


def test_an_empty_path_to_the_images_is_asked_for_and_a_folder_is_named_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setenv("CELEBA_PATH", "")
    said = str(no_images_named())
    assert said.count(str(tmp_path)) == 1 and "Is CELEBA_PATH" not in said


def test_a_dotenv_is_found_from_the_script_upwards_and_the_message_names_the_places(tmp_path, monkeypatch):
    here, script = tmp_path / "here", tmp_path / "code" / "tools" / "train.py"
    here.mkdir(), script.parent.mkdir(parents=True)
    (script.parent / ".env").mkdir()  # a virtual environment, say
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.delenv("CELEBA_PATH", raising=False)
    monkeypatch.setenv("celeb_path", "faces")
    read_env_file()
    said = str(no_images_named())
    assert f"{here} and {script.parent}, and in the folders above" in said and "Is celeb_path meant" in said
    (tmp_path / "code" / ".env").write_text("CELEBA_PATH=above\n")
    read_env_file()
    assert os.environ.pop("CELEBA_PATH") == "above"
    (here / ".env").write_text("CELEBA_PATH=near\n")
    read_env_file()
    assert os.environ["CELEBA_PATH"] == "near"
