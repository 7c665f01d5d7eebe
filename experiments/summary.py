"""python -m experiments.summary docs/results/faces: a study's numbers as two Markdown tables, to read and to quote.

The first has the means over seeds, with their standard deviation where a cell has several. The second says by how many
percent one cell is better than another, paired by seed, with its 95 % interval (Student's t) counted in the same
direction: an interval that holds 0 settles nothing. With --cells other cells, each against the first.

python -m experiments.summary --write docs/results.md README.md: fill the tables of pages anew. A table stands between
two comments, of which the first says what it holds; studies are folders of docs/results:

    <!-- table: means study=faces cells=uniform,C,P metrics=swd,bpd -->                  a column per cell
    <!-- table: differences study=faces pairs=P/uniform,S/P -->                          a row per pair of cells
    <!-- table: grid file=samplers/samplers.csv where=network:p_32 rows=sampler columns=evaluations value=swd -->
    <!-- table: csv file=converged.csv "where=seed:0,images:64,000|256,000" columns=training,swd -->   rows as they are
    <!-- table: pairs file=converged.csv "pairs=CP/P" columns=swd -->                     by how much one is better
    <!-- end -->
"""

import re
import shlex
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

from experiments.tables import ROOT, Interval, StudyTable, improvement, read_csv
from mindiffusion.runtime.command_line import CommandLine, run_script
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import write_atomically

RESULTS = ROOT / "docs" / "results"
CELLS = ("uniform", "C", "CS", "CR", "P", "CP", "S")
METRICS = {  # name in results.csv: label, digits
    "swd": ("`swd`", 0),
    "swd_own": ("`swd`, own scaling", 0),
    "swd_32": ("`swd_32` (fine)", 0),
    "swd_16": ("`swd_16`", 0),
    "swd_8": ("`swd_8` (coarse)", 0),
    "bpd": ("bits/dim", 2),
    "face_rate": ("`face_rate`", 2),
    "color_error": ("`color_error`", 3),
    "loss": ("held-out `loss`", 4),
}
PAIRS = "P/uniform,C/uniform,CP/P,S/P,CS/C,CR/C"
BLOCK = re.compile(r"(<!-- table: (.*?) -->\n).*?(<!-- end -->)", re.S)


def means(table: StudyTable, cells: Iterable[str], metrics: Iterable[str] = METRICS) -> list[str]:
    """A column per cell that has been measured, a row per metric that any of them has."""
    cells = [cell for cell in cells if table.by_seed(cell, "swd")]
    rows = [["", *map(name_of, cells)], ["seeds", *(str(len(table.by_seed(cell, "swd"))) for cell in cells)]]
    for metric in metrics:
        values = [[*table.by_seed(cell, metric).values()] for cell in cells]
        if any(values):
            label, digits = METRICS[metric]
            rows.append([label, *(mean_text(each, digits) for each in values)])
    return markdown(rows)


def differences(
    pairs: str, values: Callable[[str, str], dict], columns: Iterable[str], digits: dict[str, int]
) -> list[str]:
    """A row per pair "way/other way" of training with a seed in common: by how much the first is better, paired by
    seed. ``values(way, column)``: {seed: value}; ``digits`` of columns that have more than none."""
    rows = [["", *(METRICS[name][0] if name in METRICS else name for name in columns), "seeds"]]
    for pair in pairs.split(","):
        ours, theirs = pair.split("/")
        gains = {name: improvement(values(ours, name), values(theirs, name)) for name in columns}
        if seeds := max(gain.seeds for gain in gains.values()):
            texts = [gain_text(gain, digits.get(name, 0)) for name, gain in gains.items()]
            rows.append([f"{name_of(ours)} against {name_of(theirs)}", *texts, str(seeds)])
    return markdown(rows)


def grid(file: str, rows: str, columns: str, value: str, digits: str = "0", where: str = "") -> list[str]:
    """Of any CSV file: one number for each pair of values in two of its columns."""
    found = [row for row in _rows_of(file, where) if row[value]]
    heads = sorted({row[columns] for row in found}, key=lambda text: (not text.isdigit(), text.zfill(9)))
    lines = {}
    for row in found:
        lines.setdefault(row[rows], dict.fromkeys(heads, "-"))[row[columns]] = _rounded(row[value], digits)
    return markdown([["", *heads], *([name, *cells.values()] for name, cells in lines.items())])


def excerpt(file: str, columns: str, digits: str = "0", where: str = "") -> list[str]:
    """Rows of any CSV file, in the columns that are named; numbers with so many digits, "" for as they are."""
    names = columns.split(",")
    found = [[_rounded(row[name], digits) for name in names] for row in _rows_of(file, where)]
    return markdown([names, *found])


def paired(file: str, pairs: str, columns: str, where: str = "") -> list[str]:
    """The differences of a CSV file that has a row per training and seed."""
    rows = _rows_of(file, where)

    def values(way: str, name: str) -> dict[str, float]:
        if way not in {row["training"] for row in rows}:
            raise KeyError(way)
        return {row["seed"]: float(row[name]) for row in rows if row["training"] == way and row[name]}

    return differences(pairs, values, columns.split(","), {"bits/dim": 1})


def _rows_of(file: str, where: str) -> list[dict[str, str]]:
    """The rows of a CSV file in which each "column:value" or "column:value|other value" of ``where`` holds. A comma
    within a value, as in "images:256,000", begins no column."""
    wanted = [part.split(":", 1) for part in re.split(r",(?=[^,:]+:)", where) if part]
    return [row for row in read_csv(RESULTS / file) if all(row[key] in text.split("|") for key, text in wanted)]


def _rounded(text: str, digits: str) -> str:
    if not digits:
        return text
    try:
        return f"{float(text):.{digits}f}"
    except ValueError:
        return text


def filled(page: str) -> str:
    """A page with its tables made anew. UserError for a comment that says no table."""
    return BLOCK.sub(lambda block: "\n".join((block[1], *_table(block[2]), "", block[3])), page)


def _table(words: str) -> list[str]:
    kind, *parts = shlex.split(words)
    given = dict(part.split("=", 1) for part in parts)
    try:
        metrics = given.pop("metrics").split(",") if "metrics" in given else None
        if kind == "means":
            return means(StudyTable(RESULTS / given["study"]), given["cells"].split(","), metrics or METRICS)
        if kind == "differences":
            table = StudyTable(RESULTS / given["study"])
            return differences(given["pairs"], table.by_seed, metrics or ("swd", "bpd"), {"bpd": 1})
        if kind == "grid":
            return grid(**given)
        if kind == "csv":
            return excerpt(**given)
        if kind == "pairs":
            return paired(**given)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"<!-- table: {words} -->: {error!r}") from error
    raise UserError(f"there is no table {kind!r}: means, differences, grid, csv or pairs.")


def name_of(cell: str) -> str:
    """What people call a cell."""
    return "control" if cell == "uniform" else cell


def mean_text(values: list[float], digits: int) -> str:
    """ "164 ± 9", or the number alone where there is one."""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{spread}" if values else "-"


def gain_text(gain: Interval, digits: int) -> str:
    """ "51 % better (45 to 58)", or "0.9 % worse (0.3 to 1.4)"."""
    if not gain.seeds:
        return "-"
    better = gain.mean >= 0
    low, high = (gain.low, gain.high) if better else (-gain.high, -gain.low)
    bounds = f" ({low:.{digits}f} to {high:.{digits}f})" if gain.seeds > 1 else ""
    return f"{abs(gain.mean):.{digits}f} % {'better' if better else 'worse'}{bounds}"


def markdown(rows: list[list[str]]) -> list[str]:
    """The lines of a table, the first row being its head."""
    lines = ["| " + " | ".join(row).lstrip() + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def main(argv: list[str] | None = None) -> None:
    """Read and print, or fill pages."""
    parser = CommandLine(__doc__)
    parser.add_argument("study", type=Path, nargs="?", help="folder with results.csv")
    parser.add_argument("--cells", nargs="+", help="these, and each against the first")
    parser.add_argument("--write", type=Path, nargs="+", metavar="PAGE", help="fill the tables of pages instead")
    args = parser.parse_args(argv)
    if (args.study is None) == (args.write is None):
        parser.error("name the folder of a study, or pages after --write.")
    if args.write:
        for path, text in {path: filled(path.read_text()) for path in args.write}.items():
            write_atomically(path, lambda temporary, text=text: temporary.write_text(text))
        return
    table = StudyTable(args.study)
    if unknown := [cell for cell in args.cells or [] if not table.by_seed(cell, "swd")]:
        raise UserError(f"{args.study} has no cell {', '.join(unknown)} with swd.")
    pairs = ",".join(f"{cell}/{args.cells[0]}" for cell in args.cells[1:]) if args.cells else PAIRS
    told = differences(pairs, table.by_seed, ("swd", "bpd"), {"bpd": 1}) if pairs else []
    print("\n".join([*means(table, args.cells or CELLS), "", *told]))


if __name__ == "__main__":
    run_script(main)
