"""Images whose coarse and fine features are known, and how much of these a set of images shows.

An image is x = a1·M1·z1 + a2·M2·z2, with z1, z2 random signs. The columns of M1 are smooth patterns, those of M2 fine
stripes, all orthonormal, and a1 >> a2: a small stand-in for natural images, whose low frequencies carry most of the
energy. As M1 and M2 are known, a scalar product tells whether a generated image got its features right.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mindiffusion.runtime.rng import make_generator

# Other images are another set, under another name: a checkpoint is not continued on images that it has not seen.
SYNTHETIC = "synthetic"  # the data_path that asks for the images of the studies
SYNTHETIC_DEMO = "synthetic-tiles"  # and for those of --demo, which a small network learns in minutes

# (vertical frequency, horizontal frequency, RGB direction). The colours were chosen among simple ones so that the four
# patterns of any signs keep within [-1, 1] and leave room for the stripes.
COARSE = ((2, 0, (0.5, 1, -0.2)), (1, 0, (1, 0, -1)), (0, 1, (0, 0.5, 1)), (0, 2, (1, -1, 0)))
FINE_FREQUENCY = 16  # half-waves per 32 pixels, so stripes repeat every 4
# (1 for stripes that alternate from row to row, 1 from column to column, RGB direction)
FINE = tuple((v, h, rgb) for v, h in ((1, 0), (0, 1)) for rgb in ((1, 0, 0), (0, 1, 0), (0, 0, 1)))

# The demo's images are 4 x 4 tiles, each of one of eight colours, under stripes of one of two phases. Tiles are small:
# of a pattern that fills the image a small network makes up its mind in each region apart from the others, so its
# samples are blends. Stripes whose phase changes within a tile are learned more slowly.
TILES = 4  # to a side
RED_GREEN_BLUE, WHITE = ((1, 0, 0), (0, 1, 0), (0, 0, 1)), ((1, 1, 1),)


def _cosines(size: int) -> tuple[list[Tensor], list[Tensor]]:
    """Two-dimensional DCT-II basis functions: coarse ones and stripes, which keep their width in pixels and so stay the
    finest detail at every size."""
    angle = (torch.arange(size, dtype=torch.float64) + 0.5) * (math.pi / size)
    stripes = FINE_FREQUENCY * size // 32

    def pattern(v: int, h: int, color: Sequence[float]) -> Tensor:
        return _outer(color, torch.cos(v * angle), torch.cos(h * angle))

    return [pattern(*each) for each in COARSE], [pattern(v * stripes, h * stripes, rgb) for v, h, rgb in FINE]


def _tiles(size: int) -> tuple[list[Tensor], list[Tensor]]:
    """Tiles in red, green and blue, and white stripes in each: + - - + in four rows, so the two are orthogonal."""
    tile = torch.ones(size // TILES, dtype=torch.float64)
    stripes = torch.cos((torch.arange(size // TILES, dtype=torch.float64) + 0.5) * (FINE_FREQUENCY * math.pi / 32))

    def everywhere(rows: Tensor, columns: Tensor, colors: Sequence[Sequence[float]]) -> list[Tensor]:
        places = torch.eye(size // len(rows), dtype=torch.float64)
        return [
            _outer(color, torch.kron(down, rows), torch.kron(right, columns))
            for down, right, color in itertools.product(places, places, colors)
        ]

    return everywhere(tile, tile, RED_GREEN_BLUE), everywhere(stripes, tile, WHITE)


def _outer(color: Sequence[float], rows: Tensor, columns: Tensor) -> Tensor:
    """The product of a colour and two profiles (size,), flattened to (3 * size * size,), of unit norm, float64."""
    pattern = torch.einsum("c,h,w->chw", torch.tensor(color, dtype=torch.float64), rows, columns).flatten()
    return pattern / pattern.norm()


# Of each set: its patterns at an image size; the RMS of a pixel over all coarse ones; a1 / a2, of one pattern: there
# are more coarse ones in the demo, with 7 times the energy. Pixels are in [-1, 1], no combination of signs is clipped.
RECIPES = {SYNTHETIC: (_cosines, 0.32, 4), SYNTHETIC_DEMO: (_tiles, 0.5, 1.5)}


@dataclass(frozen=True)
class TwoFeatureModel:
    """The patterns and amplitudes of the data, for images of ``image_size`` S.

    ``coarse`` (J, 3·S·S) and ``fine`` (K, 3·S·S) are float32; J is 4 and K is 6, in the demo 48 and 16. All rows
    together are orthonormal.
    """

    coarse: Tensor
    fine: Tensor
    coarse_amplitude: float
    fine_amplitude: float
    image_size: int


def is_synthetic(data_path: str | None) -> bool:
    """Whether ``data_path`` asks for images that are drawn here, and is no folder."""
    return data_path in RECIPES


def two_feature_model(image_size: int = 32, name: str = SYNTHETIC) -> TwoFeatureModel:
    """The patterns of the set ``name`` of RECIPES, for images of ``image_size`` pixels, a multiple of 32 (else
    ValueError). A horizontal flip turns each into itself, its negative or another one: flipped data are such data too.
    """
    if image_size <= 0 or image_size % 32:
        raise ValueError(f"image_size must be a multiple of 32, not {image_size}")
    patterns, coarse_rms, amplitude_ratio = RECIPES[name]
    coarse, fine = patterns(image_size)
    amplitude = coarse_rms * math.sqrt(3 * image_size**2 / len(coarse))
    coarse, fine = torch.stack(coarse).float(), torch.stack(fine).float()
    return TwoFeatureModel(coarse, fine, amplitude, amplitude / amplitude_ratio, image_size)


def render(model: TwoFeatureModel, z1: Tensor, z2: Tensor) -> Tensor:
    """Images (N, 3, S, S), float32 in about [-1, 1], of coarse signs ``z1`` (N, J) and fine signs ``z2`` (N, K)."""
    pixels = model.coarse_amplitude * (z1.float() @ model.coarse.to(z1.device))
    pixels += model.fine_amplitude * (z2.float() @ model.fine.to(z2.device))
    return pixels.reshape(-1, 3, model.image_size, model.image_size)


def synthetic_images(num_images: int, image_size: int, seed: int, name: str = SYNTHETIC) -> Tensor:
    """A set ``name`` of ``num_images`` images with fair random signs: uint8 (num_images, 3, image_size, image_size)."""
    model = two_feature_model(image_size, name)
    k1, k2 = len(model.coarse), len(model.fine)
    generator = make_generator(seed, "synthetic", 0)
    signs = torch.randint(0, 2, (num_images, k1 + k2), generator=generator, dtype=torch.int8) * 2 - 1
    images = torch.empty(num_images, 3, image_size, image_size, dtype=torch.uint8)
    for part, z in zip(images.split(1024), signs.split(1024), strict=True):  # bounds the memory of the float images
        part.copy_(((render(model, z[:, :k1], z[:, k1:]) + 1) * 127.5).round().clamp(0, 255))
    return images


def coefficients(model: TwoFeatureModel, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How much of each pattern the float ``images`` (N, 3, S, S), in [-1, 1], contain.

    Returns the coarse (N, J) and fine (N, K) projections in units of a1 and a2, which are the signs ±1 for real data,
    and the energy per value (N,) outside both: the squared norm of the rest divided by 3·S·S.
    """
    pixels = images.flatten(1).float()
    coarse, fine = model.coarse.to(pixels.device), model.fine.to(pixels.device)
    p1, p2 = pixels @ coarse.T, pixels @ fine.T
    outside = (pixels - p1 @ coarse - p2 @ fine).square().mean(1)
    return p1 / model.coarse_amplitude, p2 / model.fine_amplitude, outside


def recovery_of(model: TwoFeatureModel, coarse: Tensor, fine: Tensor, outside: Tensor) -> dict[str, float]:
    """How well images show the two features, out of what ``coefficients`` found in them: "coarse" and "fine", 1 in the
    data; and "outside", the energy per pixel and colour outside their span, 0 in the data.

    In the data each coefficient p is -1 or +1, so 1 - mean((|p| - 1)^2) is 1 there and 0 in a blank image. Noise would
    score too, by its magnitude alone, so the score that noise of the level outside the span gets is taken as the zero.
    """
    level = float(outside.mean())
    return {
        "coarse": _score(coarse, math.sqrt(level) / model.coarse_amplitude),
        "fine": _score(fine, math.sqrt(level) / model.fine_amplitude),
        "outside": level,
    }


def _score(p: Tensor, noise: float) -> float:
    seen = 1.0 - float(((p.abs() - 1.0) ** 2).mean())
    # E[1 - (|p| - 1)^2] for p ~ N(0, noise^2), never below the 0 of a blank image
    by_chance = max(0.0, 2.0 * noise * math.sqrt(2.0 / math.pi) - noise**2)
    return max(0.0, (seen - by_chance) / (1.0 - by_chance))
