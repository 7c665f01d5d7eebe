"""CSV files of numbers that a run adds rows to. One that is not as it was written is kept aside, never lost."""

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import open_regular, write_atomically, write_errors_explained

COUNTS = ("stage", "epoch", "step", "images")  # columns of whole numbers
LARGEST = 1e30  # of what a run measures; more would overflow a sum
UNKNOWN = "nan"  # in a column that an older file lacks

Row = dict[str, str]


def read_rows(path: Path, columns: Sequence[str], old_names: dict[str, str] | None = None) -> tuple[list[Row], bool]:
    """The rows that can be read, and whether the file is as it was written; ([], True) if there is none.

    As it was written: a header of some of ``columns`` (``old_names``: what earlier versions called them), beginning
    with the first, and perhaps of others, and rows of as many numbers. A last line without an end is no damage: a kill
    has cut it off.
    UserError if the file cannot be opened.
    """
    if not path.exists():
        return [], True
    try:
        with open_regular(path) as file:
            whole, _, _ = file.read().rpartition(b"\n")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Mend that, or move it away.") from error
    header, *lines = whole.decode(errors="replace").replace("\r\n", "\n").split("\n")
    names = [(old_names or {}).get(name, name) for name in header.split(",")]
    if names[0] != columns[0] or len(set(names)) < len(names):
        return [], not whole
    columns = [*columns, *(name for name in names if name not in columns and name.isidentifier())]
    cells = [line.split(",") for line in lines]
    rows = [
        {name: row[names.index(name)] if name in names else UNKNOWN for name in columns}
        for row in cells
        if len(row) == len(names) and all(map(_is_good, names, row))
    ]
    needed = [name for name in columns if name in COUNTS]
    rows = rows if set(needed) <= set(names) else []
    return rows, len(rows) == len(lines) and set(names) <= set(columns)


def _is_good(name: str, cell: str) -> bool:
    if name in COUNTS:
        return cell.isascii() and cell.isdigit() and len(cell) < 16
    try:
        return math.isnan(float(cell)) or abs(float(cell)) < LARGEST
    except ValueError:
        return False


class RowFile:
    """One CSV of a run, with these columns. Only rank 0 may call what reads or writes it."""

    def __init__(self, path: Path, columns: Sequence[str], old_names: dict[str, str] | None = None):
        self.path = path
        self.columns = columns
        self.old_names = old_names

    def rows(self) -> list[Row]:
        """What is there and can be read. A file that is not as it was written is first renamed to NAME.bad, with a line
        that says so, and a new one is begun with the rows that can be read."""
        rows, good = read_rows(self.path, self.columns, self.old_names)
        self.columns = tuple(rows[0]) if rows else self.columns
        if not good:
            kept = set_aside(self.path)
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


def set_aside(path: Path) -> Path:
    """Rename a file to NAME.bad, or NAME.bad2, NAME.bad3, ... if that is taken; returns where it is now."""
    names = (path.with_name(f"{path.name}.bad{number if number > 1 else ''}") for number in range(1, 10**6))
    kept = next(name for name in names if not name.exists())
    with write_errors_explained(kept):
        os.rename(path, kept)
    return kept
