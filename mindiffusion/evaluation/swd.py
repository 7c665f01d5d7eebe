"""Sliced Wasserstein distance per level of a Laplacian pyramid (Karras et al. 2018, arXiv 1710.10196, section 5).

Level S compares 7x7 patches of the band of detail that images of S pixels can show and images of S/2 cannot; the last
level is the coarse rest, colour included. Small numbers mean like distributions: which level is large tells whether the
coarse or the fine is wrong, without a pretrained network.

Deviations from the published procedure, each on purpose:
- Patches of both sets are normalised with the mean and deviation of the reference alone. Normalising each set by its
  own ("own") hides a drift of colour or contrast, which is what ails these samples.
- Where a level has fewer than 128 patches, each is taken once instead of some of them often.

Memory does not grow with the number of images: patches are cut from a chunk of images at a time, and projected onto as
many directions as MOST_VALUES allows before they are sorted. Normalising is left to the directions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mindiffusion.evaluation.bootstrap import Estimate, Row
from mindiffusion.evaluation.settings import CHUNK, Settings, to_float
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.rng import make_generator

PATCH = 7  # pixels
PATCHES_PER_IMAGE = 128
DIRECTIONS = 512  # random projections
RESAMPLES = 20
SMALLEST_LEVEL = 8  # pixels: the last level that holds a patch
SCALE = 1000.0  # distances are published times a thousand
NORMALIZATIONS = ("reference", "own")
BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)  # of Burt and Adelson 1983
MOST_VALUES = 2**25  # projected at a time, of each set: 128 MiB


def swd_row(samples: Tensor, reference: Tensor, settings: Settings) -> Row:
    """swd_SIZE per level, and their mean, between images (N, C, S, S) and (M, C, S, S), uint8 or float in [-1, 1].

    Of the larger set only as many images are used as the smaller has. The intervals are those of a bootstrap over
    images of both sets, with fewer projections and patches (hence a little on the large side). UserError for a size
    without a pyramid.
    """
    count = min(len(samples), len(reference))
    least, most = (directions * count * PATCHES_PER_IMAGE for directions in (1, DIRECTIONS))
    room = max(least, min(most, MOST_VALUES))
    rooms = torch.empty(2, room, device=settings.device)  # once: freed ones would leave holes
    levels = {}
    for size in level_sizes(samples.shape[-1]):
        places = _places(count, size, settings.seed)
        a, b = (_Level(images[:count], size, places, settings.device) for images in (samples, reference))
        scale_b = b.statistics()
        scale_a = a.statistics() if settings.swd_normalization == "own" else scale_b
        levels[f"swd_{size}"] = _distance((a, b), (scale_a, scale_b), rooms, settings)
    # Levels vary together: there is no gain from averaging their errors.
    levels["swd"] = tuple(sum(each) / len(levels) for each in zip(*levels.values(), strict=True))
    return {name: Estimate.from_error(*level) for name, level in levels.items()}


def laplacian_pyramid(images: Tensor) -> dict[int, Tensor]:
    """Float images (N, C, S, S), S = 8 times a power of two, as {S: detail, S/2: detail, ..., 8: coarse rest}.

    Each level is (N, C, level, level). UserError for another size.
    """
    levels = {}
    for size in level_sizes(images.shape[-1]):
        blur = _blur(size).to(images)
        if size == SMALLEST_LEVEL:
            levels[size] = images
        else:
            smaller = blur[::2] @ images @ blur[::2].T
            spread = 2.0 * blur[:, ::2]  # zeros between the pixels, then the blur: a constant stays constant
            levels[size] = images - spread @ smaller @ spread.T
            images = smaller
    return levels


def _blur(size: int) -> Tensor:
    """The binomial blur of a line of pixels as a matrix (size, size); borders are reflected."""
    line = functional.pad(torch.eye(size)[:, None], (2, 2), mode="reflect")
    return functional.conv1d(line, torch.tensor(BINOMIAL)[None, None] / sum(BINOMIAL))[:, 0].T


def level_sizes(size: int) -> list[int]:
    """The levels of images of ``size`` pixels, from fine to coarse."""
    if size < SMALLEST_LEVEL or size & (size - 1):
        raise UserError(f"SWD needs a power of two of at least {SMALLEST_LEVEL} pixels per side; these have {size}.")
    return [size >> k for k in range((size // SMALLEST_LEVEL).bit_length())]


def patches(level: Tensor, places: Tensor) -> Tensor:
    """Patches (N, P, C*7*7) of one level (N, C, S, S), whose upper left corners are ``places`` (2, N, P)."""
    offset = torch.arange(PATCH)
    rows, columns = places.long()[..., None, None]
    rows, columns = (rows + offset[:, None]).to(level.device), (columns + offset).to(level.device)  # (N, P, 7, 1) ...
    index = torch.arange(len(level), device=level.device)[:, None, None, None]
    return level[index, :, rows, columns].permute(0, 1, 4, 2, 3).flatten(2)


def _places(count: int, size: int, seed: int) -> Tensor:
    """Rows and columns (2, N, P) of the patches of each image: all there are, or 128 that are drawn."""
    places = torch.arange(size - PATCH + 1)
    if len(places) ** 2 <= PATCHES_PER_IMAGE:
        return torch.cartesian_prod(places, places).T[:, None].expand(-1, count, -1)
    generator = make_generator(seed, "swd patches", size)
    return torch.randint(0, len(places), (2, count, PATCHES_PER_IMAGE, 1, 1), generator=generator).short()[..., 0, 0]


@dataclass(frozen=True)
class _Level:
    """The patches of one level of a set of images, cut anew whenever they are asked for."""

    images: Tensor
    size: int
    places: Tensor
    device: torch.device

    def chunks(self) -> Iterator[Tensor]:
        """(n, P, C*7*7) on the device."""
        for images, places in zip(self.images.split(CHUNK), self.places.split(CHUNK, 1), strict=True):
            yield patches(laplacian_pyramid(to_float(images.to(self.device)))[self.size], places)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation per colour channel (C,), over images, places and pixels, on the CPU in float64."""
        count, total, squares = 0, 0.0, 0.0
        for part in self.chunks():
            pixels = part.unflatten(-1, (self.images.shape[1], -1)).double()
            count += pixels[:, :, 0].numel()
            total, squares = total + pixels.sum((0, 1, 3)).cpu(), squares + pixels.square().sum((0, 1, 3)).cpu()
        mean = total / count
        return mean, ((squares - count * mean**2) / (count - 1)).clamp(min=0).sqrt()

    def project(self, directions: Tensor, scale: tuple[Tensor, Tensor], room: Tensor) -> Tensor:
        """Normalised patches on directions (C*7*7, R): (R, N, P), which lies in ``room``."""
        mean, deviation = (each.repeat_interleave(PATCH**2)[:, None] for each in scale)
        scaled = directions.double() / deviation.clamp(min=1e-6)
        middle = (mean * scaled).sum(0).float().to(self.device)
        scaled = scaled.float().to(self.device)
        values = room[: directions.shape[1] * self.places[0].numel()].view(-1, *self.places.shape[1:])
        for some, part in zip(values.split(CHUNK, 1), self.chunks(), strict=True):
            some.copy_((part @ scaled - middle).permute(2, 0, 1))
        return values


def _distance(
    levels: tuple[_Level, _Level], scales: tuple[tuple[Tensor, Tensor], ...], rooms: Tensor, settings: Settings
) -> tuple[float, float]:
    """The Wasserstein-1 distance of two sets of patches, averaged over directions, times 1000, and its standard error
    by resampling images (nan without). A bootstrap's own values are too large, as it repeats images; only their spread
    is used."""
    images, size, places = levels[0].images, levels[0].size, levels[0].places
    count, width, resamples = len(images), images.shape[1] * PATCH**2, RESAMPLES if settings.resamples else 0
    directions = torch.randn(width, DIRECTIONS, generator=make_generator(settings.seed, "swd directions", size))
    directions /= directions.norm(dim=0)
    generator = make_generator(settings.seed, "swd bootstrap")
    resampled = [torch.randint(0, count, (2, count), generator=generator) for _ in range(resamples)]
    few, step = DIRECTIONS // 8, max(1, rooms.shape[1] // places[0].numel())
    distance, spread = 0.0, torch.zeros(resamples, dtype=torch.float64)
    for part, indices in ((directions[:, :few], resampled), (directions[:, few:], [])):
        for some in part.split(step, 1):
            a, b = (each.project(some, *with_what) for each, *with_what in zip(levels, scales, rooms, strict=True))
            for number, (i, j) in enumerate(indices):
                spread[number] += _apart(*(x[:, k.to(x.device), : PATCHES_PER_IMAGE // 4] for x, k in ((a, i), (b, j))))
            distance += _apart(a, b)
    error = SCALE / few * float(spread.std()) if resamples else float("nan")
    return SCALE / DIRECTIONS * distance, error


def _apart(a: Tensor, b: Tensor) -> float:
    """The distance of two sets of values (R, N, P), summed over R. Sorts them in place."""
    a, b = (_sort(each.flatten(1)) for each in (a, b))
    return float(a.sub_(b).abs_().mean(1).sum())


def _sort(values: Tensor) -> Tensor:
    """The rows of a matrix sorted. On a CPU by numpy, in place: 40 times as fast as torch.sort, which keeps indices."""
    if values.is_cuda:
        return values.sort().values
    values.numpy().sort(axis=1)
    return values
