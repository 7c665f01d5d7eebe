"""Sliced Wasserstein distance per level of a Laplacian pyramid (Karras et al. 2018, arXiv 1710.10196, section 5).

Level S compares 7x7 patches of the band of detail that images of S pixels can show and images of S/2 cannot; the last
level is the coarse rest, colour included. Small numbers mean like distributions: which level is large tells whether the
coarse or the fine is wrong, without a pretrained network.

Deviations from the published procedure, each on purpose:
- Patches of both sets are normalised with the mean and deviation of the reference alone. Normalising each set by its
  own ("own") hides a drift of colour or contrast, which is what ails these samples.
- Where a level has fewer than 128 patches, each is taken once instead of some of them often.
"""

import torch
from torch import Tensor
from torch.nn import functional

from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.rng import make_generator

PATCH = 7  # pixels
PATCHES_PER_IMAGE = 128
DIRECTIONS = 512  # random projections
SMALLEST_LEVEL = 8  # pixels: the last level that holds a patch
SCALE = 1000.0  # distances are published times a thousand
NORMALIZATIONS = ("reference", "own")
BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)  # of Burt and Adelson 1983


def laplacian_pyramid(images: Tensor) -> dict[int, Tensor]:
    """Images (N, C, S, S), S = 8 times a power of two, as {S: detail, S/2: detail, ..., 8: coarse rest}.

    Each level is (N, C, level, level). UserError for another size.
    """
    size = images.shape[-1]
    if size < SMALLEST_LEVEL or size & (size - 1):
        raise UserError(f"SWD needs a power of two of at least {SMALLEST_LEVEL} pixels per side; these have {size}.")
    levels = {}
    while size > SMALLEST_LEVEL:
        smaller = _blur(images)[:, :, ::2, ::2]
        levels[size] = images - _enlarge(smaller)
        images, size = smaller, size // 2
    levels[size] = images
    return levels


def patches(level: Tensor, seed: int) -> Tensor:
    """Patches (N, P, C*7*7) of one level (N, C, S, S): 128 places drawn per image, or all where there are fewer."""
    count, _, size, _ = level.shape
    places = size - PATCH + 1
    if places**2 <= PATCHES_PER_IMAGE:
        return functional.unfold(level, PATCH).transpose(1, 2)
    generator = make_generator(seed, "swd patches", size)
    drawn = torch.randint(0, places, (2, count, PATCHES_PER_IMAGE, 1, 1), generator=generator).to(level.device)
    offset = torch.arange(PATCH, device=level.device)
    rows, columns = drawn[0] + offset[:, None], drawn[1] + offset  # (N, P, 7, 1), (N, P, 1, 7)
    index = torch.arange(count, device=level.device)[:, None, None, None]
    return level[index, :, rows, columns].permute(0, 1, 4, 2, 3).flatten(2)


def swd_per_level(
    samples: Tensor, reference: Tensor, seed: int = 0, normalization: str = "reference", resamples: int = 0
) -> dict[int, tuple[float, float]]:
    """{level: (distance, standard error)} between images (N, C, S, S) and (M, C, S, S).

    Of the larger set only as many images are used as the smaller has. The standard error is that of a bootstrap over
    images of both sets, with fewer projections and patches (hence a little on the large side); nan without resamples.
    """
    count = min(len(samples), len(reference))
    pyramids = (laplacian_pyramid(samples[:count].float()), laplacian_pyramid(reference[:count].float()))
    result = {}
    for size in pyramids[0]:
        a, b = (patches(pyramid[size], seed) for pyramid in pyramids)
        channels = samples.shape[1]
        statistics_b = _channel_statistics(b, channels)
        a = _normalize(a, channels, _channel_statistics(a, channels) if normalization == "own" else statistics_b)
        b = _normalize(b, channels, statistics_b)
        directions = _directions(a.shape[-1], seed, size, a.device)
        error = _standard_error(a, b, directions[:, : DIRECTIONS // 8], seed, resamples) if resamples else float("nan")
        result[size] = (sliced_wasserstein(a.flatten(0, 1), b.flatten(0, 1), directions), error)
    return result


def sliced_wasserstein(a: Tensor, b: Tensor, directions: Tensor) -> float:
    """The Wasserstein-1 distance of two sets of points (K, D), averaged over unit ``directions`` (D, R), times 1000."""
    parts = [
        (torch.sort(some @ a.T).values - torch.sort(some @ b.T).values).abs().mean(1)
        for some in directions.T.split(64)  # bounds the memory
    ]
    return SCALE * float(torch.cat(parts).mean())


def _standard_error(a: Tensor, b: Tensor, directions: Tensor, seed: int, resamples: int) -> float:
    """Of the distance between patches (N, P, D), by resampling images. A bootstrap's own values are too large, as it
    repeats images; only their spread is used."""
    generator = make_generator(seed, "swd bootstrap")
    few = slice(None, PATCHES_PER_IMAGE // 4)
    a, b = ((each[:, few] @ directions).permute(2, 0, 1) for each in (a, b))  # (R, N, P')
    distances = []
    for _ in range(resamples):
        i, j = (torch.randint(0, a.shape[1], (a.shape[1],), generator=generator).to(a.device) for _ in range(2))
        one, other = a[:, i].flatten(1).sort().values, b[:, j].flatten(1).sort().values
        distances.append(SCALE * float((one - other).abs().mean()))
    return float(torch.tensor(distances).std())


def _directions(width: int, seed: int, size: int, device: torch.device) -> Tensor:
    directions = torch.randn(width, DIRECTIONS, generator=make_generator(seed, "swd directions", size))
    return (directions / directions.norm(dim=0)).to(device)


def _channel_statistics(points: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation per colour channel, over images, places and pixels."""
    pixels = points.unflatten(-1, (channels, -1)).double()
    return pixels.mean((0, 1, 3)).float(), pixels.std((0, 1, 3)).float()


def _normalize(points: Tensor, channels: int, statistics: tuple[Tensor, Tensor]) -> Tensor:
    mean, deviation = (each[:, None] for each in statistics)
    return ((points.unflatten(-1, (channels, -1)) - mean) / deviation.clamp(min=1e-6)).flatten(-2)


def _kernel(images: Tensor) -> Tensor:
    line = torch.tensor(BINOMIAL, dtype=images.dtype, device=images.device)
    kernel = torch.outer(line, line) / line.sum() ** 2
    return kernel.expand(images.shape[1], 1, -1, -1)


def _blur(images: Tensor) -> Tensor:
    padded = functional.pad(images, (2, 2, 2, 2), mode="reflect")
    return functional.conv2d(padded, _kernel(images), groups=images.shape[1])


def _enlarge(images: Tensor) -> Tensor:
    """Twice the size: zeros between the pixels, then the blur, whose reflected border keeps a constant constant."""
    count, channels, size, _ = images.shape
    spread = images.new_zeros(count, channels, 2 * size, 2 * size)
    spread[:, :, ::2, ::2] = images
    return 4.0 * _blur(spread)
