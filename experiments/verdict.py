"""A claim from its measurement to cN.csv and cN.png, whose title says what was found."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments.claims import Finding, StudyTable
from experiments.tables import write_csv
from mindiffusion.runtime.errors import run_script
from mindiffusion.runtime.optional import installed

COLUMNS = ("claim", "quantity", "verdict", "mean", "low", "high", "seeds", "unit")
TITLED = 2  # findings in the title of a figure, unless a claim chooses


def first_two(findings: list[Finding]) -> list[Finding]:
    """The first findings that are measured."""
    return [each for each in findings if each.measured][:TITLED]


@dataclass(frozen=True)
class Claim:
    """``measure`` gives the findings of a study, ``headlines`` those of them that its figure's title tells."""

    number: str
    text: str
    measure: Callable[[StudyTable], list[Finding]]
    headlines: Callable[[list[Finding]], list[Finding]] = first_two

    def judge(self, table: StudyTable) -> list[Finding]:
        """Measure, print, and write cN.csv and cN.png beside the tables; where nothing can be measured, which takes the
        run's folders for some claims, nothing is written."""
        findings = self.measure(table)
        print(f"{self.number}. {self.text}")
        for each in findings:
            i = each.interval
            bounds = f" [{i.low:.3g}, {i.high:.3g}]" if i.low == i.low else ""
            print(f"  {each.quantity}: {i.mean:.3g}{bounds} {each.unit} ({i.seeds} seeds): {each.verdict}")
        if any(each.measured for each in findings):
            rows = [
                {"claim": self.number, "quantity": f.quantity, "verdict": f.verdict, "unit": f.unit, **vars(f.interval)}
                for f in findings
            ]
            write_csv(table.folder / f"{self.number.lower()}.csv", COLUMNS, rows)
            if installed("matplotlib"):
                plot(table.folder / f"{self.number.lower()}.png", self.title(findings), findings)
            else:
                print("no plot: matplotlib is not installed", file=sys.stderr)
        return findings

    def title(self, findings: list[Finding]) -> str:
        """What was found."""
        return "\n".join(f"{self.number}. {each.sentence()}" for each in self.headlines(findings))

    def main(self) -> None:
        """The script of a claim."""
        parser = argparse.ArgumentParser(description=f"{self.number}: {self.text}")
        parser.add_argument("study", type=Path, help="output folder of experiments.run_study")
        folder = parser.parse_args().study
        run_script(lambda: self.judge(StudyTable(folder)))


def plot(path: Path, title: str, findings: list[Finding]) -> None:
    """Means and intervals, one line per finding that is measured, one panel per unit."""
    from mindiffusion.reports.figure_style import BLUE, GREY, new_figure, save_figure

    shown = [each for each in findings if each.measured]
    units = list(dict.fromkeys(each.unit for each in shown))
    counts = [sum(each.unit == unit for each in shown) for unit in units]
    figure = new_figure(1 + 0.32 * len(shown) + 0.8 * len(units))
    panels = figure.subplots(len(units), 1, squeeze=False, height_ratios=[count + 1 for count in counts])
    for axes, unit in zip(panels[:, 0], units, strict=True):
        here = [each for each in shown if each.unit == unit][::-1]
        means = [each.interval.mean for each in here]
        halves = [(each.interval.high - each.interval.low) / 2 for each in here]
        axes.errorbar(means, range(len(here)), xerr=halves, fmt="o", color=BLUE, capsize=3)
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.set_yticks(range(len(here)), [each.quantity for each in here], fontsize=8)
        axes.set_ylim(-0.6, len(here) - 0.4)
        axes.set_xlabel(f"{unit} (mean and 95 % interval over seeds)")
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path)
