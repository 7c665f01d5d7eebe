"""Locks: one holder at a time, gone with its process; whatever lies in the place of the file is neither followed nor
destroyed."""

import os
import subprocess
import sys
from unittest.mock import Mock

import pytest
from helpers import ROOT

from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.locks import hold

HOLDER = """
import sys, time
from pathlib import Path
from mindiffusion.runtime.locks import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_has_one_holder_and_goes_with_its_process(tmp_path, capsys):
    path = tmp_path / "x.lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="it is taken"), hold(path, "it is taken", 0.3):
        pass
    holder.kill()
    holder.wait()
    assert path.exists() and capsys.readouterr().err.startswith("Waiting for another process")
    with hold(path, patience=0) as locked:
        assert locked
    assert not path.exists()


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "x.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match=r"x\.lock cannot be locked"), hold(tmp_path / "x.lock"):
        pass
    assert (tmp_path / "precious").read_text() == "mine" and (tmp_path / "x.lock").is_symlink()


def test_a_lock_is_for_everyone_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        with hold(tmp_path / "x.lock"):
            assert (tmp_path / "x.lock").stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(before)


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", Mock(side_effect=OSError(38, "Function not implemented")))
    with hold(tmp_path / "x.lock") as locked:
        assert not locked
