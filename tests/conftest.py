"""What all tests share: one thread, and an environment that no test changes for the next."""

import os
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
# Programs that tests start find the package and the helpers, whichever test runs first.
os.environ["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
torch.set_num_threads(1)  # sums in one order: runs can be compared bit for bit


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than cores for `-n auto`: many tests wait for the processes that they start."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 1


@pytest.fixture(autouse=True)
def same_environment():
    """Put os.environ back: reading .env fills it. It is sought from sys.argv[0] upwards too: from where a test is."""
    before, argv = dict(os.environ), sys.argv
    sys.argv = ["pytest"]
    yield
    sys.argv = argv
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """A folder of its own for the image cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MINDIFFUSION_CACHE", str(folder))
    return folder


@pytest.fixture
def faces(tmp_path) -> Path:
    """A folder of 12 one-colour images; image i has red = 20·i."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for i in range(12):
        Image.new("RGB", (40, 50), (20 * i, 100, 7)).save(folder / f"{i:02}.png")
    return folder
