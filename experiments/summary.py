"""python -m experiments.summary docs/results/faces: a study's numbers as two Markdown tables, to read and to quote.

The first has the means over seeds, with their standard deviation where a cell has several. The second says by how many
percent one cell is better than another, paired by seed, with its 95 % interval (Student's t) counted in the same
direction: an interval that holds 0 settles nothing.

With --cells other cells than those of the README, each against the first: --cells P S S_reversed.
"""

import argparse
import statistics
from collections.abc import Iterable
from pathlib import Path

from experiments.claims import Interval, StudyTable
from mindiffusion.runtime.errors import UserError, run_script

CELLS = {"uniform": "control", **{name: name for name in ("C", "CS", "CR", "P", "CP", "S")}}
METRICS = {  # name in results.csv: label, digits
    "swd": ("`swd`", 0),
    "swd_32": ("`swd_32` (fine)", 0),
    "swd_16": ("`swd_16`", 0),
    "swd_8": ("`swd_8` (coarse)", 0),
    "bpd": ("bits/dim", 2),
    "face_rate": ("`face_rate`", 2),
    "color_error": ("`color_error`", 3),
    "loss": ("held-out `loss`", 4),
}
RULE = ["---"]  # under the head of a Markdown table
PAIRS = (("P", "uniform"), ("C", "uniform"), ("CP", "P"), ("S", "P"), ("CS", "C"), ("CR", "C"))


def means(table: StudyTable, wanted: list[str]) -> list[str]:
    """The lines of the first table: a column per cell, a row per metric."""
    cells = {cell: CELLS.get(cell, cell) for cell in wanted if table.by_seed(cell, "swd")}
    seeds = [str(len(table.by_seed(cell, "swd"))) for cell in cells]
    rows = [["", *cells.values()], RULE * (len(cells) + 1), ["seeds", *seeds]]
    for metric, (label, digits) in METRICS.items():
        rows.append([label, *(mean_text([*table.by_seed(cell, metric).values()], digits) for cell in cells)])
    return [line(row) for row in rows]


def mean_text(values: list[float], digits: int) -> str:
    """ "164 ± 9", or the number alone where there is one."""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{spread}" if values else "-"


def differences(table: StudyTable, pairs: Iterable[tuple[str, str]]) -> list[str]:
    """The lines of the second table: a row per pair of cells."""
    rows = [["", "`swd`", "bits/dim", "seeds"], RULE * 4]
    for cell, control in pairs:
        gains = [table.improvement(cell, control, metric) for metric in ("swd", "bpd")]
        if gains[0].seeds:
            texts = [gain_text(gain, digits) for gain, digits in zip(gains, (0, 1), strict=True)]
            names = f"{CELLS.get(cell, cell)} against {CELLS.get(control, control)}"
            rows.append([names, *texts, str(gains[0].seeds)])
    return [line(row) for row in rows]


def gain_text(gain: Interval, digits: int) -> str:
    """ "51 % better (45 to 58)", or "0.9 % worse (0.3 to 1.4)"."""
    better = gain.mean >= 0
    low, high = (gain.low, gain.high) if better else (-gain.high, -gain.low)
    bounds = f" ({low:.{digits}f} to {high:.{digits}f})" if gain.seeds > 1 else ""
    return f"{abs(gain.mean):.{digits}f} % {'better' if better else 'worse'}{bounds}"


def line(row: list[str]) -> str:
    """A row of a Markdown table."""
    return "|" + "|".join(row) + "|" if row[0] == RULE[0] else "| " + " | ".join(row).lstrip() + " |"


def main(argv: list[str] | None = None) -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder with results.csv")
    parser.add_argument("--cells", nargs="+", help="these, and each against the first")
    args = parser.parse_args(argv)
    table = StudyTable(args.study)
    cells = args.cells or list(CELLS)
    if unknown := [cell for cell in args.cells or [] if not table.by_seed(cell, "swd")]:
        raise UserError(f"{args.study} has no cell {', '.join(unknown)} with swd.")
    pairs = [(cell, cells[0]) for cell in cells[1:]] if args.cells else PAIRS
    print("\n".join([*means(table, cells), "", *differences(table, pairs)]))


if __name__ == "__main__":
    run_script(main)
