"""What all tests share: one thread, and an environment that no test changes for the next."""

import os
import sys
from pathlib import Path

import faults
import pytest
import torch
from helpers import GRIDS, ROOT, launch
from PIL import Image

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
def elsewhere(cache, tmp_path, monkeypatch) -> None:
    """An empty current folder, and no .env, image cache or Inception weights of this machine's user."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def faces(tmp_path) -> Path:
    """A folder of 12 one-colour images; image i has red = 20·i."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for i in range(12):
        Image.new("RGB", (40, 50), (20 * i, 100, 7)).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of an uninterrupted run of a script, with grids; made once. A run of several processes, or with
    flags, is one of processes of their own."""
    folders = {}

    def run(name, world_size=1, *flags):
        key = (name, world_size, *flags)
        if key not in folders:
            folder = tmp_path_factory.mktemp(name)
            if key == (name, 1):
                launch(name, folder, *GRIDS)
            else:
                codes = faults.finish(name, folder, *GRIDS, *flags, world_size=world_size)
                assert codes == [0] * world_size
            folders[key] = folder
        return folders[key]

    return run
