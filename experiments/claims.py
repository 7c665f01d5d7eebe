"""What the scripts of claims share: reading a study, paired differences over seeds, verdicts, plots."""

import argparse
import csv
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tables import FINAL, write_csv  # noqa: E402

from mindiffusion.runtime.errors import UserError  # noqa: E402
from mindiffusion.runtime.files import write_atomically  # noqa: E402

# Two-sided 95 % quantiles of Student's t by degrees of freedom; beyond the table the normal one.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
HOLDS, FAILS, DEPENDS, NOT_MEASURED = "holds", "does not hold", "depends", "not measured yet"
COLUMNS = ("claim", "quantity", "verdict", "mean", "low", "high", "seeds", "unit")
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
    """A line of a verdict: what was measured, and what follows for the claim."""

    quantity: str
    verdict: str
    interval: Interval
    unit: str = ""


def interval(values: list[float]) -> Interval:
    """The mean of one number per seed, and its interval."""
    if not values:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan, len(values))
    quantile = STUDENT[len(values) - 2] if len(values) - 2 < len(STUDENT) else 1.96
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half, len(values))


class StudyTable:
    """results.csv of a study: {(cell, seed, checkpoint, metric): value}."""

    def __init__(self, folder: Path):
        self.folder = folder
        path = folder / "results.csv"
        if not path.is_file():
            raise UserError(f"there is no {path}: run experiments/run_study.py first, with {folder} as its output.")
        self.values: dict[tuple[str, int, str, str], float] = {}
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                if row["value"]:
                    key = (row["cell"], int(row["seed"]), row["checkpoint"], row["metric"])
                    self.values[key] = float(row["value"])

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
        newest = {seed: next(run.glob("checkpoints_*/latest.pt"), None) for seed, run in self.run_folders(cell).items()}
        joined = {seed: run / "experts.pt" for seed, run in self.run_folders(cell).items()}
        return {seed: path if path.exists() else newest[seed] for seed, path in joined.items()}

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


def run_claim(number: str, text: str, measure: Callable[[StudyTable], list[Finding]]) -> None:
    """The whole script of a claim: read the study, measure, print, write cN.csv and cN.png beside its tables."""
    parser = argparse.ArgumentParser(description=f"{number}: {text}")
    parser.add_argument("study", type=Path, help="output folder of experiments/run_study.py")
    folder = parser.parse_args().study
    findings = measure(StudyTable(folder))
    print(f"{number}. {text}")
    for each in findings:
        i = each.interval
        bounds = f" [{i.low:.3g}, {i.high:.3g}]" if i.low == i.low else ""
        print(f"  {each.quantity}: {i.mean:.3g}{bounds} {each.unit} ({i.seeds} seeds): {each.verdict}")
    rows = [
        {"claim": number, "quantity": each.quantity, "verdict": each.verdict, "unit": each.unit, **vars(each.interval)}
        for each in findings
    ]
    write_csv(folder / f"{number.lower()}.csv", COLUMNS, rows)
    if not plot(folder / f"{number.lower()}.png", f"{number}. {text}", findings):
        print("no plot: matplotlib is not installed", file=sys.stderr)


def plot(path: Path, title: str, findings: list[Finding]) -> bool:
    """Means and intervals, one line per finding. False if matplotlib is missing or nothing is measured."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        return False
    shown = [each for each in findings if each.interval.mean == each.interval.mean]
    units = list(dict.fromkeys(each.unit for each in shown))
    if not shown:
        return True
    figure, panels = plt.subplots(len(units), 1, figsize=(8, 1 + 0.3 * len(shown) + len(units)), squeeze=False,
                                  layout="constrained")  # fmt: skip
    for axes, unit in zip(panels[:, 0], units, strict=True):
        here = [each for each in shown if each.unit == unit][::-1]
        means = [each.interval.mean for each in here]
        halves = [(each.interval.high - each.interval.low) / 2 for each in here]
        axes.errorbar(means, range(len(here)), xerr=halves, fmt="o", color="#0072B2", capsize=3)
        axes.axvline(0, color="#999999", linewidth=0.8)
        axes.set_yticks(range(len(here)), [each.quantity for each in here], fontsize=7)
        axes.set_xlabel(unit)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=9)
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=110))
    plt.close(figure)
    return True
