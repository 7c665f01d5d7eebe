"""python -m experiments.side_by_side STUDY -o docs/grids.png: every cell of a study on the same noise, one row each.
Or of trained models: python -m experiments.side_by_side pretrained/c_32 pretrained/p_1m_32 -o models.png

Column i of every row starts from the same noise, so that what differs down a column is the training. Averaged
weights, the sampler of pictures. With --real the first row shows real images that were held out: look at them, but do
not publish a picture with them, as most data sets of faces do not allow it.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from experiments.networks import load_network, real_images
from experiments.summary import name_of
from experiments.tables import StudyTable
from mindiffusion.reports.grid_picture import contact_sheet
from mindiffusion.runtime.command_line import CommandLine, run_script
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import prepare_output, write_atomically
from mindiffusion.sampling import Sampler

PIXELS = 2  # of the figure per pixel of an image
GAP = 2  # pixels of an image between two rows
LABEL = 180  # pixels of the figure, for the names


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
    prepare_output(args.output.parent, [args.output], overwrite=True)
    if len(args.sources) == 1 and (args.sources[0] / "results.csv").exists():
        paths = cells_of(args.sources[0], args.cells, args.seed or 0)
    elif args.cells or args.seed is not None:
        parser.error("--cells and --seed choose among the runs of a study: give one folder that has a results.csv.")
    else:
        alike = len({path.name for path in args.sources}) < len(args.sources)
        paths = {str(path) if alike else path.name: path for path in args.sources}
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
    """{label: run} of a study's finished runs of a seed. UserError if one is not finished."""
    table = StudyTable(study)
    runs = {cell: study / "runs" / cell / f"seed{seed}" for cell in cells or table.cells()}
    if missing := [cell for cell, run in runs.items() if not (run / "evaluation").exists()]:
        raise UserError(f"{study} has no finished run of seed {seed} of {', '.join(missing)}.")
    return {label(table, cell, seed): run for cell, run in runs.items()}


def label(table: StudyTable, cell: str, seed: int) -> str:
    """What stands left of a row: the name, and what the study measured of that run."""
    swd, faces = (table.by_seed(cell, metric).get(seed) for metric in ("swd", "face_rate"))
    measured = ["" if swd is None else f"swd {swd:.0f}", "" if faces is None else f"{faces:.0%} with a face"]
    return "\n".join(filter(None, [name_of(cell), *measured]))


def save_strips(path: Path, rows: dict[str, Tensor]) -> None:
    """{name: uint8 images (N, 3, S, S)} as one PNG, a row per name."""
    size, columns = next(iter(rows.values())).shape[-1], max(map(len, rows.values()))
    height = PIXELS * (size + GAP)
    picture = Image.new("RGB", (LABEL + PIXELS * size * columns, height * len(rows)), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    for index, (name, images) in enumerate(rows.items()):
        strip = contact_sheet(images.permute(0, 2, 3, 1).numpy(), columns, PIXELS, 0)
        picture.paste(strip, (LABEL, index * height))
        draw.text((LABEL - 9, (index + 0.5) * height), name, "black", font, anchor="rm", align="right")
    write_atomically(path, lambda temporary: picture.save(temporary, "PNG"))


if __name__ == "__main__":
    run_script(main)
