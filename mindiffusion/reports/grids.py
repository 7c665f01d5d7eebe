"""The samples of a run's grids: what the model draws now. grid_picture.py makes a picture of them."""

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

from mindiffusion.config import TrainConfig
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.rng import BlockNoise, make_generator
from mindiffusion.runtime.signals import StopSignals


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
