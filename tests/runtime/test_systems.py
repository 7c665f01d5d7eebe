"""Where a system has less than Linux: what Windows lacks, and an Apple GPU that is not there."""

import subprocess
import sys

import pytest
import torch

from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.gpu import pick_device
from mindiffusion.runtime.precision import resolve_precision, widest

# PyTorch itself is imported before: what it needs it has on Windows too.
LESS = """
import os, runpy, signal, sys
import torch, torch._dynamo, torch.distributed, torch.multiprocessing, tqdm, PIL.Image, filelock

class Absent:
    def find_spec(self, name, *_):
        if name in ("fcntl", "pwd", "grp", "resource", "termios"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in ("fcntl", "pwd", "grp", "resource", "termios"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Absent())
for owner, names in ((signal, ("SIGHUP", "SIGKILL")), (os, ("sched_getaffinity", "statvfs", "getuid", "geteuid"))):
    for name in names:
        delattr(owner, name)
import helpers
for program in ("sample", "evaluate", "compare"):
    try:
        runpy.run_path(f"{helpers.ROOT}/{program}.py", run_name="program")["parse_args"](["--help"])
    except SystemExit as end:
        assert end.code == 0
from pathlib import Path
assert helpers.exit_code("train_celeba_32", Path.cwd()) == 0
print("trained")
"""


def test_programs_start_and_train_without_what_windows_lacks(tmp_path):
    done = subprocess.run([sys.executable, "-c", LESS], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.endswith("trained\n"), done.stderr


def test_an_apple_gpu_is_used_when_it_is_named_and_there(monkeypatch, capsys):
    with pytest.raises(UserError, match="needs an Apple GPU"):
        pick_device("mps", 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    mps = pick_device("mps", 0)
    assert mps.type == "mps" and "nobody has run this" in capsys.readouterr().err
    assert resolve_precision("auto", mps, long_run=True) == "fp32" and widest(mps) == torch.float32
    with pytest.raises(UserError, match="--precision fp32"):
        resolve_precision("bf16", mps)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="one process, of plain python"):
        pick_device("mps", 0)
