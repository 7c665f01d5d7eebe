"""Launching the training scripts inside the test process, on data small enough for a second a run."""

import importlib.util
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from mindiffusion.checkpoints.checkpoint import load_checkpoint
from mindiffusion.data import images
from mindiffusion.reports.row_file import read_rows
from mindiffusion.runtime.command_line import run_script
from mindiffusion.runtime.signals import Stopped
from mindiffusion.training import saver
from mindiffusion.training.log import Log
from mindiffusion.training.saver import Saver

ROOT = Path(__file__).parents[1]
VARIANTS = {"train_celeba_32": "", **{f"train_celeba_{each}_32": each for each in ("c", "cs", "cr", "p", "cp", "s")}}
ALL_SCRIPTS = tuple(VARIANTS)
SCRIPTS = ALL_SCRIPTS[:4]  # of the original description
UNIFORM, C, CS, CR, P, CP, S = ALL_SCRIPTS
GRIDS = ("--num-samples", "2", "--sample-steps", "2")  # small ones, as those of the finished runs
NUM_IMAGES = 24
STEPS_PER_EPOCH = 3  # of 8 images each


class Killed(BaseException):
    """Stands for a SIGKILL: nothing in the program catches it."""


def load_script(name: str) -> ModuleType:
    """The script as a module; its main is not called."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tiny_flags(name: str, folder: Path) -> list[str]:
    """A whole run of the script in about a second, on the synthetic data, with its outputs in ``folder``."""
    epochs = ["1"] * len(load_script(name).STAGES)
    text = "--data-path synthetic --n-feat 8 --global-batch-size 8 --num-samples 0 --no-figures --device cpu"
    return [*text.split(), "--output-dir", str(folder), "--epochs-per-stage", *epochs]


def launch(name: str, folder: Path, *flags: str) -> None:
    """Run the script's main as ``python name.py <tiny flags> <flags>`` would; its exceptions come through."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "NUM_SYNTHETIC", NUM_IMAGES)
        patch.setattr(saver, "SAVE_SHARE", float("inf"))  # save at the end of every epoch, short as they are
        patch.setattr(sys, "argv", [f"{name}.py", *tiny_flags(name, folder), *flags])
        load_script(name).main()


def exit_code(name: str, folder: Path, *flags: str) -> int:
    """The exit code of the same launch, with its message on stderr."""
    return code_of(lambda: launch(name, folder, *flags))


def code_of(main: Callable[[], None]) -> int:
    """The exit code of a program's ``main``, with its message on stderr."""
    hook = sys.unraisablehook
    try:
        run_script(main)
    except SystemExit as end:
        return end.code
    finally:
        sys.unraisablehook = hook  # a program that was stopped leaves another for the end of its process
    return 0


def sample(*argv: object) -> None:
    """Run sample.py as ``python sample.py <argv>`` would; its exceptions come through."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sample.py", *map(str, argv)])
        load_script("sample").main()


def launch_until(step: int, name: str, folder: Path, *flags: str, kind: str = "stopped") -> None:
    """The same launch, which ends after optimizer step ``step``: "stopped" by SIGTERM, or "killed" with nothing
    saved."""
    log_step, save_step = Log.finish_step, Saver.finish_step

    def log_or_be_killed(self, done, measured):
        if done == step + 1 and kind == "killed":
            raise Killed
        log_step(self, done, measured)

    def save_and_be_stopped(self, done, stop):
        if done == step + 1 and kind == "stopped":
            stop.received = signal.SIGTERM
        save_step(self, done, stop)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped if kind == "stopped" else Killed):
        patch.setattr(Log, "finish_step", log_or_be_killed)
        patch.setattr(Saver, "finish_step", save_and_be_stopped)
        launch(name, folder, *flags)


def contents(name: str, folder: Path) -> Path:
    """The folder of grids and metrics of a run."""
    return folder / name.replace("train_celeba", "contents")


def checkpoints(name: str, folder: Path) -> Path:
    """The folder of checkpoints of a run."""
    return folder / name.replace("train_celeba", "checkpoints")


def small_content(**changes: object) -> dict:
    """What save_checkpoint takes, with very little in it."""
    content = {"network": "NaiveUnet", "args": {}, "t_stop": 0, "training_state": {}, "interval": {"mse": 0.25}}
    content |= {"model": {"w": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1.5])}, "ema": None}
    groups = [{"lr": 0.1, "fused": True, "params": [0]}]
    content |= {"optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": groups}}
    content |= {"next_stage": 0, "next_epoch": 1, "next_step": 3, "config": {"lr": 0.1}, "data": {"images": 9}}
    return content | changes


def files(folder: Path) -> dict[str, bytes]:
    """All files of a folder, by their path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def final_state(name: str, folder: Path) -> dict:
    """All of latest.pt but where it was made: what a resumed run must repeat bit for bit."""
    content = load_checkpoint(checkpoints(name, folder) / "latest.pt")
    return {key: value for key, value in content.items() if key != "config"}


def metrics(name: str, folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv without the one column that is a stopwatch."""
    rows = read_rows(contents(name, folder) / "metrics.csv")[0]
    return [{key: value for key, value in row.items() if key != "images_per_s"} for row in rows]


def assert_identical(a: object, b: object, where: str = "state") -> None:
    """Equal in structure, and every tensor equal bit for bit."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_identical(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_identical(x, y, f"{where}[{index}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def assert_same_run(name: str, one: Path, other: Path) -> None:
    """Two output folders hold the same run: state, checkpoints of stages, metrics, bands and grids, bit for
    bit."""
    assert_identical(final_state(name, one), final_state(name, other))
    assert metrics(name, one) == metrics(name, other)
    for pattern in ("*.png", "recovery.csv", "bands.csv"):
        ours, theirs = (
            {path.name: path.read_bytes() for path in contents(name, folder).glob(pattern)} for folder in (one, other)
        )
        assert ours == theirs
    stages = [sorted(checkpoints(name, folder).glob("stage*.pt")) for folder in (one, other)]
    for a, b in zip(*stages, strict=True):
        assert_identical(load_checkpoint(a)["model"], load_checkpoint(b)["model"])


def assert_close_curves(
    one: list[dict[str, str]], other: list[dict[str, str]], first: tuple[float, float] = (1e-5, 1e-3)
) -> None:
    """Two logs of the same training in fp32, summed in another order: losses equal to 1e-5 in the first epoch, norms of
    the gradient to 1e-3, or as ``first`` says. Later, Adam has turned the rounding noise of near-zero gradients into
    full-sized updates, and they agree to 1 %."""
    for index, (a, b) in enumerate(zip(one, other, strict=True)):
        loss, norm = first if index < 1 else (1e-2, 5e-2)
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=loss), f"row {index}"
        assert float(a["grad_norm"]) == pytest.approx(float(b["grad_norm"]), rel=norm), f"row {index}"


def write_pngs(folder: Path, count: int = NUM_IMAGES, size: int = 32) -> Path:
    """``count`` small random PNGs, the same every time."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{index:03d}.png")
    return folder
