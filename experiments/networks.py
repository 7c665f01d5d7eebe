"""A trained network that draws, compiled once whatever the sampler."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mindiffusion.checkpoints.models import open_model
from mindiffusion.checkpoints.weights import weights_digest
from mindiffusion.ddpm import DDPM
from mindiffusion.evaluation.settings import to_bytes
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.precision import memory_format, set_backend_flags
from mindiffusion.sampling import Sampler, denoiser, draw_images, num_evaluations


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
    digest: str  # of its weights

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
    return Network(net, model.betas, model.n_T, shape, device, precision, compiled, weights_digest(model.weights.state))
