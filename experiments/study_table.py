"""The tables of a study as numbers: values by seed, and differences of two cells, paired by seed."""

import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from experiments.tables import FINAL, read_csv, run_of
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.packages import installed


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % interval of Student; bounds are nan for fewer than two seeds."""

    mean: float
    low: float
    high: float
    seeds: int


def interval(values: list[float]) -> Interval:
    """The mean of one number per seed, and its interval."""
    if not values:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan, len(values))
    half = student_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half, len(values))


def student_quantile(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's t. UserError without scipy."""
    if not installed("scipy"):
        raise UserError("intervals need scipy: pip install -r requirements-experiments.txt -c constraints.txt")
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))


class StudyTable:
    """results.csv of a study: {(cell, seed, checkpoint, metric): value}.

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
        rows = [row for row in read_csv(path) if row["value"]]
        self.values = {(*run_of(row), row["checkpoint"], row["metric"]): float(row["value"]) for row in rows}
        self.images = {run_of(row): int(row["images"]) for row in rows if row["checkpoint"] == FINAL and row["images"]}
        ends = {run_of(run): run.get("weights_digest") for run in read_csv(folder / "runs.csv")}
        for row in rows:
            measured, trained = row.get("weights_digest"), ends.get(run_of(row))
            if row["checkpoint"] == FINAL and measured and trained and measured != trained:
                cell, seed = run_of(row)
                raise UserError(
                    f"{path} has numbers of {cell}, seed {seed}, that were measured on other weights than those that "
                    "its run has now: evaluate it again."
                )

    def cells(self) -> list[str]:
        """Cells of which anything is measured."""
        return list(dict.fromkeys(cell for cell, *_ in self.values))

    def by_seed(self, cell: str, metric: str, checkpoint: str = FINAL) -> dict[int, float]:
        """{seed: value}."""
        return {
            seed: value
            for (its, seed, where, name), value in self.values.items()
            if (its, where, name) == (cell, checkpoint, metric)
        }

    def checkpoints(self, cell: str) -> dict[int, Path]:
        """{seed: the last checkpoint of its finished run}, of the runs whose folders are here."""
        found = (self.folder / "runs" / cell).glob("seed*/checkpoints_*/latest.pt")
        found = [path for path in found if (path.parents[1] / "evaluation").exists()]
        return {int(path.parents[1].name.removeprefix("seed")): path for path in found}

    def improvement(self, cell: str, control: str, metric: str, checkpoint: str = FINAL) -> Interval:
        """By how many percent ``cell`` is below (better than) ``control``, paired by seed."""
        ours, theirs = (self.by_seed(each, metric, checkpoint) for each in (cell, control))
        return interval([100 * (1 - ours[seed] / theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())])
