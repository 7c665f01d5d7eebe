"""Compiled code, which is run when it is found, lies where nobody else can put it; and versions that will not do."""

import os
import tempfile
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from helpers import code_of
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from mindiffusion.runtime.precision import keep_compiled_code

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch, cache, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_compiled_code_is_kept_in_a_folder_of_the_users_own(cache, tmp_path, monkeypatch):
    assert keep_compiled_code() == os.environ[VARIABLE] == str(cache / "compiled")
    assert (cache / "compiled").stat().st_mode & 0o777 == 0o700
    (headers,) = tmp_path.glob("torchinductor_*")  # PyTorch's place, in which it keeps headers all the same
    assert headers.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv(VARIABLE, str(headers))  # as PyTorch sets it, whenever it is asked first
    assert keep_compiled_code() == str(cache / "compiled")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine"))
    assert keep_compiled_code() == str(tmp_path / "mine")


@pytest.mark.parametrize("trap", ["link", "open to others", "another user's"])
def test_a_folder_that_others_can_write_is_not_used(trap, cache, tmp_path, capsys):
    folder, headers = cache / "compiled", Path(tmp_path, "torchinductor_" + (os.environ.get("USER") or "root"))
    os.environ["LOGNAME"] = headers.name.removeprefix("torchinductor_")
    for each in (folder, headers):
        each.parent.mkdir(exist_ok=True)
        if trap == "link":
            each.symlink_to(tmp_path, target_is_directory=True)
        elif trap == "open to others":
            each.mkdir()
            each.chmod(0o777)
        elif os.geteuid() != 0:
            pytest.skip("only root can give a folder away")
        else:
            each.mkdir()
            os.chown(each, 12345, 12345)
    chosen = Path(keep_compiled_code())
    assert chosen.name.startswith("mindiffusion_") and chosen.stat().st_mode & 0o777 == 0o700
    assert os.environ["TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS"] == "0"
    assert "others can write in" in capsys.readouterr().err


def test_a_user_without_an_account_is_given_a_name_which_pytorch_asks_for(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", Mock(side_effect=KeyError("no such user")))
    keep_compiled_code()
    assert default_cache_dir().endswith(f"user{os.geteuid()}")


def test_versions_that_are_too_old_are_told_before_anything_is_done(monkeypatch, capsys):
    monkeypatch.setattr(torch, "__version__", "2.9.1+cu128")
    monkeypatch.setattr("PIL.__version__", "10.4.0")
    assert code_of(lambda: pytest.fail("begun")) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in ("torch 2.9.1+cu128", "pillow 10.4.0", 'pip install --upgrade "torch>=2.10"'))
