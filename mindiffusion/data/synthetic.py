"""Images whose coarse and fine features are known: x = a1·M1·z1 + a2·M2·z2, with z1, z2 random signs.

The columns of M1 are smooth patterns, those of M2 fine stripes, all orthonormal, and a1 >> a2: a small stand-in for
natural images, whose low frequencies carry most of the energy. As M1 and M2 are known, a scalar product tells whether a
generated image got its coarse and its fine features right.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mindiffusion.runtime.rng import make_generator

SYNTHETIC = "synthetic"  # the data_path that asks for the images of the studies
SYNTHETIC_DEMO = "synthetic-demo"  # and for those of --demo: fewer and bolder patterns

# (vertical frequency, horizontal frequency, RGB direction). The colours were chosen among simple ones so that the four
# patterns of any signs keep within [-1, 1] and leave room for the stripes.
COARSE = ((2, 0, (0.5, 1, -0.2)), (1, 0, (1, 0, -1)), (0, 1, (0, 0.5, 1)), (0, 2, (1, -1, 0)))
# A colour of its own for each pattern leaves room for twice the amplitude.
COARSE_APART = ((1, 0, (1, 0, 0)), (0, 1, (0, 1, 0)), (0, 2, (0, 0, 1)))
FINE_FREQUENCY = 16  # half-waves per 32 pixels, so stripes repeat every 4
# (1 for stripes that alternate from row to row, 1 from column to column, RGB direction)
FINE = tuple((v, h, rgb) for v, h in ((1, 0), (0, 1)) for rgb in ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
FINE_ALONE = ((1, 0, (1, 1, 1)),)  # a network learns one stripe or the other at a time that chance decides: so one


@dataclass(frozen=True)
class Recipe:
    """What the sets of images differ in. Pixels are in [-1, 1], and no combination of signs is clipped."""

    coarse: tuple[tuple[int, int, tuple[float, ...]], ...]  # as COARSE
    fine: tuple[tuple[int, int, tuple[float, ...]], ...]  # as FINE
    coarse_rms: float  # of a pixel, over all coarse patterns
    amplitude_ratio: float  # a1 / a2


RECIPES = {SYNTHETIC: Recipe(COARSE, FINE, 0.32, 4), SYNTHETIC_DEMO: Recipe(COARSE_APART, FINE_ALONE, 0.5, 3)}


@dataclass(frozen=True)
class TwoFeatureModel:
    """The patterns and amplitudes of the data, for images of ``image_size`` S.

    ``coarse`` (J, 3·S·S) and ``fine`` (K, 3·S·S) are float32; J is 4 and K is 6, in the demo 3 and 1. All rows together
    are orthonormal.
    """

    coarse: Tensor
    fine: Tensor
    coarse_amplitude: float
    fine_amplitude: float
    image_size: int


def _pattern(size: int, vertical: int, horizontal: int, color: tuple[float, ...]) -> Tensor:
    """A two-dimensional DCT-II basis function in one colour, flattened to (3·size·size,), of unit norm, float64."""
    angle = (torch.arange(size, dtype=torch.float64) + 0.5) * (math.pi / size)
    rows, columns, rgb = torch.cos(vertical * angle), torch.cos(horizontal * angle), torch.tensor(color).double()
    pattern = torch.einsum("c,h,w->chw", rgb, rows, columns).flatten()
    return pattern / pattern.norm()


def is_synthetic(data_path: str | None) -> bool:
    """Whether ``data_path`` asks for images that are drawn here, and is no folder."""
    return data_path in RECIPES


def two_feature_model(image_size: int = 32, name: str = SYNTHETIC) -> TwoFeatureModel:
    """The patterns of the set ``name`` of RECIPES, for images of ``image_size`` pixels, a multiple of 32 (else
    ValueError). The same on every call.

    A horizontal flip turns each pattern into itself or its negative, so flipped data are data of other signs.
    """
    if image_size <= 0 or image_size % 32:
        raise ValueError(f"image_size must be a multiple of 32, not {image_size}")
    recipe = RECIPES[name]
    scale = image_size // 32  # stripes keep their width in pixels, so they stay the finest detail at every size
    stripes = FINE_FREQUENCY * scale
    coarse = [_pattern(image_size, v, h, rgb) for v, h, rgb in recipe.coarse]
    fine = [_pattern(image_size, v * stripes, h * stripes, rgb) for v, h, rgb in recipe.fine]
    amplitude = recipe.coarse_rms * math.sqrt(3 * image_size**2 / len(coarse))
    return TwoFeatureModel(
        torch.stack(coarse).float(),
        torch.stack(fine).float(),
        amplitude,
        amplitude / recipe.amplitude_ratio,
        image_size,
    )


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
