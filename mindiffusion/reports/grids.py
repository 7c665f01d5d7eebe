"""The samples of a run's grids: what the model draws now. grid_picture.py makes a picture of them."""

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor
from torch.nn import functional

from mindiffusion.config import TrainConfig
from mindiffusion.ddpm import DDPM
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.rng import BlockNoise, make_generator
from mindiffusion.runtime.signals import StopSignals

BATCH = 64  # samples drawn at a time, on each rank
READABLE = 0.25  # of an image's range of 2: noise of this deviation still lets a face be seen


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
    samples = [torch.empty(0, *shape)]
    with suppress(_Interrupted):
        for start in range(0, len(mine), BATCH):
            x_T = mine[start : start + BATCH]
            fresh = BlockNoise(config.seed, "grid noise", first + start, len(x_T), ranks.device)
            part = process.sample(len(x_T), shape, generator=fresh, x_T=x_T, t_stop=t_stop, on_step=check)
            samples.append(part.cpu())
    ranks.barrier()  # shares differ in size
    if stop and ranks.any(stop.received):
        return None
    return ranks.gather(torch.cat(samples))


def readable_block(process: DDPM, t_stop: int, loss: float, image_size: int) -> int:
    """How many pixels a side must be averaged before x0_hat at ``t_stop`` can be read: a power of two, at least 1.

    A squared error ``loss`` of the noise is an error of sigma_t * sqrt(loss) in x0_hat, where sigma_t =
    sqrt(1 - alphabar_t) / sqrt(alphabar_t) is the ratio of noise to signal: 25 at t = 0.8 T. Averaged over n x n pixels
    it falls to a n-th; READABLE is small enough.
    """
    error = float(process.sqrtmab[t_stop] / process.sqrtab[t_stop]) * loss**0.5
    block = 1
    while error > READABLE * block and block < image_size:
        block *= 2
    return block


def average_blocks(samples: Tensor, block: int) -> Tensor:
    """Samples (N, 3, S, S), each block of ``block`` x ``block`` pixels in its mean colour."""
    means = functional.avg_pool2d(samples, block)
    return functional.interpolate(means, scale_factor=block, mode="nearest")
