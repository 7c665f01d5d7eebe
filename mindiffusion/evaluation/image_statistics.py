"""Statistics of single images whose means are compared: colour drift, the power spectrum, and of synthetic images how
much of their known features is there (see data/synthetic.py, which the log of a run uses too)."""

import torch
from torch import Tensor

from mindiffusion.data.synthetic import coefficients, recovery_of, two_feature_model
from mindiffusion.evaluation.bootstrap import Estimate, Row, bootstrap
from mindiffusion.evaluation.settings import Settings, per_image

NAMES = ("mean_r", "mean_g", "mean_b", "saturation", "clipped")
CLIP = 1.0 - 1.0 / 255.0  # beyond it a value is black or full in 8 bits


def color_row(samples: Tensor, reference: Tensor, settings: Settings) -> Row:
    """color_error, which is the mean over channels of |difference of their means|; the means of ``NAMES``; and by how
    much samples are too saturated."""

    def statistic(samples: Tensor, reference: Tensor) -> Tensor:
        error = (samples[:, :3].mean(0) - reference[:, :3].mean(0)).abs().mean()
        here, there = samples.mean(0), reference.mean(0)
        return torch.cat((error[None], here, (here - there)[3:4]))

    sets = [per_image(color_statistics, images, settings.device) for images in (samples, reference)]
    return bootstrap(("color_error", *NAMES, "saturation_error"), statistic, *sets, settings=settings)


def color_statistics(images: Tensor) -> Tensor:
    """Statistics (N, 5) per image of (N, 3, S, S) in [-1, 1], in the order of ``NAMES``: the three channel means;
    the spread between a pixel's largest and smallest channel, in [0, 2] (0 = grey); the share of clipped values."""
    means = images.mean((2, 3))
    spread = (images.amax(1) - images.amin(1)).mean((1, 2))
    clipped = (images.abs() > CLIP).float().mean((1, 2, 3))
    return torch.cat((means, spread[:, None], clipped[:, None]), 1)


def spectrum_row(samples: Tensor, reference: Tensor, settings: Settings) -> Row:
    """spectrum_db_LOW, the decibels by which the mean energy of an octave exceeds that of the reference: negative where
    detail is missing (blur), positive where there is too much (noise); and the mean of their magnitudes."""

    def statistic(samples: Tensor, reference: Tensor) -> Tensor:
        error = 10.0 * torch.log10(samples.mean(0).clamp(min=1e-12) / reference.mean(0).clamp(min=1e-12))
        return torch.cat((error, error.abs().mean()[None]))

    names = [*(f"spectrum_db_{low}" for low, _ in frequency_bands(samples.shape[-1])), "spectrum_db"]
    sets = [per_image(band_power, images, settings.device) for images in (samples, reference)]
    return bootstrap(names, statistic, *sets, settings=settings)


def frequency_bands(size: int) -> list[tuple[int, float]]:
    """Octaves [low, high) of spatial frequency in cycles per image: 1-2, 2-4, ..., the last with the corners."""
    lows = [1 << k for k in range((size // 2).bit_length())]
    return [(low, float("inf") if low == lows[-1] else 2.0 * low) for low in lows]


def band_power(images: Tensor) -> Tensor:
    """Energy (N, bands) per image (N, C, S, S) and octave, mean over channels, without that of the mean colour."""
    size = images.shape[-1]
    power = torch.fft.fft2(images.double(), norm="ortho").abs().square().mean(1)  # (N, S, S)
    frequency = torch.fft.fftfreq(size, 1.0 / size, dtype=torch.float64, device=images.device)
    radius = torch.hypot(frequency[:, None], frequency)
    masks = [(radius >= low) & (radius < high) for low, high in frequency_bands(size)]
    return torch.stack([power[:, mask].sum(1) for mask in masks], 1)


def recovery_row(samples: Tensor, reference: Tensor, settings: Settings) -> Row:
    """recovery_coarse, recovery_fine and recovery_outside, of the features of the set ``settings.data_path``."""
    model = two_feature_model(samples.shape[-1], settings.data_path)

    def found(images: Tensor) -> Tensor:
        coarse, fine, outside = coefficients(model, images)
        return torch.cat((coarse, fine, outside[:, None]), 1)

    parts = per_image(found, samples, settings.device).split([len(model.coarse), len(model.fine), 1], 1)
    return {f"recovery_{name}": Estimate(value) for name, value in recovery_of(model, *parts).items()}
