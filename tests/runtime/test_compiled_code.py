"""Compiled code, which is run when it is found, lies where nobody else can put it; and versions that will not do."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from helpers import ROOT

from mindiffusion.runtime.command_line import run_script
from mindiffusion.runtime.precision import keep_compiled_code

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
AS_NOBODY = """
import os, torch
from mindiffusion.runtime.distributed import process_group
with process_group("cpu"):
    net = torch.nn.Linear(2, 2)
    torch.optim.Adam(net.parameters()).zero_grad()
    torch.compile(net)
import torch._dynamo, torch._inductor.codecache
print(os.environ["TORCHINDUCTOR_CACHE_DIR"])
"""


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


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become somebody else")
def test_a_user_without_an_account_can_make_an_optimizer_and_compile():
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        os.chmod(home, 0o777)
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": home, "OMP_NUM_THREADS": "1"}
        command = ["setpriv", "--reuid=12345", "--clear-groups", sys.executable, "-c", AS_NOBODY]
        result = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(home)


def test_versions_that_are_too_old_are_told_before_anything_is_done(monkeypatch, capsys):
    monkeypatch.setattr(torch, "__version__", "2.9.1+cu128")
    monkeypatch.setattr("PIL.__version__", "10.4.0")
    with pytest.raises(SystemExit) as end:
        run_script(lambda: pytest.fail("begun"))
    assert end.value.code == 2
    assert 'torch 2.9.1+cu128 and pillow 10.4.0 will not do here: pip install --upgrade "torch>=2.10"' in (
        capsys.readouterr().err
    )
