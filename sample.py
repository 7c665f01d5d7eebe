"""python sample.py checkpoints_c_32 -o samples.png

Draw images from a model: a run's folder (its newest good checkpoint), a checkpoint file, a folder that --export made,
or a bare state dict of the original minDiffusion. The output is a grid, enlarged and with a caption, if its name ends
in .png, else a folder that gets one PNG per image, of the images' own size, as they are drawn: the same command again
goes on with those that are missing. `torchrun --nproc_per_node=4 sample.py ...` shares the work: image i depends on the
seed and i alone. With --export DIR the model is written to a folder instead, to be passed on.
"""

import argparse
import math
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from mindiffusion.checkpoints.models import Model, model_name, open_model
from mindiffusion.checkpoints.weights import AVERAGED, read_weights, weights_digest
from mindiffusion.reports.grid_picture import save_grid
from mindiffusion.reports.sample_files import (
    MOST,
    MOST_OF_GRID,
    claimed,
    is_grid,
    prepare_folder,
    ranges,
    save_images,
)
from mindiffusion.runtime.command_line import CommandLine, run_script
from mindiffusion.runtime.distributed import Ranks, process_group
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.precision import resolve_precision
from mindiffusion.runtime.signals import Stopped
from mindiffusion.runtime.terminal import command_of, progress_bar
from mindiffusion.sampling import (
    Sampler,
    add_drawing_flags,
    check_samples,
    chosen_sampler,
    draw,
    draw_together,
    num_evaluations,
)
from mindiffusion.sharing.export import export

OF_EXPORT = ("checkpoint", "raw_weights", "export", "licence", "half", "overwrite")  # flags that are not of drawing


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line. Exits with code 2 and a message on a bad one."""
    parser = CommandLine(__doc__)
    parser.add_argument(
        "checkpoint", type=Path, metavar="MODEL", help="a run's folder, a .pt file, or a folder that --export made"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("samples.png"), help="grid.png, or a folder (default: samples.png)"
    )
    parser.add_argument("-n", "--num-samples", type=int, default=64, help="how many images (default: 64)")
    add_drawing_flags(parser, Sampler(), batch_size=256)
    parser.add_argument("--export", type=Path, metavar="DIR", help="draw nothing: write the model with its card to DIR")
    parser.add_argument("--licence", default="", metavar="TEXT", help="with --export: of the model, for its card")
    parser.add_argument("--half", action="store_true", help="with --export: weights in half precision, half the size")
    parser.add_argument("--overwrite", action="store_true", help="replace an output that is there already")
    args = parser.parse_args(argv)
    given = [name for name, value in vars(args).items() if value != parser.get_default(name)]
    if args.export and (ignored := [name for name in given if name not in OF_EXPORT]):
        flags = ", ".join("--" + name.replace("_", "-") for name in ignored)
        parser.error(f"--export draws nothing: leave {flags} out.")
    if not args.export and (args.half or args.licence):
        parser.error("--half and --licence are for --export: leave them out.")
    args.sampler = chosen_sampler(parser, args, Sampler())
    most = MOST_OF_GRID if args.output.suffix == ".png" else MOST
    for name, limit in (("num_samples", most), ("batch_size", MOST)):
        if not 1 <= getattr(args, name) <= limit:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}; it must lie in 1..{limit} here.")
    return args


def main() -> None:
    """Load, draw, write."""
    args = parse_args()
    if args.export:
        weights = read_weights(args.checkpoint, raw=args.raw_weights)
        export(weights, args.export, args.overwrite, args.half, args.licence)
        next_one = command_of("sample.py", args.export)
        print(f"model, configuration and model card in {args.export}/: sample with {next_one}")
        return
    with process_group(args.device) as ranks, ExitStack() as claim:
        model = sized(open_model(args.checkpoint, raw=args.raw_weights), args.image_size)
        args.precision = resolve_precision(args.precision, ranks.device)
        if ranks.is_main:
            print(about(model), flush=True)
        ranks.from_main(lambda: claim.enter_context(claimed(args.output, args.overwrite)))
        began = time.monotonic()
        drawn = write_grid(args, ranks, model) if is_grid(args.output) else fill_folder(args, ranks, model)
        if ranks.is_main:
            before = f", {there:,} of them from before" if (there := args.num_samples - drawn) else ""
            speed = f"{drawn / (time.monotonic() - began):.1f} images/s"
            print(f"{args.num_samples:,} images in {args.output}{before}, {speed}")


def write_grid(args: argparse.Namespace, ranks: Ranks, model: Model) -> int:
    """Draw the images, together, and make a picture of them. Returns their number."""
    mine = range(args.num_samples)[ranks.slice(args.num_samples)]
    steps = math.ceil(len(mine) / args.batch_size) * num_evaluations(model, args.sampler)
    with progress_bar(steps, "sampling: ", ranks.is_main) as bar:
        images = draw_together(ranks, model, args.sampler, args.num_samples, on_step=bar.update, **how(args))
    check_samples(images, str(args.checkpoint), args.precision)
    ranks.from_main(lambda: save_grid(args.output, images, caption=caption(args, model)))
    return args.num_samples


def fill_folder(args: argparse.Namespace, ranks: Ranks, model: Model) -> int:
    """Draw the images that are missing in the folder, and write each batch as soon as it is drawn. Returns how many
    were missing."""
    asked = {
        "weights": weights_digest(model.weights.state),
        "sampler": args.sampler.describe(),
        **{"seed": args.seed, "image_size": model.image_size},
        **{"precision": args.precision, "device": ranks.device.type},
    }
    missing = ranks.from_main(lambda: prepare_folder(args.output, asked, args.num_samples, args.overwrite))
    batches = ranges(missing[ranks.slice(len(missing))], args.batch_size)
    try:
        with progress_bar(len(batches) * num_evaluations(model, args.sampler), "sampling: ", ranks.is_main) as bar:
            for start, size in batches:
                images = draw(model, args.sampler, size, start, device=ranks.device, on_step=bar.update, **how(args))
                check_samples(images, str(args.checkpoint), args.precision)
                save_images(args.output, images, start)
    except Stopped as stopped:
        raise Stopped(
            f"stopped; what was drawn is in {args.output}. The same command goes on.", stopped.exit_code
        ) from None
    ranks.barrier()
    return len(missing)


def how(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments that all images are drawn with."""
    return {"seed": args.seed, "batch_size": args.batch_size, "precision": args.precision, "compiled": args.compile}


def sized(model: Model, image_size: int | None) -> Model:
    """The model, to draw images of this size. UserError if it is known to have been trained on another."""
    known = model.weights.checkpoint and model.weights.checkpoint["config"].get("image_size")
    if image_size and known and image_size != known:
        raise UserError(f"the model was trained on {known}x{known} images and knows no others: drop --image-size.")
    return replace(model, image_size=image_size) if image_size else model


def about(model: Model) -> str:
    """Which file is used, and what is to be known about its network."""
    checkpoint = model.weights.checkpoint
    step = f", step {checkpoint['next_step']:,}" if checkpoint else ""
    stop = f"; it knows t >= {model.t_stop} alone: what it guesses there is shown" if model.t_stop else ""
    return f"model: {model.weights.path}{step}{stop}"


def caption(args: argparse.Namespace, model: Model) -> list[str]:
    """The lines above a grid."""
    weights = "averaged weights" if model.weights.kind == AVERAGED else "last weights"
    known = f", {weights}" if model.weights.checkpoint else ""
    stop = f"estimate of the clean image at t = {model.t_stop}, the lowest trained | " if model.t_stop else ""
    return [f"{model_name(model.weights)}{known}", f"{stop}{args.sampler.describe()}, seed {args.seed}"]


if __name__ == "__main__":
    run_script(main)
