"""python -m experiments.budget_figure docs/results/faces_64k docs/results/faces_lr docs/results/faces_1m -o budget.png

What a budget does to the answer: images seen against swd and against bits/dim, a line per way of training. A study
trains all its cells on equally many images; its folder has a results.csv. Points are means over seeds, bars their 95 %
intervals (Student's t) where there are several; the number of seeds stands beside a point that has one alone.
"""

from pathlib import Path

from experiments.study_table import StudyTable, interval
from experiments.summary import name_of
from mindiffusion.runtime.command_line import CommandLine
from mindiffusion.runtime.errors import UserError, run_script
from mindiffusion.runtime.optional import require

PANELS = (("swd", "swd: lower is better"), ("bpd", "bits/dim: lower is better"))
MARKERS = "os^Dv*P"


def points(tables: list[StudyTable], cell: str, metric: str) -> dict[int, list[float]]:
    """{images seen: values over seeds} of a cell, over all studies."""
    found: dict[int, dict[int, float]] = {}
    for table in tables:
        for seed, value in table.by_seed(cell, metric).items():
            seeds = found.setdefault(table.images[cell, seed], {})
            if seed in seeds:
                raise UserError(f"{table.folder}: {cell}, seed {seed}, is in another study too: name one of them.")
            seeds[seed] = value
    return {images: [*seeds.values()] for images, seeds in sorted(found.items())}


def main(argv: list[str] | None = None) -> None:
    """Read, draw."""
    parser = CommandLine(__doc__)
    parser.add_argument("studies", type=Path, nargs="+", help="folders with results.csv")
    parser.add_argument("--cells", nargs="+", help="default: those of more than one budget")
    parser.add_argument("-o", "--output", type=Path, default=Path("budget.png"), help="default: budget.png")
    args = parser.parse_args(argv)
    require("matplotlib", "a figure")
    tables = [StudyTable(folder) for folder in args.studies]
    cells = list(dict.fromkeys(cell for table in tables for cell in table.cells()))
    cells = args.cells or [cell for cell in cells if len(points(tables, cell, "swd")) > 1]
    if not cells or any(not points(tables, cell, "swd") for cell in cells):
        raise UserError("no way of training has two budgets in these studies, or one of --cells is in none of them.")
    plot(args.output, {metric: {cell: points(tables, cell, metric) for cell in cells} for metric, _ in PANELS})
    print(f"{', '.join(map(name_of, cells))} in {args.output}")


def plot(path: Path, values: dict[str, dict[str, dict[int, list[float]]]]) -> None:
    """{metric: {cell: {images: values}}} as a panel per metric."""
    from matplotlib.ticker import NullLocator

    from mindiffusion.reports.figure_style import new_figure, save_figure

    figure = new_figure(4.2)
    panels = figure.subplots(1, len(PANELS))
    for axes, (metric, label) in zip(panels, PANELS, strict=True):
        for number, (cell, budgets) in enumerate(values[metric].items()):
            means = [interval(each) for each in budgets.values()]
            bars = [each.high - each.mean if each.seeds > 1 else 0.0 for each in means]
            style = {"color": f"C{number}", "marker": MARKERS[number % len(MARKERS)], "markersize": 5, "capsize": 3}
            axes.errorbar([*budgets], [each.mean for each in means], bars, label=name_of(cell), **style)
            for images, each in zip(budgets, means, strict=True):
                if each.seeds == 1:
                    about = {"textcoords": "offset points", "xytext": (5, 4), "fontsize": 7}
                    axes.annotate("1 seed", (images, each.mean), **about)
        ticks = sorted({float(f"{images:.1e}") for budgets in values[metric].values() for images in budgets})
        axes.set(xscale="log", xlabel="images seen in training", ylabel=label)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(ticks, [f"{images / 1e6:g}M" if images >= 1e6 else f"{images / 1e3:g}k" for images in ticks])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9)
    save_figure(figure, path)


if __name__ == "__main__":
    run_script(main)
