"""python experiments/side_by_side.py STUDY -o docs/grids.png: every cell of a study on the same noise, one row each.

Column i of every row starts from the same noise, so that what differs down a column is the training. DDIM, averaged
weights. Wants matplotlib.
"""

import argparse
from pathlib import Path

import torch
from claims import StudyTable

from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError, run_script
from mindiffusion.runtime.files import write_atomically
from mindiffusion.runtime.optional import require
from sample import draw
from sample import parse_args as sample_args

PIXELS = 2  # of the figure per pixel of an image
LABEL = 1.6  # inches


def main(argv: list[str] | None = None) -> None:
    """Draw, label, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="output folder of experiments/run_study.py")
    parser.add_argument("-o", "--output", type=Path, default=Path("side_by_side.png"), help="default: side_by_side.png")
    parser.add_argument("--cells", nargs="+", help="rows, from the top (default: all that are done)")
    parser.add_argument("--seed", type=int, default=0, help="of the runs (default: 0)")
    parser.add_argument("--columns", type=int, default=16, help="images per row (default: 16)")
    parser.add_argument("--steps", type=int, default=50, help="of DDIM (default: 50)")
    args = parser.parse_args(argv)
    require("matplotlib", "a figure")
    table = StudyTable(args.study)
    paths = {cell: table.checkpoints(cell).get(args.seed) for cell in args.cells or table.cells()}
    if missing := [cell for cell, path in paths.items() if path is None]:
        raise UserError(f"{args.study} has no finished run of seed {args.seed} of {', '.join(missing)}.")
    rows = {}
    for cell, path in paths.items():
        options = [str(path), "-n", str(args.columns), "--steps", str(args.steps)]
        images = draw(sample_args(options), Ranks(), 0, args.columns)
        rows[cell] = torch.cat(list(images.clamp(-1, 1) / 2 + 0.5), 2).permute(1, 2, 0)  # (S, columns * S, 3)
    save(args.output, rows)
    print(f"{len(rows)} rows in {args.output}")


def save(path: Path, rows: dict[str, torch.Tensor]) -> None:
    """The strips (S, W, 3) in [0, 1] below each other, each with its name on the left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width, _ = next(iter(rows.values())).shape
    dpi = 100
    figure = Figure(figsize=(LABEL + PIXELS * width / dpi, PIXELS * (height + 2) * len(rows) / dpi), dpi=dpi)
    FigureCanvasAgg(figure)
    left = LABEL / figure.get_figwidth()
    share = 1 / len(rows)
    for index, (name, strip) in enumerate(rows.items()):
        bottom = 1 - (index + 1) * share
        axes = figure.add_axes((left, bottom, 1 - left, share * height / (height + 2)))
        axes.imshow(strip.numpy(), interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        figure.text(0.95 * left, bottom + share / 2, name, ha="right", va="center", fontsize=9)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))


if __name__ == "__main__":
    run_script(main)
