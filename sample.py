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
