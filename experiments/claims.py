"""What the scripts of claims share: the tables of a study, paired differences over seeds, verdicts."""

import math
import re
import statistics
from dataclasses import dataclass
from pathlib import Path

from experiments.tables import FINAL, read_csv, run_of
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.optional import installed

HOLDS, FAILS, DEPENDS, NOT_MEASURED = "holds", "does not hold", "depends", "not measured yet"
PRIMARY, SECOND = "swd", "bpd"  # fixed before any study was run; lower is better for both


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % interval of Student; bounds are nan for fewer than two seeds."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def verdict_above_zero(self) -> str:
        """ "holds" if surely above 0, "does not hold" if surely below, else "depends"."""
        if self.low > 0:
            return HOLDS
        return FAILS if self.high < 0 else DEPENDS


@dataclass(frozen=True)
class Finding:
    """A line of a verdict: what was measured, and what follows for the claim. ``verdict`` "" is a plain number."""

    quantity: str
    verdict: str
    interval: Interval
    unit: str = ""

    @property
    def measured(self) -> bool:
        """Whether there is a number."""
        return self.interval.seeds > 0

    def sentence(self) -> str:
        """What was found, for the title of a figure."""
        size = f"{abs(self.interval.mean):.3g} {self.unit}"
        if pair := re.fullmatch(r"(\S+) better than (\S+): (\S+)", self.quantity):
            cell, control, metric = pair.groups()
            count = self.interval.seeds
            if self.verdict == DEPENDS:
                return f"{cell} against {control} in {metric}: no sure difference ({count} seed{'s' * (count != 1)})"
            word = "better" if self.verdict == HOLDS else "worse"
            return f"{cell} is {size} {word} than {control} in {metric}"
        ruling = {HOLDS: "yes", FAILS: "no", DEPENDS: "undecided"}.get(self.verdict, "")
        return f"{self.quantity.strip()}: {', '.join(filter(None, (ruling, f'{self.interval.mean:.3g} {self.unit}')))}"


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
    """results.csv of a study: {(cell, seed, checkpoint, metric): value}."""

    def __init__(self, folder: Path):
        self.folder = folder
        path = folder / "results.csv"
        if not path.is_file():
            raise UserError(
                f"there is no {path}: python -m experiments.run_study makes it, with {folder} as its output."
            )
        rows = [row for row in read_csv(path) if row["value"]]
        self.values = {(*run_of(row), row["checkpoint"], row["metric"]): float(row["value"]) for row in rows}

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

    def run_folders(self, cell: str) -> dict[int, Path]:
        """{seed: folder of the finished run}."""
        folders = (self.folder / "runs" / cell).glob("seed*/evaluation")
        return {int(each.parent.name.removeprefix("seed")): each.parent for each in folders}

    def checkpoints(self, cell: str) -> dict[int, Path]:
        """{seed: the checkpoint that was evaluated}."""
        return {seed: next(run.glob("checkpoints_*/latest.pt"), None) for seed, run in self.run_folders(cell).items()}

    def improvement(self, cell: str, control: str, metric: str = PRIMARY, checkpoint: str = FINAL) -> Interval:
        """By how many percent ``cell`` is below (better than) ``control``, paired by seed."""
        ours, theirs = (self.by_seed(each, metric, checkpoint) for each in (cell, control))
        return interval([100 * (1 - ours[seed] / theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())])


def compare(table: StudyTable, cell: str, control: str, metrics: tuple[str, ...] = (PRIMARY, SECOND)) -> list[Finding]:
    """A finding per metric: is ``cell`` better than ``control``?"""
    findings = []
    for metric in metrics:
        gain = table.improvement(cell, control, metric)
        verdict = gain.verdict_above_zero if gain.seeds else NOT_MEASURED
        findings.append(Finding(f"{cell} better than {control}: {metric}", verdict, gain, "%"))
    return findings
