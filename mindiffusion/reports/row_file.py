"""CSV files of numbers that a run adds rows to. One that is not as it was written is kept aside, never lost.

metrics.csv has a row per logging interval. Every run has the columns of METRICS; what else a process measures in its
steps or a network reads of itself (CS: active_channels) follows in columns of its own. recovery.csv says how much of
the synthetic data's coarse and fine features the samples show at the end of each stage; bands.csv: see bands.py.
"""

import itertools
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from mindiffusion.data.synthetic import coefficients, recovery_of, two_feature_model
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import open_regular, write_atomically, write_errors_explained

COUNTS = ("stage", "epoch", "step", "images")  # columns of whole numbers
LARGEST = 1e30  # of what a run measures; more would overflow a sum
UNKNOWN = "nan"  # in a column that an older file lacks
METRICS = (
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
FEATURES = {"coarse": "coarse features (M1)", "fine": "fine features (M2)"}  # columns, and what people call them
BANDS = tuple(f"t {k / 10:.1f}-{(k + 1) / 10:.1f}" for k in range(10))  # by the ends of each band of timesteps in t/T
OLD_NAMES = {f"t<={(k + 1) / 10:g}": name for k, name in enumerate(BANDS)}  # of columns, in files of earlier versions
COLUMNS = {"metrics.csv": METRICS, "bands.csv": (*COUNTS, *BANDS), "recovery.csv": ("stage", *FEATURES, "outside")}

Row = dict[str, str]


def read_rows(path: Path) -> tuple[list[Row], bool]:
    """The rows that can be read of one of the files of COLUMNS, and whether it is as it was written; ([], True) if
    there is none.

    As it was written: a header of some of its columns, beginning with the first, and rows of as many numbers; in
    metrics.csv columns of others may follow. A last line without an end is no damage: a kill has cut it off, but never
    the header.
    UserError if the file cannot be opened.
    """
    if not path.exists():
        return [], True
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Mend that, or move it away.") from error
    whole, _, cut = content.rpartition(b"\n")
    header, *lines = whole.decode(errors="replace").replace("\r\n", "\n").split("\n")
    names, columns = [OLD_NAMES.get(name, name) for name in header.split(",")], COLUMNS[path.name]
    if names[0] != columns[0] or len(set(names)) < len(names):
        return [], not content
    if columns is METRICS:
        columns = (*columns, *(name for name in names if name not in columns and name.isidentifier()))
    cells = [line.split(",") for line in lines]
    rows = [
        {name: row[names.index(name)] if name in names else UNKNOWN for name in columns}
        for row in cells
        if len(row) == len(names) and all(map(_is_good, names, row))
    ]
    rows = rows if set(COUNTS) & set(columns) <= set(names) else []
    part_of_a_row = re.fullmatch(rb"[\w.,+-]*\r?", cut) is not None
    return rows, part_of_a_row and len(rows) == len(lines) and set(names) <= set(columns)


def _is_good(name: str, cell: str) -> bool:
    if name in COUNTS:
        return cell.isascii() and cell.isdigit() and len(cell) < 16
    try:
        return math.isnan(float(cell)) or abs(float(cell)) < LARGEST
    except ValueError:
        return False


class RowFile:
    """One CSV of a run, named as in COLUMNS. Only rank 0 may call what reads or writes it."""

    def __init__(self, path: Path):
        self.path = path
        self.columns = COLUMNS[path.name]

    def rows(self) -> list[Row]:
        """What is there and can be read. A file that is not as it was written is first renamed to NAME.bad, or
        NAME.bad2, ... if that is taken, with a line that says so, and a new one is begun with the rows that can be
        read."""
        rows, good = read_rows(self.path)
        self.columns = tuple(rows[0]) if rows else self.columns
        if not good:
            names = (f"{self.path.name}.bad{number if number > 1 else ''}" for number in itertools.count(1))
            kept = next(path for path in map(self.path.with_name, names) if not path.exists())
            with write_errors_explained(kept):
                self.path.rename(kept)
            self.write(rows)
            tqdm.write(
                f"{self.path} was not as a run had written it: kept as {kept.name}; {len(rows)} rows are taken over"
            )
        return rows

    def write(self, rows: Iterable[Row]) -> None:
        """Replace the file."""
        lines = [",".join(self.columns), *(",".join(row.get(name, UNKNOWN) for name in self.columns) for row in rows)]
        write_atomically(self.path, lambda temporary: temporary.write_text("\n".join(lines) + "\n"))

    def keep_up_to(self, step: int) -> None:
        """Forget rows of later steps: a run that was killed writes them again when it is resumed."""
        self.write([row for row in self.rows() if int(row["step"]) <= step])

    def append(self, row: dict[str, Any]) -> None:
        """Add one row; numbers are written with 6 significant digits. A column that comes later is unknown in earlier
        rows."""
        if new := [name for name in row if name not in self.columns]:
            if wrong := [name for name in new if not name.isidentifier()]:
                raise UserError(f"{self.path} can have no column {wrong[0]!r}: use letters, digits and _ alone.")
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


class RecoveryFile(RowFile):
    """One row per stage, replaced when a stage is measured again."""

    def __init__(self, path: Path, synthetic_set: str):
        super().__init__(path)
        self.synthetic_set = synthetic_set

    def add(self, stage: int, samples: Tensor) -> str:
        """Measure samples (N, 3, S, S) of a stage (from 0), keep the numbers, and return them as a line to print."""
        model = two_feature_model(samples.shape[-1], self.synthetic_set)
        recovery = recovery_of(model, *coefficients(model, samples))
        row = {"stage": str(stage + 1)} | {name: f"{value:.4f}" for name, value in recovery.items()}
        rows = [*(old for old in self.rows() if old["stage"] != row["stage"]), row]
        self.write(sorted(rows, key=lambda each: int(each["stage"])))
        shares = ", ".join(f"{label} {recovery[name]:.0%}" for name, label in FEATURES.items())
        outside = f"outside both {recovery['outside']:.4f} per pixel"
        return f"recovered in samples after stage {stage + 1}: {shares}; {outside}"
