"""python -m experiments.budget_figure docs/results/converged.csv -o budget.png

What a budget does to the answer: images seen against swd and against bits/dim, from a table of experiments.collect. A
line per way of training and learning rate that has several budgets, through the means over seeds; a dot per seed.
"""

from pathlib import Path

from experiments.tables import read_csv
from mindiffusion.runtime.command_line import CommandLine, run_script
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.packages import require

PANELS = ("swd", "bits/dim")
MARKERS = "os^Dv*P"


def lines(rows: list[dict[str, str]], column: str) -> dict[str, dict[int, list[float]]]:
    """{way of training: {images seen: a value per seed}}, of those that have several budgets."""
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        if row[column] and row["images"] != "-":  # real images have seen none
            budgets = found.setdefault(f"{row['training']}, {row['learning rate']}", {})
            budgets.setdefault(int(row["images"].replace(",", "")), []).append(float(row[column]))
    return {name: dict(sorted(budgets.items())) for name, budgets in found.items() if len(budgets) > 1}


def main(argv: list[str] | None = None) -> None:
    """Read, draw."""
    parser = CommandLine(__doc__)
    parser.add_argument("tables", type=Path, nargs="+", help="CSV files")
    parser.add_argument("-o", "--output", type=Path, default=Path("budget.png"), help="default: budget.png")
    args = parser.parse_args(argv)
    require("matplotlib", "a figure")
    rows = [row for path in args.tables for row in read_csv(path)]
    found = {column: lines(rows, column) for column in PANELS}
    if not found["swd"]:
        raise UserError(f"no way of training has two budgets in {', '.join(map(str, args.tables))}.")
    real = {column: float(row[column]) for row in rows for column in PANELS if row["images"] == "-" and row[column]}
    plot(args.output, found, real)
    print(f"{'; '.join(found['swd'])} in {args.output}")


def plot(path: Path, found: dict[str, dict[str, dict[int, list[float]]]], real: dict[str, float]) -> None:
    """{column: what ``lines`` found in it} as a panel each. ``real``: {column: what real images have}."""
    from matplotlib.ticker import NullLocator

    from mindiffusion.reports.figure_plots import new_figure, save_figure

    figure = new_figure(4.2)
    panels = figure.subplots(1, len(PANELS))
    for axes, (column, ways) in zip(panels, found.items(), strict=True):
        for number, name in enumerate(found["swd"]):
            budgets, style = ways.get(name, {}), {"color": f"C{number % 10}"}
            axes.plot([*budgets], [sum(values) / len(values) for values in budgets.values()], lw=1.2, **style)
            x = [images for images, values in budgets.items() for _ in values]
            y = [value for values in budgets.values() for value in values]
            axes.plot(x, y, MARKERS[number % len(MARKERS)], ms=5, alpha=0.8, label=name, **style)
        if column in real:
            axes.axhline(real[column], color="0.5", lw=1, ls=":")
            axes.annotate(
                "other real images", (0.02, real[column]), xycoords=("axes fraction", "data"), fontsize=8, va="bottom"
            )
        ticks = sorted({float(f"{images:.2e}") for budgets in ways.values() for images in budgets})
        axes.set(xscale="log", xlabel="images seen in training", ylabel=f"{column}: lower is better")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(ticks, [f"{images / 1e6:g}M" if images >= 1e6 else f"{images / 1e3:g}k" for images in ticks])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    run_script(main)
