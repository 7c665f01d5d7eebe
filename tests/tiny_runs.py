"""Fixtures: a folder of images, and tiny runs of the real scripts in this process."""

import importlib.util
from pathlib import Path

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
NUM_IMAGES, BATCH = 24, 8  # three steps per epoch


@pytest.fixture
def faces(tmp_path, monkeypatch):
    """A folder of random images, with a cache of its own."""
    monkeypatch.setenv("MINDIFFUSION_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CELEBA_PATH", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "faces"
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    for index in range(NUM_IMAGES):
        pixels = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8, generator=generator)
        Image.fromarray(pixels.numpy()).save(folder / f"{index:03d}.png")
    return folder


@pytest.fixture
def launch(faces, monkeypatch):
    """launch("c_", "--flag", ...) runs train_celeba_c_32.py's main with tiny settings."""

    def run(variant, *flags):
        path = ROOT / f"train_celeba_{variant}32.py"
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        epochs = ["1"] * len(module.STAGES)
        tiny = ["--n-feat", "8", "--global-batch-size", str(BATCH), "--num-samples", "0", "--device", "cpu"]
        monkeypatch.setattr(
            "sys.argv", [path.name, "--data-path", str(faces), "--epochs-per-stage", *epochs, *tiny, *flags]
        )
        module.main()

    return run
