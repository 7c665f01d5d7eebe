"""The tidy tables of a study, written and grown; and as numbers: values by seed, and differences of two cells."""

import csv
import io
import math
import statistics
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mindiffusion.evaluation.results import Result
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import write_atomically
from mindiffusion.runtime.packages import installed

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
    """The commit of this tree, with a + if files differ from it; "" outside git, or without it."""
    with suppress(FileNotFoundError):
        return subprocess.run(
            ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip()
    return ""


# --- as numbers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % interval of Student; bounds are nan for fewer than two seeds."""

    mean: float
    low: float
    high: float
    seeds: int


def interval(values: list[float]) -> Interval:
    """The mean of one number per seed, and its interval. UserError if that needs scipy, which is not there."""
    mean = statistics.fmean(values) if values else math.nan
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan, len(values))
    if not installed("scipy"):
        raise UserError("intervals need scipy: pip install -r requirements-experiments.txt -c constraints.txt")
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half, len(values))


def improvement(ours: dict, theirs: dict) -> Interval:
    """By how many percent ``ours`` {seed: value} are below (better than) ``theirs``, paired by seed."""
    return interval([100 * (1 - ours[seed] / theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())])


class StudyTable:
    """results.csv of a study, as far as it is of finished runs: {(cell, seed, metric): value}.

    UserError if a row was measured on other weights than runs.csv says the run ended with; rows of tables from before
    weights had a digest are taken as they are.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        path = folder / "results.csv"
        if not path.is_file():
            raise UserError(
                f"there is no {path}: python -m experiments.run_study makes it, with {folder} as its output."
            )
        rows = [row for row in read_csv(path) if row["value"] and row["checkpoint"] == FINAL]
        self.values = {(*run_of(row), row["metric"]): float(row["value"]) for row in rows}
        ends = {run_of(run): run.get("weights_digest") for run in read_csv(folder / "runs.csv")}
        for row in rows:
            measured, trained = row.get("weights_digest"), ends.get(run_of(row))
            if measured and trained and measured != trained:
                cell, seed = run_of(row)
                raise UserError(
                    f"{path} has numbers of {cell}, seed {seed}, that were measured on other weights than those that "
                    "its run has now: evaluate it again."
                )

    def cells(self) -> list[str]:
        """Cells of which anything is measured."""
        return list(dict.fromkeys(cell for cell, *_ in self.values))

    def by_seed(self, cell: str, metric: str) -> dict[int, float]:
        """{seed: value}."""
        return {seed: value for (its, seed, name), value in self.values.items() if (its, name) == (cell, metric)}
