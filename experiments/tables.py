"""The tidy tables of a study: written and grown by run_study.py, read by summary.py."""

import csv
import io
import math
import subprocess
from pathlib import Path

from mindiffusion.evaluation.settings import Result
from mindiffusion.runtime.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
FINAL = "final"  # the name of the last checkpoint in results.csv; the others are stage1, stage2, ...
RESULT_COLUMNS = ("cell", "seed", "checkpoint", "images", "metric", "value", "low", "high", "weights_digest")
RUN_COLUMNS = (
    *("cell", "seed", "images", "train_seconds", "images_per_s", "last_mse", "device", "precision", "torch"),
    "commit",
    "weights_digest",  # of the weights that the run ended with, averaged; results.csv: of those that were measured
    "settings",  # a digest: two runs of a cell and seed are the same run if it is the same
)


def tidy(results: list[Result]) -> list[dict]:
    """A row per checkpoint and metric of an evaluation."""
    return [
        {
            "checkpoint": result.name,
            "images": result.about.get("images", ""),
            "weights_digest": result.digest,
            "metric": name,
            **{bound: number for bound, number in vars(estimate).items() if math.isfinite(number)},
        }
        for result in results
        for name, estimate in result.metrics.items()
    ]


def run_of(row: dict) -> tuple[str, int]:
    """The run that a row of either table is of: cell and seed."""
    return row["cell"], int(row["seed"])


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table, as text; none if there is no such file."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path, columns: tuple[str, ...], rows: list[dict]) -> None:
    """A table, atomically; None is an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
                     for row in rows)  # fmt: skip
    write_atomically(path, lambda temporary: temporary.write_text(text.getvalue()))


def grow_csv(path: Path, columns: tuple[str, ...], rows: list[dict]) -> None:
    """Add runs to the table at ``path``, which may be of another machine or of an earlier day. A run that it has
    already is replaced, all of its rows; every other row is kept as it is. Sorted by cell and seed."""
    new = {run_of(row) for row in rows}
    kept = [row for row in read_csv(path) if run_of(row) not in new]
    write_csv(path, columns, sorted([*kept, *rows], key=run_of))


def commit() -> str:
    """The commit of this tree, with a + if files differ from it; "" outside git."""
    done = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()
