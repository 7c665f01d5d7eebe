"""python sample.py checkpoints_c_32 -o samples.png

Draw images from a model: a run's folder (its newest good checkpoint), a checkpoint file, a folder that --export made,
or a bare state dict of the original minDiffusion. The output is a grid, enlarged and with a caption, if its name ends
in .png, else a folder that gets one PNG per image, of the images' own size. `torchrun --nproc_per_node=4 sample.py ...`
shares the work: image i depends on the seed and i alone. With --export DIR the model is written to a folder instead, to
be passed on.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mindiffusion import sampling
from mindiffusion.checkpoints.models import Model, model_name, open_model
from mindiffusion.checkpoints.weights import AVERAGED, read_weights
from mindiffusion.reports.grid_picture import save_grid
from mindiffusion.reports.sample_files import prepare_samples, save_images
from mindiffusion.runtime.distributed import Ranks, process_group
from mindiffusion.runtime.errors import run_script
from mindiffusion.runtime.precision import resolve_precision
from mindiffusion.runtime.terminal import work_bar
from mindiffusion.sampling import add_sampler_flags, chosen_sampler, num_batches, num_evaluations
from mindiffusion.sharing.export import export
from mindiffusion.unet import SIZE_MULTIPLE

# Flags that --export has no use for.
OF_SAMPLES = (
    *("output", "num_samples", "sampler", "steps", "eta", "spacing", "noise_above", "seed", "batch_size"),
    *("no_clip", "image_size", "device", "precision", "compile"),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line. Exits with code 2 and a message on a bad one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "checkpoint", type=Path, metavar="MODEL", help="a run's folder, a .pt file, or a folder that --export made"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("samples.png"), help="grid.png, or a folder (default: samples.png)"
    )
    parser.add_argument("-n", "--num-samples", type=int, default=64, help="how many images (default: 64)")
    add_sampler_flags(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    parser.add_argument("--batch-size", type=int, default=256, help="images at a time (default: 256)")
    parser.add_argument("--raw-weights", action="store_true", help="the last weights, not their moving average")
    parser.add_argument("--image-size", type=int, help="pixels per side (default: the checkpoint's, else 32)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="fp32", help="default: fp32")
    parser.add_argument(
        "--compile", action="store_true", help="compile first: pays from about 15 minutes of sampling on"
    )
    parser.add_argument("--export", type=Path, metavar="DIR", help="draw nothing: write the model with its card to DIR")
    parser.add_argument("--licence", default="", metavar="TEXT", help="with --export: of the model, for its card")
    parser.add_argument("--half", action="store_true", help="with --export: weights in half precision, half the size")
    parser.add_argument("--overwrite", action="store_true", help="replace an output that is there already")
    args = parser.parse_args(argv)
    if args.export and (ignored := [name for name in OF_SAMPLES if getattr(args, name) != parser.get_default(name)]):
        flags = ", ".join("--" + name.replace("_", "-") for name in ignored)
        parser.error(f"--export draws nothing: leave {flags} out.")
    if args.half and not args.export:
        parser.error("--half is for --export: samples are drawn in --precision.")
    if args.licence and not args.export:
        parser.error("--licence is for the card of --export: leave it out.")
    args.sampler = chosen_sampler(parser, args)
    for name in ("num_samples", "batch_size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}; it must be at least 1.")
    if args.image_size is not None and (args.image_size < 1 or args.image_size % SIZE_MULTIPLE):
        parser.error(f"--image-size is {args.image_size}; it must be a positive multiple of {SIZE_MULTIPLE}.")
    return args


def main() -> None:
    """Load, draw, write."""
    args = parse_args()
    if args.export:
        weights = read_weights(args.checkpoint, raw=args.raw_weights)
        export(weights, args.export, args.raw_weights, args.overwrite, args.half, args.licence)
        print(f"model, configuration and model card in {args.export}/: sample with python sample.py {args.export}")
        return
    with process_group(args.device) as ranks:
        mine = torch.arange(args.num_samples).tensor_split(ranks.world_size)[ranks.rank].tolist()
        first = mine[0] if mine else 0
        model = open_model(args.checkpoint, raw=args.raw_weights)
        ranks.from_main(lambda: prepare_samples(args.output, args.overwrite))
        began = time.monotonic()
        images = draw(args, ranks, model, first, len(mine))
        ranks.barrier()
        seconds = time.monotonic() - began
        if args.output.suffix == ".png":
            images = ranks.gather(images)
            ranks.from_main(lambda: save_grid(args.output, images, caption=caption(args, model)))
        else:
            save_images(args.output, images, first)
            ranks.barrier()
        if ranks.is_main:
            print(f"{args.num_samples} images in {args.output}, {args.num_samples / seconds:.1f} images/s")


def draw(args: argparse.Namespace, ranks: Ranks, model: Model, first: int, count: int) -> Tensor:
    """Images ``first`` .. ``first + count - 1`` of the model, (count, C, S, S) on the CPU, with a bar on rank 0."""
    if model.t_stop and ranks.is_main:
        print(f"this network has been trained on t >= {model.t_stop} only: showing x0_hat there")
    evaluations = num_evaluations(args.sampler.process(model.net, model.betas, model.n_T), model.t_stop)
    with work_bar(num_batches(count, args.batch_size) * evaluations, "sampling", ranks.is_main) as bar:
        return sampling.draw(
            replace(model, image_size=args.image_size or model.image_size),
            args.sampler,
            count,
            first,
            seed=args.seed,
            batch_size=args.batch_size,
            device=ranks.device,
            precision=resolve_precision(args.precision, ranks.device),
            compiled=args.compile,
            on_step=bar.update,
        )


def caption(args: argparse.Namespace, model: Model) -> list[str]:
    """The lines above a grid."""
    weights = "averaged weights" if model.weights.kind == AVERAGED else "last weights"
    known = f", {weights}" if model.weights.checkpoint else ""
    stop = f"estimate of the clean image at t = {model.t_stop}, the lowest trained | " if model.t_stop else ""
    return [f"{model_name(model.weights)}{known}", f"{stop}{args.sampler.describe()}, seed {args.seed}"]


if __name__ == "__main__":
    run_script(main)
