"""At which resolution the samples of an unfinished curriculum can be read. grid_picture.py makes a picture of them."""

from torch import Tensor
from torch.nn import functional

from mindiffusion.ddpm import DDPM

READABLE = 0.25  # of an image's range of 2: noise of this deviation still lets a face be seen


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
    """Samples (N, C, S, S), each block of ``block`` x ``block`` pixels in its mean colour."""
    means = functional.avg_pool2d(samples, block)
    return functional.interpolate(means, scale_factor=block, mode="nearest")
