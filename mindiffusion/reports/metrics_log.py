"""metrics.csv: one row per logging interval, and the sums behind the row that is being gathered."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindiffusion.reports.row_file import RowFile, read_rows
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.files import write_errors_explained
from mindiffusion.runtime.precision import widest

COLUMNS = (
    "stage",  # from 1
    "epoch",  # from 1, over the whole run
    "step",  # optimizer steps done
    "images",  # images seen
    "loss",  # mse + penalty, mean over the interval like the next two
    "mse",
    "penalty",
    "lr",
    "grad_norm",  # L2 norm of the whole gradient, mean over the interval
    "images_per_s",  # over the interval, without grids and checkpoints
    "active_channels",  # bottleneck channels that are not masked
)


class IntervalMeter:
    """Sums of what each step measured, kept on the device, in float64 where it has that: no step waits for the host.

    ``mse`` is this rank's, so the mean over ranks is that of the global batch; ``penalty`` and ``grad_norm`` are the
    same on all ranks.
    """

    NAMES = ("mse", "penalty", "grad_norm", "steps")

    def __init__(self, ranks: Ranks):
        self.ranks = ranks
        self.sums = torch.zeros(len(self.NAMES), dtype=widest(ranks.device), device=ranks.device)
        self.reset_clock()  # timings are of this process only, not part of what a resumed run repeats

    def add(self, mse: Tensor, penalty: Tensor, grad_norm: Tensor) -> None:
        """Take in one step: three scalars on the device."""
        self.sums += torch.stack((mse, penalty, grad_norm, torch.ones_like(mse))).detach()
        self.timed_steps += 1

    def state(self) -> dict[str, float]:
        """The sums, averaged over ranks. Every rank must call it."""
        return dict(zip(self.NAMES, self.ranks.average_(self.sums.clone()).tolist(), strict=True))

    def load_state(self, state: dict[str, float]) -> None:
        """Go on from sums that ``state`` returned."""
        self.sums.copy_(torch.tensor([state[name] for name in self.NAMES], dtype=torch.float64))

    def means(self) -> dict[str, float]:
        """Means per step since the last reset, over all ranks. Every rank must call it."""
        state = self.state()
        steps = max(state.pop("steps"), 1.0)
        return {name: value / steps for name, value in state.items()}

    def steps_per_second(self) -> float:
        """Speed since the last reset, pauses left out."""
        return self.timed_steps / (time.monotonic() - self._started)

    def reset(self) -> None:
        """Begin a new interval."""
        self.sums.zero_()
        self.reset_clock()

    def reset_clock(self) -> None:
        """Measure the speed from here on."""
        self.timed_steps = 0
        self._started = time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time that the block takes (a grid, a checkpoint) out of the speed."""
        began = time.monotonic()
        yield
        self._started += time.monotonic() - began


class MetricsFile(RowFile):
    """Appends rows to metrics.csv, a header first."""

    def __init__(self, path: Path):
        super().__init__(path, COLUMNS)

    def append(self, row: dict[str, Any]) -> None:
        """Add one row; numbers are written with 6 significant digits."""
        cells = [f"{row[name]:.6g}" if isinstance(row[name], float) else str(row[name]) for name in self.columns]
        with write_errors_explained(self.path), open(self.path, "a", newline="") as file:
            file.write(",".join(cells) + "\n")

    def sync(self) -> None:
        """Push the rows to the disk: a checkpoint must not be newer than the rows that led to it."""
        with write_errors_explained(self.path), open(self.path, "a") as file:
            os.fsync(file.fileno())


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv that can be read."""
    return read_rows(path, COLUMNS)[0]
