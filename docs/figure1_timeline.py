"""python docs/figure1_timeline.py contents_32 contents_c_32 pretrained/s_long_end_32 pretrained/cs_32 pretrained/cr_32

Draw a timeline: above, what each variant changes from stage to stage, as its runs and models say of themselves; below,
samples. Of a run's contents folder a row with samples after each stage, at equal images seen; of a model (a checkpoint,
or a folder that sample.py --export made) a row of samples of the finished network. Only samples are shown, never real
images. The README's picture is replaced with -o figure1_timeline.png only. Wants matplotlib.
"""

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mindiffusion.checkpoints.models import open_model  # noqa: E402
from mindiffusion.reports.grid_picture import COLUMNS as GRID_COLUMNS  # noqa: E402
from mindiffusion.reports.grid_picture import contact_sheet, read_grid  # noqa: E402
from mindiffusion.reports.run_record import RunRecord, find_contents, read_record  # noqa: E402
from mindiffusion.runtime.command_line import CommandLine  # noqa: E402
from mindiffusion.runtime.errors import UserError, run_script  # noqa: E402
from mindiffusion.runtime.files import prepare_output, write_atomically  # noqa: E402
from mindiffusion.runtime.optional import require  # noqa: E402
from mindiffusion.sampling import Sampler, draw  # noqa: E402

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito's, as in all figures
ROWS, COLUMNS, SCALE = 2, 3, 3  # of the samples that are shown of a grid; screen pixels per pixel
WIDTH, PANEL, BELOW = 10.0, 1.15, 1.45  # inches: the figure, a panel of the timeline, a row of samples
SAMPLER = Sampler("dpm", 25)  # of models
LABELS = {"t_min": "lowest t / T", "sparsity": "masked channels", "lam": "lambda", "power": "power of the weight"}
PLACES = ("name", "epochs", "t_max")  # of a stage: no values of interest


@dataclass(frozen=True)
class Row:
    """A run with grids, or samples (N, S, S, 3) uint8 of a model; and its stages, as dicts with all their values."""

    name: str
    stages: list[dict[str, Any]]
    record: RunRecord | None = None
    samples: np.ndarray | None = None


def main(argv: list[str] | None = None) -> None:
    """Read runs and models, draw, save."""
    parser = CommandLine(__doc__)
    parser.add_argument("paths", type=Path, nargs="+", metavar="RUN", help="contents_*_32 folders, then models")
    parser.add_argument("--names", nargs="+", help="what to call them (default: control, C, ...)")
    parser.add_argument("-o", "--output", type=Path, default=Path("timeline.png"), help="default: timeline.png")
    args = parser.parse_args(argv)
    require("matplotlib", "drawing the figure")
    if args.names and len(args.names) != len(args.paths):
        raise UserError(f"--names has {len(args.names)} names for {len(args.paths)} runs.")
    prepare_output(args.output.parent, [], overwrite=True)
    rows = [read_row(path, name) for path, name in zip(args.paths, args.names or [""] * len(args.paths), strict=True)]
    figure = draw_figure(rows)
    write_atomically(args.output, lambda temporary: figure.savefig(temporary, format="png"))
    print(f"{len(rows)} rows in {args.output}")


def read_row(path: Path, name: str) -> Row:
    """What ``path`` names: a run's contents folder, or a model, which draws its samples now. UserError if neither."""
    contents = find_contents(path)
    if (contents / "metrics.csv").is_file():
        record = read_record(contents)
        if not record.grids():
            raise UserError(f"there are no sample grids in {contents}: name a run that drew some.")
        return Row(name or record.title, record.config["stages"], record)
    model = open_model(path)
    config = model.weights.checkpoint["config"] if model.weights.checkpoint else {"stages": []}
    images = draw(model, SAMPLER, ROWS * COLUMNS * 5)
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    title = str(config.get("variant", path.name)).upper() or "control"
    return Row(name or title, config["stages"], samples=pixels)


def draw_figure(rows: list[Row]) -> Any:
    """The figure: the timeline above, the samples below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    longest = max((row.stages for row in rows), key=len)
    names = list(dict.fromkeys(name for row in rows for stage in row.stages for name in stage))
    names = [name for name in names if name not in PLACES and any(changes(row, name) for row in rows)]
    above, below = 0.4 + PANEL * max(len(names), 1), 0.4 + BELOW * len(rows)
    figure = Figure(figsize=(WIDTH, above + below), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.subfigures(2, 1, height_ratios=[above, below])
    if names:
        draw_timeline(parts[0], rows, names)
    draw_samples(parts[1], rows, longest)
    return figure


def changes(row: Row, name: str) -> bool:
    """Whether a value is not the same in all stages of a row."""
    return len({stage.get(name) for stage in row.stages}) > 1


def draw_timeline(part: Any, rows: list[Row], names: list[str]) -> None:
    """A panel per value that changes, over the share of the images; a line per row in which it does."""
    panels = part.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        told: dict[tuple, list[str]] = {}  # rows with the same values share a line
        for row in rows:
            if changes(row, name):
                told.setdefault((*borders(row), *(stage.get(name, 0) for stage in row.stages)), []).append(row.name)
        for colour, (key, alike) in zip(itertools.cycle(COLOURS), told.items(), strict=False):
            edges, values = key[: len(key) // 2 + 1], key[len(key) // 2 + 1 :]
            axes.stairs(values, edges, baseline=None, lw=2.2, color=colour, label=", ".join(alike))
        axes.set_ylabel(LABELS.get(name, name), fontsize=8)
        axes.margins(y=0.15)
        axes.legend(fontsize=8, frameon=False, loc="upper right")
        axes.spines[["top", "right"]].set_visible(False)
    ticks = borders(max(rows, key=lambda row: len(row.stages)))
    panels[-1].set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
    panels[-1].set(xlabel="share of the images seen", xlim=(0, 1))


def borders(row: Row) -> list[float]:
    """Where its stages begin and end, as shares of the images seen."""
    epochs = [stage["epochs"] for stage in row.stages]
    return [sum(epochs[:index]) / sum(epochs) for index in range(len(epochs) + 1)]


def draw_samples(part: Any, rows: list[Row], stages: list[dict[str, Any]]) -> None:
    """A row each: of a run a picture per stage of the longest schedule, of a model one over the whole width."""
    shares = borders(Row("", stages))[1:] or [1.0]
    grid = part.add_gridspec(len(rows), len(shares))
    for line, row in enumerate(rows):
        if row.record is None:
            axes = part.add_subplot(grid[line, :])
            show(axes, row.samples, COLUMNS * len(shares), f"{row.name}\n(finished)")
            continue
        for column, share in enumerate(shares):
            axes = part.add_subplot(grid[line, column])
            samples = read_grid(grid_at(row.record, share)).samples
            places = [top * GRID_COLUMNS + left for top, left in itertools.product(range(ROWS), range(COLUMNS))]
            show(
                axes, samples[[place for place in places if place < len(samples)]], COLUMNS, "" if column else row.name
            )
            if line == 0:
                axes.set_title(f"after stage {column + 1}: {share:.0%} of the images", fontsize=8)
    part.suptitle(
        "Samples, the same noise in every row. While a curriculum is unfinished: its estimate of the clean image, "
        "averaged into\nblocks until the noise in it is small.",
        fontsize=9,
    )


def show(axes: Any, images: np.ndarray, columns: int, label: str) -> None:
    """Images side by side, without axes."""
    axes.imshow(contact_sheet(images[: ROWS * columns], columns, SCALE, SCALE), interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_ylabel(label, fontsize=9)
    axes.spines[:].set_visible(False)


def grid_at(record: RunRecord, share: float) -> Path:
    """The last grid of a run by this share of its images; its first one if there is none so early."""
    grids = record.grids()
    limit = share * record.stage_borders[-1] + 0.5
    early = [path for _, epoch, path in grids if epoch * record.images_per_epoch <= limit]
    return early[-1] if early else grids[0][2]


if __name__ == "__main__":
    run_script(main)
