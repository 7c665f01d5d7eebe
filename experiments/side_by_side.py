"""python -m experiments.side_by_side STUDY -o docs/grids.png: every cell of a study on the same noise, one row each.
Or of trained models: python -m experiments.side_by_side pretrained/c_32 pretrained/p_high_lr_32 -o models.png

Column i of every row starts from the same noise, so that what differs down a column is the training. DDIM with eta 1,
averaged weights. With --real the first row shows real images that were held out: look at them, but do not publish a
picture with them, as most data sets of faces do not allow it. Wants matplotlib.
"""

from pathlib import Path

from torch import Tensor

from experiments.networks import load_network, real_images
from experiments.study_table import StudyTable
from mindiffusion.runtime.command_line import CommandLine, run_script
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import write_atomically
from mindiffusion.runtime.packages import require
from mindiffusion.sampling import Sampler

PIXELS = 2  # of the figure per pixel of an image
GAP = 2  # pixels of an image between two rows
LABEL = 1.8  # inches
DPI = 100


def main(argv: list[str] | None = None) -> None:
    """Draw, label, write."""
    parser = CommandLine(__doc__)
    parser.add_argument("sources", type=Path, nargs="+", help="a folder of experiments.run_study, or trained models")
    parser.add_argument("-o", "--output", type=Path, default=Path("side_by_side.png"), help="default: side_by_side.png")
    parser.add_argument("--cells", nargs="+", help="of a study: rows, from the top (default: all that are done)")
    parser.add_argument("--seed", type=int, help="of a study: of the runs (default: 0)")
    parser.add_argument("--columns", type=int, default=16, help="images per row (default: 16)")
    parser.add_argument("--steps", type=int, default=Sampler.steps, help="default: 25")
    parser.add_argument(
        "--real", metavar="A-B", help="a first row of these images of the sorted folder: not to publish"
    )
    parser.add_argument("--data-path", help="folder for --real (default: CELEBA_PATH)")
    args = parser.parse_args(argv)
    require("matplotlib", "a figure")
    if len(args.sources) == 1 and (args.sources[0] / "results.csv").exists():
        paths = cells_of(args.sources[0], args.cells, args.seed or 0)
    elif args.cells or args.seed is not None:
        parser.error("--cells and --seed choose among the runs of a study: give one folder that has a results.csv.")
    else:
        paths = {path.name: path for path in args.sources}
        if len(paths) < len(args.sources):
            paths = {str(path): path for path in args.sources}
    networks = {name: load_network(path) for name, path in paths.items()}
    rows = {}
    if args.real:
        size = next(iter(networks.values())).model.image_size
        rows["real images"] = real_images(args.data_path, args.real, size).images[: args.columns]
    for name, network in networks.items():
        rows[name] = network.draw(Sampler(steps=args.steps), args.columns)
    save_strips(args.output, rows)
    print(f"{len(rows)} rows in {args.output}")


def cells_of(study: Path, cells: list[str] | None, seed: int) -> dict[str, Path]:
    """{label: last checkpoint} of a study's runs of a seed. UserError if one is not finished."""
    table = StudyTable(study)
    paths = {cell: table.checkpoints(cell).get(seed) for cell in cells or table.cells()}
    if missing := [cell for cell, path in paths.items() if path is None]:
        raise UserError(f"{study} has no finished run of seed {seed} of {', '.join(missing)}.")
    return {label(table, cell, seed): path for cell, path in paths.items()}


def label(table: StudyTable, cell: str, seed: int) -> str:
    """What stands left of a row: the name, and what the study measured of that run."""
    swd, faces = (table.by_seed(cell, metric).get(seed) for metric in ("swd", "face_rate"))
    lines = ["control" if cell == "uniform" else cell]
    lines += [] if swd is None else [f"swd {swd:.0f}"]
    lines += [] if faces is None else [f"{faces:.0%} with a face"]
    return "\n".join(lines)


def save_strips(path: Path, rows: dict[str, Tensor]) -> None:
    """{name: uint8 images (N, 3, S, S)} as one PNG, a row per name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    strips = {name: images.permute(1, 2, 0, 3).flatten(2).permute(1, 2, 0).numpy() for name, images in rows.items()}
    height, width, _ = next(iter(strips.values())).shape
    size = (LABEL + PIXELS * width / DPI, PIXELS * (height + GAP) * len(strips) / DPI)
    figure = Figure(figsize=size, dpi=DPI)
    FigureCanvasAgg(figure)
    left = LABEL / figure.get_figwidth()
    share = 1 / len(strips)
    for index, (name, strip) in enumerate(strips.items()):
        bottom = 1 - (index + 1) * share
        axes = figure.add_axes((left, bottom, 1 - left, share * height / (height + GAP)))
        axes.imshow(strip, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        figure.text(0.95 * left, bottom + share / 2, name, ha="right", va="center", fontsize=9)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))


if __name__ == "__main__":
    run_script(main)
