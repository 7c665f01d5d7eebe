"""python docs/figure1_timeline.py contents_32 contents_c_32 contents_cs_32 contents_cr_32 pretrained/s_1m_32

Draw a timeline: above, what each variant changes from stage to stage, as its runs and models say of themselves; below,
samples of each, all from the same noise. A run is named by its folder of contents or of checkpoints; its row shows
samples after each stage: of its grids, or, where it kept none, drawn now from the checkpoints of its stages. A control
of one stage has the grids at equal images, and without grids a row of its finished network alone, as has a model that
sample.py --export made. Only samples are shown, never real images. The README's picture is replaced with
-o figure1_timeline.png only. Wants matplotlib.
"""

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mindiffusion.checkpoints.models import Model, model_name, open_model  # noqa: E402
from mindiffusion.ddpm import DDPM  # noqa: E402
from mindiffusion.reports.bands import NUM_BANDS  # noqa: E402
from mindiffusion.reports.grid_picture import COLUMNS as GRID_COLUMNS  # noqa: E402
from mindiffusion.reports.grid_picture import average_blocks, contact_sheet, read_grid, readable_block  # noqa: E402
from mindiffusion.reports.row_file import BANDS  # noqa: E402
from mindiffusion.reports.run_record import RunRecord, find_contents, read_record  # noqa: E402
from mindiffusion.runtime.command_line import CommandLine, run_script  # noqa: E402
from mindiffusion.runtime.errors import UserError  # noqa: E402
from mindiffusion.runtime.files import prepare_output, write_atomically  # noqa: E402
from mindiffusion.runtime.packages import require  # noqa: E402
from mindiffusion.sampling import Sampler, draw  # noqa: E402
from mindiffusion.stages import changing_values  # noqa: E402

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")  # Okabe and Ito's, and grey
ROWS, COLUMNS, SCALE = 2, 3, 3  # of the samples after a stage; screen pixels per pixel
MOST = 5  # stages' widths of samples of a finished network
WIDTH, PANEL, BELOW = 10.0, 1.15, 1.45  # inches: the figure, a panel of the timeline, a row of samples
SAMPLER = Sampler("dpm", 25)  # that of grids, too
LABELS = {
    "t_min": "lowest noise\ntrained (t / T)",
    "sparsity": "masked share\nof channels",
    "lam": "strength of\nthe penalty",
    "power": "power of the\nloss weight",
}
WORDS = """Samples, the same noise in every row. While a curriculum is unfinished: its estimate of the clean image,
averaged into blocks until the noise in it is small."""


@dataclass(frozen=True)
class Row:
    """A run or a model: its stages, as dicts with all their values, and samples (N, S, S, 3) uint8, each with the share
    of the training that was done; of a model, or where only the end is there, the last alone, and more of them."""

    name: str
    stages: list[dict[str, Any]]
    pictures: list[tuple[float, np.ndarray]]

    @property
    def borders(self) -> list[float]:
        """Where its stages begin and end, as shares of the images seen."""
        epochs = [stage["epochs"] for stage in self.stages]
        return [sum(epochs[:index]) / sum(epochs) for index in range(len(epochs) + 1)]


def main(argv: list[str] | None = None) -> None:
    """Read runs and models, draw, save."""
    parser = CommandLine(__doc__)
    parser.add_argument("paths", type=Path, nargs="+", metavar="RUN", help="runs and models, a row each")
    parser.add_argument("--names", nargs="+", help="what to call them (default: control, C, ...)")
    parser.add_argument("-o", "--output", type=Path, default=Path("timeline.png"), help="default: timeline.png")
    args = parser.parse_args(argv)
    require("matplotlib", "drawing the figure")
    if args.names and len(args.names) != len(args.paths):
        raise UserError(f"--names has {len(args.names)} names for {len(args.paths)} runs.")
    prepare_output(args.output.parent, [args.output], overwrite=True)
    rows = read_rows(args.paths, args.names or [""] * len(args.paths))
    figure = draw_figure(rows)
    write_atomically(args.output, lambda temporary: figure.savefig(temporary, format="png"))
    print(f"{len(rows)} rows in {args.output}")


def read_rows(paths: list[Path], names: list[str]) -> list[Row]:
    """What ``paths`` name; what is drawn now has the noise of the grids that are there. UserError if those differ in
    noise, or if a path names neither a run nor a model."""
    contents = [find_contents(path) for path in paths]
    records = [read_record(path) if (path / "metrics.csv").is_file() else None for path in contents]
    seeds = {record.config["seed"] for record in records if record and record.grids()} or {0}
    if len(seeds) > 1:
        raise UserError(f"the grids of these runs are of the seeds {sorted(seeds)}: name runs of one seed.")
    rows = []
    for path, name, record in zip(paths, names, records, strict=True):
        rows.append(run_row(name, record, *seeds) if record else model_row(name, path, *seeds))
    return rows


def run_row(name: str, record: RunRecord, seed: int) -> Row:
    """The row of a run."""
    row = Row(name or record.title, record.config["stages"], [])
    epochs = sum(stage["epochs"] for stage in row.stages)
    for _, epoch, path in record.grids():
        samples = read_grid(path).samples
        places = [top * GRID_COLUMNS + left for top, left in itertools.product(range(ROWS), range(COLUMNS))]
        row.pictures.append((epoch / epochs, samples[[place for place in places if place < len(samples)]]))
    if row.pictures:
        return row
    ends = [(share, record.checkpoints_dir / f"stage{k}.pt") for k, share in enumerate(row.borders[1:], start=1)]
    ends = [(share, path) for share, path in ends if path.is_file()]
    if not ends:
        raise UserError(f"{record.folder} has no sample grids, and there are no checkpoints of stages beside it.")
    count = ROWS * COLUMNS * (MOST if len(ends) == 1 else 1)
    for share, path in ends:
        model = open_model(path)
        row.pictures.append((share, pixels_of(model, count, seed, blocks_of(model, record))))
    return row


def model_row(name: str, path: Path, seed: int) -> Row:
    """The row of a checkpoint or an export."""
    model = open_model(path)
    config = model.weights.checkpoint["config"] if model.weights.checkpoint else {"stages": []}
    name = name or (config["variant"].upper() or "control" if "variant" in config else model_name(model.weights))
    return Row(name, config["stages"], [(1.0, pixels_of(model, ROWS * COLUMNS * MOST, seed))])


def blocks_of(model: Model, record: RunRecord) -> int:
    """Over how many pixels a side the samples of an unfinished curriculum must be averaged, as in the run's grids."""
    steps = record.bands["step"]
    if not model.t_stop or model.weights.checkpoint["next_step"] not in steps:
        return 1
    band = BANDS[min(model.t_stop * NUM_BANDS // model.n_T, NUM_BANDS - 1)]
    loss = record.bands[band][steps.index(model.weights.checkpoint["next_step"])]
    return readable_block(DDPM(nn.Identity(), model.betas, model.n_T), model.t_stop, loss, model.image_size)


def pixels_of(model: Model, count: int, seed: int, block: int = 1) -> np.ndarray:
    """Samples as bytes (count, S, S, 3)."""
    images = average_blocks(draw(model, SAMPLER, count, seed=seed), block)
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def draw_figure(rows: list[Row]) -> Any:
    """The figure: the timeline above, the samples below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for row in rows for values in changing_values(row.stages) for name in values))
    above, below = 0.4 + PANEL * max(len(names), 1), 0.5 + BELOW * len(rows)
    figure = Figure(figsize=(WIDTH, above + below), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.subfigures(2, 1, height_ratios=[above, below])
    if names:
        draw_timeline(parts[0], rows, names)
    draw_samples(parts[1], rows)
    return figure


def draw_timeline(part: Any, rows: list[Row], names: list[str]) -> None:
    """A panel per value that changes, over the share of the images; a line per row in which it does."""
    panels = part.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        told: dict[tuple, list[str]] = {}  # rows with the same values share a line
        for row in rows:
            values = [stage.get(name, 0) for stage in changing_values(row.stages)]
            if any(values):
                told.setdefault((tuple(values), tuple(row.borders)), []).append(row.name)
        for colour, ((values, edges), alike) in zip(itertools.cycle(COLOURS), told.items(), strict=False):
            axes.stairs(values, edges, baseline=None, lw=2.2, color=colour, label=", ".join(alike))
        axes.set_ylabel(LABELS.get(name, name), fontsize=8)
        axes.margins(y=0.15)
        axes.legend(fontsize=8, frameon=False, loc="upper right")
        axes.spines[["top", "right"]].set_visible(False)
    ticks = max(rows, key=lambda row: len(row.stages)).borders
    panels[-1].set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
    panels[-1].set(xlabel="share of the images seen", xlim=(0, 1))


def draw_samples(part: Any, rows: list[Row]) -> None:
    """A row each: a picture after each stage, of a control at the images of the others' stages; one over the whole
    width where there is only one."""
    longest = max((row.borders for row in rows if row.stages), key=len, default=[0.0, 1.0])
    width = len(longest) - 1
    grid = part.add_gridspec(len(rows), width)
    told: list[float] = []
    for line, row in enumerate(rows):
        shares = (row.borders if len(row.stages) > 1 else longest)[1:]
        if len(row.pictures) == 1:
            images = in_blocks(row.pictures[0][1], min(width, MOST))
            show(part.add_subplot(grid[line, :]), images, COLUMNS * min(width, MOST), f"{row.name}\n(finished)")
            continue
        for column, share in enumerate(shares):
            axes = part.add_subplot(grid[line, column])
            early = [samples for done, samples in row.pictures if done <= share + 1e-6]
            show(axes, early[-1] if early else np.empty((0, 32, 32, 3), np.uint8), COLUMNS, "" if column else row.name)
            if shares != told:
                axes.set_title(f"after stage {column + 1}: {share:.0%} of the images", fontsize=8)
        told = shares
    part.suptitle(WORDS, fontsize=9)


def in_blocks(images: np.ndarray, count: int) -> np.ndarray:
    """Images in an order in which the first of them come to lie in the last of ``count`` columns: below and above those
    of the same noise that a run draws at its end."""
    blocks = images[: count * ROWS * COLUMNS].reshape(-1, ROWS, COLUMNS, *images.shape[1:])
    return np.roll(blocks, -1, axis=0).swapaxes(0, 1).reshape(-1, *images.shape[1:])


def show(axes: Any, images: np.ndarray, columns: int, label: str) -> None:
    """Images side by side, without axes."""
    if len(images):
        axes.imshow(contact_sheet(images[: ROWS * columns], columns, SCALE, SCALE), interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_ylabel(label, fontsize=9)
    axes.spines[:].set_visible(False)


if __name__ == "__main__":
    run_script(main)
