"""python -m experiments.side_by_side STUDY -o docs/grids.png: every cell of a study on the same noise, one row each.
Or of trained models: python -m experiments.side_by_side pretrained/control_32 pretrained/p_32 -o models.png

Column i of every row starts from the same noise, so that what differs down a column is the training. DDIM with eta 1,
averaged weights. With --real the first row shows real images that were held out: look at them, but do not publish a
picture with them, as most data sets of faces do not allow it. Wants matplotlib.
"""

import argparse
import os
from pathlib import Path

from torch import Tensor

from experiments.networks import load_network
from experiments.strips import save_strips
from experiments.study_table import StudyTable
from mindiffusion.data.images import parse_range
from mindiffusion.evaluation.subjects import load_real
from mindiffusion.runtime.env_file import read_env_file
from mindiffusion.runtime.errors import UserError, run_script
from mindiffusion.runtime.optional import require
from mindiffusion.sampling import Sampler


def main(argv: list[str] | None = None) -> None:
    """Draw, label, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+", help="a folder of experiments.run_study, or trained models")
    parser.add_argument("-o", "--output", type=Path, default=Path("side_by_side.png"), help="default: side_by_side.png")
    parser.add_argument("--cells", nargs="+", help="of a study: rows, from the top (default: all that are done)")
    parser.add_argument("--seed", type=int, help="of a study: of the runs (default: 0)")
    parser.add_argument("--columns", type=int, default=16, help="images per row (default: 16)")
    parser.add_argument("--steps", type=int, default=50, help="of DDIM (default: 50)")
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
    rows = {"real images": real_images(args, next(iter(networks.values())).model.image_size)} if args.real else {}
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


def real_images(args: argparse.Namespace, size: int) -> Tensor:
    """As many of --real as there are columns, uint8 (N, 3, S, S)."""
    read_env_file()
    data_path = args.data_path or os.environ.get("CELEBA_PATH", "")
    try:
        return load_real(data_path, size, "square", parse_range(args.real), 0).images[: args.columns]
    except ValueError:
        raise UserError(f"--real is {args.real}; write it like 8001-9000.") from None


if __name__ == "__main__":
    run_script(main)
