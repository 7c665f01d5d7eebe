"""torchrun --nproc_per_node=1 sample.py checkpoints_c_32/latest.pt -o samples.png

Draw images from a checkpoint of this program or from a bare state dict of the original minDiffusion. The output is a
grid if its name ends in .png, else a folder that gets one PNG per image. Processes share the work: image i depends on
the seed and i alone, not on how many there are. Plain `python` is one process. With --export DIR the model is
written to a folder instead, to be passed on; such a folder can be sampled from in turn.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from mindiffusion.checkpoints.weights import build_network, read_weights
from mindiffusion.config import Stage
from mindiffusion.curriculum_ddpm import CurriculumDDPM
from mindiffusion.reports.grids import save_grid
from mindiffusion.runtime.distributed import Ranks, process_group
from mindiffusion.runtime.errors import UserError, run_script
from mindiffusion.runtime.files import write_atomically, write_errors_explained
from mindiffusion.runtime.precision import memory_format, resolve_precision, set_backend_flags
from mindiffusion.sampling import Sampler, denoiser, draw_images, num_evaluations
from mindiffusion.sharing.export import export


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line. Exits with code 2 and a message on a bad one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a .pt file, or a folder that --export made")
    parser.add_argument("-o", "--output", type=Path, default=Path("samples.png"), help="grid.png, or a folder")
    parser.add_argument("-n", "--num-samples", type=int, default=64, help="how many images (default: 64)")
    parser.add_argument("--sampler", choices=("ddim", "ddpm"), default="ddim", help="default: ddim")
    parser.add_argument("--steps", type=int, help="DDIM: network evaluations per image (default: 50)")
    parser.add_argument("--eta", type=float, help="DDIM: 0 = deterministic, 1 = as much noise as DDPM (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    parser.add_argument("--batch-size", type=int, default=256, help="images at a time (default: 256)")
    parser.add_argument("--raw-weights", action="store_true", help="the last weights, not their moving average")
    parser.add_argument("--no-clip", action="store_true", help="do not clip x0_hat to [-1, 1] at each step")
    parser.add_argument("--image-size", type=int, help="pixels per side (default: the checkpoint's, else 32)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="fp32", help="default: fp32")
    parser.add_argument(
        "--compile", action="store_true", help="compile first: pays from about 15 minutes of sampling on"
    )
    parser.add_argument("--export", type=Path, metavar="DIR", help="draw nothing: write the model with its card to DIR")
    parser.add_argument("--half", action="store_true", help="with --export: weights in half precision, half the size")
    parser.add_argument("--overwrite", action="store_true", help="replace an output that is there already")
    args = parser.parse_args(argv)
    if args.half and not args.export:
        parser.error("--half is for --export: samples are drawn in --precision.")
    if args.sampler == "ddpm" and (args.steps is not None or args.eta is not None):
        parser.error("--steps and --eta are DDIM's: DDPM visits every step. Drop them, or use --sampler ddim.")
    for name in ("num_samples", "batch_size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}; it must be at least 1.")
    return args


def main() -> None:
    """Load, draw, write."""
    args = parse_args()
    if args.export:
        export(
            read_weights(args.checkpoint, args.raw_weights), args.export, args.raw_weights, args.overwrite, args.half
        )
        print(f"model, configuration and model card in {args.export}/: sample with python sample.py {args.export}")
        return
    with process_group(args.device) as ranks:
        ranks.from_main(lambda: refuse_to_overwrite(args.output, args.overwrite))
        mine = torch.arange(args.num_samples).tensor_split(ranks.world_size)[ranks.rank].tolist()
        began = time.monotonic()
        images = draw(args, ranks, mine[0] if mine else 0, len(mine))
        ranks.barrier()
        seconds = time.monotonic() - began
        if args.output.suffix == ".png":
            images = ranks.gather(images)
            ranks.from_main(lambda: save_single_grid(args.output, images))
        else:
            ranks.from_main(lambda: make_folder(args.output))
            save_folder(args.output, images, mine[0] if mine else 0)
            ranks.barrier()
        if ranks.is_main:
            print(f"{args.num_samples} images in {args.output}, {args.num_samples / seconds:.1f} images/s")


def refuse_to_overwrite(output: Path, overwrite: bool) -> None:
    """UserError if the output is there already, or is of a kind that cannot be written."""
    if output.suffix not in ("", ".png"):
        raise UserError(f"--output is {output}; name a .png file for a grid, or a folder for single images.")
    there = any(output.glob("*.png")) if output.is_dir() else output.exists()
    if there and not overwrite:
        raise UserError(f"{output} is there already: choose another --output, or replace it with --overwrite.")


def draw(args: argparse.Namespace, ranks: Ranks, first: int, count: int) -> Tensor:
    """Images ``first`` .. ``first + count - 1``, (count, C, S, S) on the CPU. Each is a function of the seed and its
    number alone, up to rounding, which depends on the batch size."""
    weights = read_weights(args.checkpoint, raw=args.raw_weights)
    net = build_network(weights)
    config = weights.checkpoint["config"] if weights.checkpoint else {}
    size = args.image_size or config.get("image_size", 32)
    shape = (net.in_channels, size, size)
    precision = resolve_precision(args.precision, ranks.device)
    set_backend_flags(precision, ranks.device)
    net.to(ranks.device, memory_format=memory_format(precision, ranks.device))
    eps_model = denoiser(net, precision, ranks.device, args.compile)
    sampler = chosen_sampler(args)
    process = sampler.process(eps_model, tuple(config.get("betas", (1e-4, 0.02))), config.get("n_T", 1000))
    process.to(ranks.device)
    t_stop = trained_down_to(weights.checkpoint)
    if t_stop and ranks.is_main:
        print(f"this network has been trained on t >= {t_stop} only: showing x0_hat there")

    batches = -(-count // args.batch_size)
    total = batches * num_evaluations(process, t_stop)
    with tqdm(total=total, unit="step", disable=None if ranks.is_main else True) as bar:
        return draw_images(
            process, shape, count, first, args.seed, args.batch_size, t_stop, sampler.clip_x0, on_step=bar.update
        )


def chosen_sampler(args: argparse.Namespace) -> Sampler:
    """What --sampler, --steps, --eta and --no-clip ask for."""
    given = {name: getattr(args, name) for name in ("steps", "eta") if getattr(args, name) is not None}
    return Sampler(args.sampler, clip_x0=not args.no_clip, **given)


def trained_down_to(checkpoint: dict | None) -> int:
    """The lowest timestep that the checkpoint's network has seen, 0 for all of them or a bare state dict."""
    if checkpoint is None:
        return 0
    config, next_epoch = checkpoint["config"], checkpoint["next_epoch"]
    epochs_per_stage = [stage["epochs"] for stage in config["stages"]]
    images_per_epoch = config.get("images_per_epoch") or checkpoint["data"]["images"]
    steps_per_epoch = images_per_epoch // config["global_batch_size"]
    if checkpoint["next_step"] == next_epoch * steps_per_epoch and next_epoch > 0:
        next_epoch -= 1  # at a border: the epoch that is done, not the one to come
    last = next(i for i in range(len(epochs_per_stage)) if next_epoch < sum(epochs_per_stage[: i + 1]))
    seen = [Stage(**stage) for stage in config["stages"][: last + 1]]
    process = CurriculumDDPM(torch.nn.Identity(), tuple(config["betas"]), config["n_T"])
    process.set_time_range(min(stage.t_min for stage in seen), 1.0)
    return process.t_stop


def save_single_grid(path: Path, images: Tensor) -> None:
    """Write images (N, C, S, S) in [-1, 1] as one PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_grid(path, images)


def make_folder(folder: Path) -> None:
    """Make the folder, without the images of an earlier run."""
    with write_errors_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("[0-9]*.png"):
            old.unlink()


def save_folder(folder: Path, images: Tensor, first: int) -> None:
    """Write images (N, C, S, S) in [-1, 1], numbered from ``first``, as 000000.png, 000001.png, ..."""
    from torchvision.utils import save_image  # a second of loading that --help should not wait for

    for index, image in enumerate(images, start=first):
        path = folder / f"{index:06d}.png"
        write_atomically(path, lambda temporary, image=image: save_image(image.clamp(-1, 1) / 2 + 0.5, temporary))


if __name__ == "__main__":
    run_script(main)
