"""python docs/figure1_timeline.py contents_32 contents_c_32 contents_p_32

Draw figure1_timeline.png: above, what each variant changes from stage to stage, from the constants of the training
scripts; below, samples of real runs after each stage, one row per run, at equal images seen: the control first, then
the curriculum, then what did best. A run is named by its contents folder. Only samples are shown, never the real
images that lie below them in a run's grids. Wants matplotlib.
"""

import argparse
import importlib
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mindiffusion.reports.grid_picture import COLUMNS as GRID_COLUMNS  # noqa: E402
from mindiffusion.reports.grid_picture import contact_sheet, read_grid  # noqa: E402
from mindiffusion.reports.run_record import RunRecord, find_contents, read_record  # noqa: E402
from mindiffusion.runtime.errors import UserError, run_script  # noqa: E402
from mindiffusion.runtime.files import prepare_output, write_atomically  # noqa: E402
from mindiffusion.runtime.optional import require  # noqa: E402

GREY, BLUE, ORANGE, GREEN = "#555555", "#0072B2", "#D55E00", "#009E73"  # Okabe and Ito's, as in all figures
ROWS, COLUMNS, SCALE = 2, 3, 3  # of the samples that are shown of a grid; screen pixels per pixel
WIDTH, ABOVE, BELOW = 10.0, 3.5, 1.45  # inches: the figure, the timeline, one row of samples


def main(argv: list[str] | None = None) -> None:
    """Read the scripts and the grids, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="contents_*_32 folders, the control first")
    parser.add_argument("--names", nargs="+", help="what to call them (default: control, C, ...)")
    parser.add_argument(
        "-o", "--output", type=Path, default=ROOT / "figure1_timeline.png", help="default: the README's"
    )
    args = parser.parse_args(argv)
    require("matplotlib", "drawing the figure")
    records = [read_record(find_contents(path)) for path in args.runs]
    names = args.names or [record.title for record in records]
    if len(names) != len(records):
        raise UserError(f"--names has {len(names)} names for {len(records)} runs.")
    if missing := [str(record.folder) for record in records if not record.grids()]:
        raise UserError(f"there are no sample grids in {', '.join(missing)}: name runs that drew some.")
    prepare_output(args.output.parent, [], overwrite=True)
    figure = draw(records, names)
    write_atomically(args.output, lambda temporary: figure.savefig(temporary, format="png"))
    print(f"{len(records)} runs in {args.output}")


def draw(records: list[RunRecord], names: list[str]) -> Any:
    """The figure: timeline above, samples below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scripts = [importlib.import_module(f"train_celeba_{variant}32") for variant in ("", "c_", "cs_", "cr_")]
    figure = Figure(figsize=(WIDTH, ABOVE + 0.4 + BELOW * len(records)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, 1, height_ratios=[ABOVE, 0.4 + BELOW * len(records)])
    draw_timeline(above, *scripts)
    draw_samples(below, records, names, scripts[1].STAGES)
    return figure


def draw_timeline(part: Any, control: ModuleType, c: ModuleType, cs: ModuleType, cr: ModuleType) -> None:
    """Three panels over the epochs: timesteps, channels, the weight of the penalty."""
    borders = [0]
    for stage in c.STAGES:
        borders.append(borders[-1] + stage.epochs)
    middles = [(left + right) / 2 for left, right in itertools.pairwise(borders)]
    ranges, channels, lambdas = part.subplots(3, 1, sharex=True, height_ratios=[1.4, 1, 1])
    for index, stage in enumerate(c.STAGES):
        ranges.fill_between(borders[index : index + 2], stage.t_min, stage.t_max, color=BLUE, alpha=0.8, lw=0)
        ranges.text(middles[index], 0.9, f"stage {index + 1}", ha="center", va="center", fontsize=8, color="w")
    uniform = control.STAGES[0]
    ranges.hlines([uniform.t_min, uniform.t_max], 0, borders[-1], color=GREY, ls="--", lw=1.5)
    ranges.set(ylabel="t / T", ylim=(-0.05, 1.05))
    ranges.set_title(
        "C, CS, CR, CP: the timesteps that are trained, 1 = pure noise (dashed: the control and P train all)"
    )

    count = 2 * cs.N_FEAT
    active = [int(count * (1 - sparsity) + 1e-6) for sparsity in cs.SPARSITY_SCHEDULE]
    channels.stairs(active, borders, fill=True, color=ORANGE, alpha=0.8)
    channels.set(ylabel="channels", ylim=(0, count * 1.3))
    channels.set_title(f"CS: open bottleneck channels, of {count}")
    for middle, number in zip(middles, active, strict=True):
        channels.text(middle, number, number, ha="center", va="bottom", fontsize=8)
    weights = cr.lambda_schedule(cr.LAMBDA_MAX, len(cr.STAGES))
    lambdas.stairs(weights, borders, fill=True, color=GREEN, alpha=0.8)
    lambdas.set(ylabel="lambda", xlabel="epoch", xlim=(0, borders[-1]), ylim=(0, 1.1 * max(weights)))
    lambdas.set_title("CR: weight of the Group L1 penalty")
    for axes in (ranges, channels, lambdas):
        axes.set_xticks(borders)
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(9)


def draw_samples(part: Any, records: list[RunRecord], names: list[str], stages: list[Any]) -> None:
    """A row per run, a column per stage of the curriculum: the latest grid of each run at the images seen by then."""
    total = sum(stage.epochs for stage in stages)
    shares = [sum(stage.epochs for stage in stages[: index + 1]) / total for index in range(len(stages))]
    panels = part.subplots(len(records), len(stages), squeeze=False)
    for line, (record, name) in enumerate(zip(records, names, strict=True)):
        for column, share in enumerate(shares):
            axes = panels[line][column]
            samples = read_grid(grid_at(record, share)).samples
            places = [row * GRID_COLUMNS + left for row in range(ROWS) for left in range(COLUMNS)]
            shown = samples[[place for place in places if place < len(samples)]]
            axes.imshow(contact_sheet(shown, COLUMNS, SCALE, SCALE), interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if line == 0:
                axes.set_title(f"after stage {column + 1}: {share:.0%} of the images", fontsize=8)
            if column == 0:
                axes.set_ylabel(name, fontsize=10)
    epochs = {record.stage_borders[-1] for record in records}
    images = " to ".join(f"{count:,}" for count in sorted({min(epochs), max(epochs)}))
    part.suptitle(
        f"Samples of real runs ({images} images seen at the end), the same noise in every picture. While a curriculum "
        "is\nunfinished: its estimate of the clean image, averaged into blocks until the noise in it is small.",
        fontsize=9,
    )


def grid_at(record: RunRecord, share: float) -> Path:
    """The last grid of a run by this share of its images; its first one if there is none so early."""
    grids = record.grids()
    limit = share * record.stage_borders[-1] + 0.5
    early = [path for _, epoch, path in grids if epoch * record.images_per_epoch <= limit]
    return early[-1] if early else grids[0][2]


if __name__ == "__main__":
    run_script(main)
