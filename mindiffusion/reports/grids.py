"""Sample grids: what the model draws now, above real images."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from mindiffusion.config import TrainConfig
from mindiffusion.data.images import ImageData
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.files import write_atomically
from mindiffusion.runtime.rng import BlockNoise, make_generator
from mindiffusion.runtime.signals import StopSignals

COLUMNS = 8


class _Interrupted(Exception):
    """Sampling was given up because of a signal."""


def draw_samples(
    config: TrainConfig,
    ranks: Ranks,
    eps_model: Callable[[Tensor, Tensor], Tensor],
    t_stop: int,
    stop: StopSignals | None = None,
) -> Tensor | None:
    """``config.num_samples`` images (N, 3, S, S) on the CPU, from noise of the seed and their places alone.

    Drawn by ``config.grid_sampler`` down to ``t_stop``. Ranks share the work and all get the result; all get None if a
    signal came to one of them, which then leaves off at the next step.
    """

    def check() -> None:
        if stop and stop.received:
            raise _Interrupted

    shape = (3, config.image_size, config.image_size)
    noise = torch.randn(config.num_samples, *shape, generator=make_generator(config.seed, "grid"))
    mine = noise.tensor_split(ranks.world_size)[ranks.rank]
    first = sum(len(share) for share in noise.tensor_split(ranks.world_size)[: ranks.rank])
    process = config.grid_sampler.process(eps_model, config.betas, config.n_T).to(ranks.device)
    samples = torch.empty(0, *shape)
    if len(mine):
        with suppress(_Interrupted):
            fresh = BlockNoise(config.seed, "grid noise", first, len(mine), ranks.device)
            samples = process.sample(len(mine), shape, generator=fresh, x_T=mine, t_stop=t_stop, on_step=check).cpu()
    ranks.barrier()  # shares differ in size
    if stop and ranks.any(stop.received):
        return None
    return ranks.gather(samples)


def save_grid(path: Path, samples: Tensor, data: ImageData | None = None) -> None:
    """Write samples (N, 3, S, S) in [-1, 1] as a PNG, 8 a row, with a row of the first real images below."""
    from torchvision.utils import make_grid, save_image  # a second of loading that --help should not wait for

    rows = [samples.float().clamp(-1, 1)]
    if data is not None:
        filler = -len(samples) % COLUMNS
        rows.append(-torch.ones(filler, *samples.shape[1:]))
        rows.append(data.images[:COLUMNS].float() / 127.5 - 1.0)
    grid = make_grid(torch.cat(rows), nrow=COLUMNS, normalize=True, value_range=(-1, 1), pad_value=1.0)
    write_atomically(path, lambda temporary: save_image(grid, temporary))
