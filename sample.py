"""python sample.py checkpoints_c_32/latest.pt -o samples.png

Draw images from a checkpoint of this program or from a bare state dict of the original minDiffusion. The output is a
grid if its name ends in .png, else a folder that gets one PNG per image.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torchvision.utils import save_image
from tqdm import tqdm

from mindiffusion.acceleration import autocast, resolve_precision, set_backend_flags
from mindiffusion.config import Stage
from mindiffusion.curriculum_ddpm import CurriculumDDPM
from mindiffusion.ddim import DDIM
from mindiffusion.ddpm import DDPM
from mindiffusion.distributed import Ranks, process_group
from mindiffusion.errors import UserError, run_script
from mindiffusion.files import write_atomically, write_errors_explained
from mindiffusion.grids import save_grid
from mindiffusion.rng import make_generator
from mindiffusion.weights import build_network, read_weights


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line. Exits with code 2 and a message on a bad one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a .pt file")
    parser.add_argument("-o", "--output", type=Path, default=Path("samples.png"), help="grid.png, or a folder")
    parser.add_argument("-n", "--num-samples", type=int, default=64, help="how many images (default: 64)")
    parser.add_argument("--sampler", choices=("ddim", "ddpm"), default="ddim", help="default: ddim")
    parser.add_argument("--steps", type=int, help="DDIM: network evaluations per image (default: 50)")
    parser.add_argument("--eta", type=float, help="DDIM: 0 = deterministic (default), 1 = as much noise as DDPM")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    parser.add_argument("--batch-size", type=int, default=256, help="images at a time (default: 256)")
    parser.add_argument("--raw-weights", action="store_true", help="the last weights, not their moving average")
    parser.add_argument("--no-clip", action="store_true", help="do not clip x0_hat to [-1, 1] at each step")
    parser.add_argument("--image-size", type=int, help="pixels per side (default: the checkpoint's, else 32)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="fp32", help="default: fp32")
    parser.add_argument("--overwrite", action="store_true", help="replace an output that is there already")
    args = parser.parse_args(argv)
    if args.sampler == "ddpm" and (args.steps is not None or args.eta is not None):
        parser.error("--steps and --eta are DDIM's: DDPM visits every step. Drop them, or use --sampler ddim.")
    for name in ("num_samples", "batch_size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}; it must be at least 1.")
    return args


def main() -> None:
    """Load, draw, write."""
    args = parse_args()
    refuse_to_overwrite(args.output, args.overwrite)
    with process_group(args.device) as ranks:
        if ranks.world_size > 1:
            raise UserError("sample.py runs as one process: start it with plain python.")
        images = draw(args, ranks)
    if args.output.suffix == ".png":
        args.output.parent.mkdir(parents=True, exist_ok=True)
        save_grid(args.output, images)
    else:
        save_folder(args.output, images)
    print(f"{len(images)} images in {args.output}")


def refuse_to_overwrite(output: Path, overwrite: bool) -> None:
    """UserError if the output is there already, or is of a kind that cannot be written."""
    if output.suffix not in ("", ".png"):
        raise UserError(f"--output is {output}; name a .png file for a grid, or a folder for single images.")
    there = any(output.glob("*.png")) if output.is_dir() else output.exists()
    if there and not overwrite:
        raise UserError(f"{output} is there already: choose another --output, or replace it with --overwrite.")


def draw(args: argparse.Namespace, ranks: Ranks) -> Tensor:
    """The samples (N, C, S, S) on the CPU. Image i depends on the seed and i alone, not on the batch size, as long as
    the sampler adds no noise of its own (DDIM with eta 0)."""
    weights = read_weights(args.checkpoint, raw=args.raw_weights)
    net = build_network(weights)
    config = weights.checkpoint["config"] if weights.checkpoint else {}
    size = args.image_size or config.get("image_size", 32)
    shape = (net.in_channels, size, size)
    process = (net, tuple(config.get("betas", (1e-4, 0.02))), config.get("n_T", 1000))
    if args.sampler == "ddim":
        sampler = DDIM(*process, steps=50 if args.steps is None else args.steps, eta=args.eta or 0.0)
    else:
        sampler = DDPM(*process)
    sampler.to(ranks.device)
    precision = resolve_precision(args.precision, ranks.device)
    set_backend_flags(precision)
    t_stop = trained_down_to(weights.checkpoint)
    if t_stop:
        print(f"this network has been trained on t >= {t_stop} only: showing x0_hat there")

    noise = torch.randn(args.num_samples, *shape, generator=make_generator(args.seed, "sample"))
    batches = noise.split(args.batch_size)
    evaluations = len(sampler.timesteps(t_stop)) if isinstance(sampler, DDIM) else sampler.n_T - max(t_stop - 1, 0)
    done = []
    with tqdm(total=len(batches) * evaluations, unit="step", disable=None) as bar, autocast(precision, ranks.device):
        for index, x_T in enumerate(batches):
            generator = make_generator(args.seed, "sampler noise", index, ranks.device)
            images = sampler.sample(
                len(x_T), shape, generator=generator, x_T=x_T, t_stop=t_stop, clip_x0=not args.no_clip,
                on_step=bar.update,
            )  # fmt: skip
            done.append(images.float().cpu())
    return torch.cat(done)


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


def save_folder(folder: Path, images: Tensor) -> None:
    """Write images (N, C, S, S) in [-1, 1] as 000000.png, 000001.png, ..."""
    with write_errors_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("[0-9]*.png"):
            old.unlink()
    for index, image in enumerate(images):
        path = folder / f"{index:06d}.png"
        write_atomically(path, lambda temporary, image=image: save_image(image.clamp(-1, 1) / 2 + 0.5, temporary))


if __name__ == "__main__":
    run_script(main)
