"""A word from the program comes quickly: what --help loads, and how long that takes beside PyTorch itself."""

import subprocess
import sys
import time

import pytest
from helpers import ROOT, SCRIPTS

LIMIT = 1.5  # seconds for what is ours: with the 1.5 s or so of PyTorch, 3 s in all
SLOW_PACKAGES = ("torchvision", "torch._dynamo", "matplotlib", "tensorboard", "safetensors")


def seconds(*command: str) -> float:
    """The best of two runs of python with these arguments: the first may find cold caches, or a busy machine."""
    took = []
    for _ in range(2):
        began = time.monotonic()
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
        took.append(time.monotonic() - began)
    return min(took)


@pytest.mark.parametrize("name", (*SCRIPTS, "sample"))
def test_help_loads_no_slow_package(name):
    code = f"import sys, {name}; print([m for m in {SLOW_PACKAGES} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert loaded.strip() == "[]"


def test_help_takes_little_more_than_importing_torch():
    assert seconds("train_celeba_cs_32.py", "--help") - seconds("-c", "import torch") < LIMIT
