"""metrics.csv: one row per logging interval.

Every run has the columns of COLUMNS; what else a process measures in its steps or a network reads of itself (CS:
active_channels) follows in columns of its own.
"""

import os
from pathlib import Path
from typing import Any

from mindiffusion.reports.row_file import UNKNOWN, RowFile, read_rows
from mindiffusion.runtime.files import write_errors_explained

COLUMNS = (
    "stage",  # from 1
    "epoch",  # from 1, over the whole run
    "step",  # optimizer steps done
    "images",  # images seen
    "loss",  # what is trained: the process's loss and the penalty; mean over the interval like the next two
    "mse",  # the plain mean squared error of the predicted noise
    "penalty",
    "lr",
    "grad_norm",  # L2 norm of the whole gradient, mean over the interval
    "images_per_s",  # over the interval, without grids and checkpoints
)


class MetricsFile(RowFile):
    """Appends rows to metrics.csv, a header first. A column that comes later is unknown in earlier rows."""

    def __init__(self, path: Path):
        super().__init__(path, COLUMNS)

    def append(self, row: dict[str, Any]) -> None:
        """Add one row; numbers are written with 6 significant digits."""
        if new := [name for name in row if name not in self.columns]:
            rows = self.rows()
            self.columns = (*self.columns, *new)
            self.write(rows)
        values = [row.get(name, UNKNOWN) for name in self.columns]
        cells = [f"{value:.6g}" if isinstance(value, float) else str(value) for value in values]
        with write_errors_explained(self.path), open(self.path, "a", newline="") as file:
            file.write(",".join(cells) + "\n")

    def sync(self) -> None:
        """Push the rows to the disk: a checkpoint must not be newer than the rows that led to it."""
        with write_errors_explained(self.path), open(self.path, "a") as file:
            os.fsync(file.fileno())


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv that can be read."""
    return read_rows(path, COLUMNS)[0]
