"""Draw images from a network: what sample.py, evaluate.py, the experiments and the grids of a run share."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mindiffusion.ddim import DDIM
from mindiffusion.ddpm import DDPM
from mindiffusion.experts import ByTime, ExpertNaiveUnet
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.precision import autocast, keep_compiled_code, memory_format, set_backend_flags
from mindiffusion.runtime.rng import BlockNoise

SAMPLERS = ("ddim", "ddpm")


@dataclass(frozen=True)
class Sampler:
    """How images are drawn: the settings, without a network.

    ``name``: "ddim" (Song et al. 2021) or "ddpm" (ancestral sampling of Ho et al. 2020, every step). ``steps``: network
    evaluations per image, DDIM's alone. ``eta``: DDIM's noise, from 0 (deterministic) to 1 (as much as DDPM's
    posterior; the default, as fresh noise washes out what the network gets wrong about the mean colour). ``clip_x0``:
    clip the estimate of the clean image to [-1, 1] at every step.
    """

    name: str = "ddim"
    steps: int = 50
    eta: float = 1.0
    clip_x0: bool = True

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise UserError(f"there is no sampler {self.name!r}: choose from {', '.join(SAMPLERS)}.")
        if self.steps < 1:
            raise UserError(f"steps is {self.steps}; it must lie in 1..n_T, the steps the model was trained with.")
        if not 0.0 <= self.eta <= 1.0:
            raise UserError(f"eta is {self.eta}; it must lie between 0 (deterministic) and 1 (DDPM's noise).")

    def process(
        self, eps_model: Callable[[Tensor, Tensor], Tensor], betas: tuple[float, float] = (1e-4, 0.02), n_T: int = 1000
    ) -> DDPM:
        """The diffusion process that samples so, around ``eps_model(x_t, t / n_T)``. UserError as DDIM's."""
        if self.name == "ddpm":
            return DDPM(eps_model, betas, n_T)
        return DDIM(eps_model, betas, n_T, steps=self.steps, eta=self.eta)

    def describe(self) -> str:
        """In words, for tables and captions: "DDIM, 50 steps, eta 1"."""
        text = "DDPM, all steps" if self.name == "ddpm" else f"DDIM, {self.steps} steps, eta {self.eta:g}"
        return text if self.clip_x0 else f"{text}, x0 not clipped"


def draw_images(
    process: DDPM,
    shape: tuple[int, int, int],
    count: int,
    first: int = 0,
    seed: int = 0,
    batch_size: int = 256,
    t_stop: int = 0,
    clip_x0: bool = True,
    on_step: Callable[[], None] | None = None,
) -> Tensor:
    """Images ``first`` .. ``first + count - 1`` of ``process``, (count, *shape) float32 on the CPU.

    Each is a function of the seed and its number alone (and of the kind of device, whose noise it is), up to rounding,
    which depends on the batch size. ``t_stop`` and ``on_step`` as in DDPM.sample.
    """
    device = process.sqrtab.device
    done = [torch.empty(0, *shape)]
    for start in range(first, first + count, batch_size):
        batch = min(batch_size, first + count - start)
        images = process.sample(
            batch,
            shape,
            generator=BlockNoise(seed, "sampler noise", start, batch, device),
            x_T=BlockNoise(seed, "sample", start, batch).draw(shape),
            t_stop=t_stop,
            clip_x0=clip_x0,
            on_step=on_step,
        )
        done.append(images.float().cpu())
    return torch.cat(done)


def draw_from_network(
    net: nn.Module,
    sampler: Sampler,
    image_size: int,
    count: int,
    first: int = 0,
    seed: int = 0,
    batch_size: int = 256,
    betas: tuple[float, float] = (1e-4, 0.02),
    n_T: int = 1000,
    t_stop: int = 0,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    compiled: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Images ``first`` .. ``first + count - 1`` that ``net``, which is moved to ``device``, draws as ``sampler`` says:
    (count, C, image_size, image_size) float32 on the CPU, see ``draw_images``.

    ``on_step(1)`` is called after each of the ``num_batches(count, batch_size) * num_evaluations(...)`` evaluations.
    """
    device = torch.device(device)
    set_backend_flags(precision, device)
    net.to(device, memory_format=memory_format(precision, device, compiled))
    process = sampler.process(denoiser(net, precision, device, compiled), betas, n_T).to(device)
    shape = (net.in_channels, image_size, image_size)
    step = (lambda: on_step(1)) if on_step else None
    return draw_images(process, shape, count, first, seed, batch_size, t_stop, sampler.clip_x0, step)


def num_batches(count: int, batch_size: int) -> int:
    """Into how many batches ``draw_images`` splits ``count`` images."""
    return -(-count // batch_size)


def num_evaluations(process: DDPM, t_stop: int = 0) -> int:
    """How often ``process.sample`` asks the network, and so calls ``on_step``, for one batch."""
    return len(process.timesteps(t_stop)) if isinstance(process, DDIM) else process.n_T - max(t_stop - 1, 0)


def denoiser(
    net: nn.Module, precision: str, device: torch.device, compiled: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    """``net`` for sampling, on its ``device``: (x_t, t / n_T) -> noise in ``precision``, "fp32" or "bf16".

    With ``compiled`` it is compiled; what cannot be compiled runs as it is. Of experts the answer is a ``ByTime``.
    """
    if isinstance(net, ExpertNaiveUnet):
        high, low = (denoiser(part, precision, device, compiled) for part in (net.high, net.low))
        return ByTime(float(net.border), high, low)
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
