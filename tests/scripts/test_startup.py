"""A word from the program comes quickly: --help loads nothing that takes a second to load and is not needed for it."""

import json
import os
import subprocess
import sys

import pytest
from helpers import ROOT, SCRIPTS

NAMES = (*SCRIPTS, "sample", "compare")
SLOW_PACKAGES = ("torchvision", "torch._dynamo", "matplotlib", "tensorboard", "safetensors")
ASK_ALL_FOR_HELP = f"""
import contextlib, importlib, io, json, sys
loaded = {{}}
for name in {NAMES}:
    sys.argv = [name + ".py", "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        importlib.import_module(name).main()
    assert "usage:" in text.getvalue(), name
    loaded[name] = [package for package in {SLOW_PACKAGES} if package in sys.modules]
print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def loaded():
    """The slow packages that are there after each script has been asked for help, one script after the other."""
    command = [sys.executable, "-c", ASK_ALL_FOR_HELP]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return json.loads(subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("name", NAMES)
def test_help_loads_no_slow_package(name, loaded):
    assert loaded[name] == []
