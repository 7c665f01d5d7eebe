"""Draw images from a network: what sample.py, evaluate.py, the experiments and the grids of a run share."""

import argparse
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mindiffusion.ddim import DDIM
from mindiffusion.ddpm import DDPM, eval_mode
from mindiffusion.dpm_solver import SPACINGS, DPMSolver
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.gpu import DEVICES
from mindiffusion.runtime.precision import autocast, keep_compiled_code, memory_format, set_backend_flags
from mindiffusion.runtime.rng import BlockNoise
from mindiffusion.runtime.signals import StopSignals
from mindiffusion.unet import SIZE_MULTIPLE

SAMPLERS = ("ddim", "dpm", "ddpm")
PRECISIONS = ("auto", "fp32", "bf16")
LARGEST = 1024  # pixels per side of an image that is drawn


@dataclass(frozen=True)
class Sampler:
    """How images are drawn: the settings, without a network.

    ``name``: "ddim" (Song et al. 2021), "dpm" (DPM-Solver++(2M), Lu et al. 2022) or "ddpm" (ancestral sampling of Ho et
    al. 2020, which takes every step and ignores what is about steps and noise). ``steps``: network evaluations per
    image. ``eta``: fresh noise, from 0 (deterministic) to 1 (as much as DDPM's posterior). ``clip_x0``: clip the
    estimate of the clean image to [-1, 1] at every step. Of "dpm" alone: ``spacing`` of the timesteps, evenly in
    "lambda" or in "t".

    The defaults are for looking at images: fresh noise washes out what a network gets wrong about the mean colour, and
    25 evaluations show faces. TO_MEASURE is for numbers: the one that more evaluations hardly change.
    """

    name: str = "dpm"
    steps: int = 25
    eta: float = 1.0
    clip_x0: bool = True
    spacing: str = SPACINGS[0]

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise UserError(f"there is no sampler {self.name!r}: choose from {', '.join(SAMPLERS)}.")
        if self.name != "dpm" and self.spacing != SPACINGS[0]:
            raise UserError(f"spacing is a setting of the sampler dpm, not of {self.name}.")
        self.process(nn.Identity(), n_T=max(self.steps, 1000))  # it refuses what is outside its ranges

    def process(
        self, eps_model: Callable[[Tensor, Tensor], Tensor], betas: tuple[float, float] = (1e-4, 0.02), n_T: int = 1000
    ) -> DDPM:
        """The diffusion process that samples so, around ``eps_model(x_t, t / n_T)``. UserError as DDIM's."""
        if self.name == "ddpm":
            return DDPM(eps_model, betas, n_T)
        if self.name == "dpm":
            return DPMSolver(eps_model, betas, n_T, steps=self.steps, eta=self.eta, spacing=self.spacing)
        return DDIM(eps_model, betas, n_T, steps=self.steps, eta=self.eta)

    def describe(self) -> str:
        """In words, for tables and captions: "DDIM, 50 steps, eta 1", "DPM-Solver++ SDE, 50 steps"."""
        kind = {0.0: " ODE", 1.0: " SDE"}.get(self.eta, f", eta {self.eta:g}")
        even = " even in t" if self.spacing == "t" else ""
        words = {
            "ddpm": "DDPM, all steps",
            "ddim": f"DDIM, {self.steps} steps, eta {self.eta:g}",
            "dpm": f"DPM-Solver++{kind}, {self.steps} steps{even}",
        }
        return words[self.name] + ("" if self.clip_x0 else ", x0 not clipped")


TO_MEASURE = Sampler(steps=50, eta=0.0)


def image_size(text: str) -> int:
    """What --image-size says. ArgumentTypeError, as argparse wants it, for a size that no network takes."""
    if not text.isdecimal() or not 0 < int(text) <= LARGEST or int(text) % SIZE_MULTIPLE:
        raise argparse.ArgumentTypeError(f"{text} is no positive multiple of {SIZE_MULTIPLE}, {LARGEST} at most")
    return int(text)


def add_drawing_flags(parser: argparse.ArgumentParser, default: Sampler, batch_size: int) -> None:
    """The flags of every program that draws from models; ``chosen_sampler`` reads those of the sampler."""
    parser.add_argument("--sampler", choices=SAMPLERS, default=default.name, help=f"default: {default.name}")
    parser.add_argument("--steps", type=int, help=f"network evaluations per image (default: {default.steps})")
    parser.add_argument(
        "--eta", type=float, help=f"0 = deterministic, 1 = as much noise as DDPM (default: {default.eta:g})"
    )
    parser.add_argument("--spacing", choices=SPACINGS, help=f"dpm: steps even in (default: {SPACINGS[0]})")
    parser.add_argument("--no-clip", action="store_true", help="do not clip x0_hat to [-1, 1] at each step")
    parser.add_argument("--raw-weights", action="store_true", help="the last weights, not their moving average")
    parser.add_argument("--image-size", type=image_size, help="pixels per side (default: the model's, else 32)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn at random (default: 0)")
    parser.add_argument("--batch-size", type=int, default=batch_size, help=f"images at a time (default: {batch_size})")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default: auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of drawing (default: fp32)")
    parser.add_argument("--compile", action="store_true", help="compile first: pays from some minutes of drawing on")


def chosen_sampler(parser: argparse.ArgumentParser, args: argparse.Namespace, default: Sampler) -> Sampler:
    """The sampler that the flags ask for; what they leave out is as in ``default``. Exits with code 2 and a message for
    settings that it does not have."""
    names = ("steps", "eta", "spacing")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.sampler == "ddpm" and given:
        flags = " and ".join(f"--{name}" for name in given)
        parser.error(f"DDPM visits every step, with its own noise: drop {flags}, or choose another --sampler.")
    try:
        return replace(default, name=args.sampler, clip_x0=not args.no_clip, **given)
    except UserError as error:
        parser.error(str(error))


@dataclass(frozen=True)
class Drawable:
    """What images are drawn from.

    ``net`` predicts the noise; ``image_size`` in pixels; ``betas`` and ``n_T`` of its process; ``t_stop``: the lowest
    timestep it has been trained on, 0 for all.
    """

    net: nn.Module
    image_size: int
    betas: tuple[float, float] = (1e-4, 0.02)
    n_T: int = 1000
    t_stop: int = 0


def draw(
    model: Drawable,
    sampler: Sampler,
    count: int,
    first: int = 0,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    compiled: bool = False,
    on_step: Callable[[], object] | None = None,
) -> Tensor:
    """Images ``first`` .. ``first + count - 1`` that ``model``, whose network is moved to ``device``, draws as
    ``sampler`` says: (count, C, image_size, image_size) float32 on the CPU.

    Each is a function of the seed and its number alone (and of the kind of device, whose noise it is), up to rounding,
    which depends on the batch size. ``on_step()`` is called after each of the ``num_evaluations(model, sampler)``
    evaluations of each batch; an exception of it ends the drawing.
    """
    device = torch.device(device)
    set_backend_flags(precision, device)
    net = model.net.to(device)
    process = sampler.process(denoiser(net, precision, device, compiled), model.betas, model.n_T).to(device)
    shape = (net.in_channels, model.image_size, model.image_size)
    done = [torch.empty(0, *shape)]
    with eval_mode(net):
        for start in range(first, first + count, batch_size):
            batch = min(batch_size, first + count - start)
            images = process.sample(
                batch,
                shape,
                generator=BlockNoise(seed, "sampler noise", start, batch, device),
                x_T=BlockNoise(seed, "sample", start, batch).draw(shape),
                t_stop=model.t_stop,
                clip_x0=sampler.clip_x0,
                on_step=on_step,
            )
            done.append(images.float().cpu())
    return torch.cat(done)


class _Interrupted(Exception):
    """Drawing was given up because of a signal."""


def draw_together(
    ranks: Ranks, model: Drawable, sampler: Sampler, count: int, stop: StopSignals | None = None, **how: Any
) -> Tensor | None:
    """Images 0 .. ``count - 1``, of which each rank draws its share and gets all. ``how``: as ``draw``'s.

    All ranks get None if a signal came to one of them, which then leaves off at the next step.
    """

    def check() -> None:
        if stop and stop.received:
            raise _Interrupted

    mine = range(count)[ranks.slice(count)]
    images = torch.empty(0)
    with suppress(_Interrupted):
        images = draw(model, sampler, len(mine), mine.start, device=ranks.device, **({"on_step": check} | how))
    ranks.barrier()  # shares differ in size
    if stop and ranks.all_reduce_max(stop.received):
        return None
    return torch.cat(ranks.all_gather(images))


def to_bytes(images: Tensor) -> Tensor:
    """Float images in [-1, 1] to uint8, rounded exactly as torchvision's save_image writes them to a PNG."""
    return ((images.clamp(-1, 1) / 2 + 0.5) * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def check_samples(images: Tensor, name: str, precision: str) -> None:
    """UserError, naming the model, if a pixel that ``draw`` has drawn in ``precision`` is no number."""
    if not bool(images.isfinite().all()):
        more = "" if precision == "fp32" else ", or take --precision fp32"
        raise UserError(
            f"the samples of {name} are not numbers (NaN or infinite) in {precision}: its run may have diverged. Name "
            f"an earlier checkpoint, stage1.pt say{more}."
        )


def num_evaluations(model: Drawable, sampler: Sampler) -> int:
    """How often ``draw`` asks the network, and calls ``on_step``, for one batch. UserError as ``Sampler.process``."""
    return len(sampler.process(model.net, model.betas, model.n_T).timesteps(model.t_stop))


def denoiser(
    net: nn.Module, precision: str, device: torch.device, compiled: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    """``net`` for sampling, on its ``device``: (x_t, t / n_T) -> noise in ``precision``, "fp32" or "bf16".

    With ``compiled`` it is compiled; what cannot be compiled runs as it is.
    """
    function: Callable[[Tensor, Tensor], Tensor] = net
    if compiled:
        keep_compiled_code()
        torch._dynamo.config.suppress_errors = True  # a frame that cannot be compiled runs as it is
        function = torch.compile(net, dynamic=False)

    layout = memory_format(precision, device, compiled)

    def predict_noise(x: Tensor, t: Tensor) -> Tensor:
        with autocast(precision, device):
            return function(x.contiguous(memory_format=layout), t)

    return predict_noise
