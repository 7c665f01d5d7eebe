"""A trained network as experiments ask and sample it, and what its samples are measured by."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mindiffusion.checkpoints.models import open_model
from mindiffusion.data.images import parse_range
from mindiffusion.ddpm import DDPM
from mindiffusion.evaluation.color import NAMES, color_error, color_statistics
from mindiffusion.evaluation.faces import can_find_faces, found_faces
from mindiffusion.evaluation.settings import to_bytes, to_float
from mindiffusion.evaluation.subjects import RealImages, load_real
from mindiffusion.evaluation.swd import swd_per_level
from mindiffusion.runtime.env_file import read_env_file
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.precision import memory_format, set_backend_flags
from mindiffusion.sampling import Sampler, denoiser, draw_images, num_evaluations

MEASURES = ("swd", "color_error", "saturated", "face_rate")


@dataclass
class Network:
    """A network on its device, asked in ``precision`` and perhaps compiled. ``shape`` is (C, S, S)."""

    net: nn.Module
    betas: tuple[float, float]
    n_T: int
    shape: tuple[int, int, int]
    device: torch.device
    precision: str
    compiled: bool

    @cached_property
    def eps_model(self) -> Callable[[Tensor, Tensor], Tensor]:
        """(x_t, t / n_T) -> noise; compiled once, whatever the sampler."""
        return denoiser(self.net, self.precision, self.device, self.compiled)

    def process(self, sampler: Sampler) -> DDPM:
        """The diffusion process that samples so."""
        return sampler.process(self.eps_model, self.betas, self.n_T).to(self.device)

    def draw(self, sampler: Sampler, count: int, seed: int = 0, first: int = 0, batch_size: int = 250) -> Tensor:
        """Images ``first`` .. ``first + count - 1`` of a seed, uint8 (count, C, S, S), as a PNG would hold them."""
        process = self.process(sampler)
        with tqdm(total=-(-count // batch_size) * num_evaluations(process), unit="step", disable=None) as bar:
            images = draw_images(
                process, self.shape, count, first, seed, batch_size, clip_x0=sampler.clip_x0, on_step=bar.update
            )
        return to_bytes(images)


def load_network(path: Path, precision: str = "fp32", compiled: bool = False) -> Network:
    """The averaged network of a checkpoint or an export. UserError if it has not seen all noise levels."""
    model = open_model(path)
    if model.t_stop:
        raise UserError(f"{path} has been trained on t >= {model.t_stop} only: name the last checkpoint of its run.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    set_backend_flags(precision, device)
    net = model.net.to(device, memory_format=memory_format(precision, device))
    shape = (net.in_channels, model.image_size, model.image_size)
    return Network(net, model.betas, model.n_T, shape, device, precision, compiled)


def network_flags(doc: str, samples: int) -> argparse.ArgumentParser:
    """A parser with the flags that all experiments on one network share. ``samples``: the default of --n-samples."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="the last checkpoint of a finished run, or an export")
    parser.add_argument("-o", "--output", type=Path, default=Path("studies/figures"), help="default: studies/figures")
    parser.add_argument("--data-path", help="default: CELEBA_PATH (.env or environment); 'synthetic' for that data")
    parser.add_argument("--eval-images", metavar="A-B", help="the reference, held out of training, e.g. 8001-9000")
    parser.add_argument("--n-samples", type=int, default=samples, help=f"default: {samples}")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="default: fp32")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=False, help="the network, first")
    return parser


def held_out(args: argparse.Namespace, network: Network) -> RealImages:
    """The real images that --data-path and --eval-images name; makes the output folder too."""
    read_env_file()
    data_path = args.data_path or os.environ.get("CELEBA_PATH", "")
    try:
        places = parse_range(args.eval_images) if args.eval_images else None
    except ValueError:
        raise UserError(f"--eval-images is {args.eval_images}; write it like 8001-9000.") from None
    args.output.mkdir(parents=True, exist_ok=True)
    return load_real(data_path, network.shape[-1], "square", places, max(args.n_samples, 2))


def sample_measures(samples: Tensor, reference: Tensor, seed: int = 0) -> dict[str, float]:
    """MEASURES of uint8 samples (N, 3, S, S) against uint8 real images (M, 3, S, S): swd, mean over levels; the error
    of the mean colour; the share of values that are black or full, in percent; the share of images in which a face is
    found, which is left out without OpenCV."""
    x, real = to_float(samples), to_float(reference)
    levels = swd_per_level(x, real, seed)
    ours, theirs = color_statistics(x), color_statistics(real)
    values = {
        "swd": sum(distance for distance, _ in levels.values()) / len(levels),
        "color_error": float(color_error(ours, theirs)),
        "saturated": 100 * float(ours[:, NAMES.index("clipped")].mean()),
    }
    if can_find_faces():
        values["face_rate"] = float(found_faces(samples).mean())
    return values
