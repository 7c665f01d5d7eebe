"""Radial power spectrum: does each band of spatial frequencies hold as much energy in samples as in real images?"""

import torch
from torch import Tensor

from mindiffusion.evaluation.bootstrap import bootstrap
from mindiffusion.evaluation.settings import Row, Settings, per_image


def spectrum_row(samples: Tensor, reference: Tensor, settings: Settings) -> Row:
    """spectrum_db_LOW per octave, and the mean of their magnitudes."""

    def statistic(samples: Tensor, reference: Tensor) -> Tensor:
        error = spectrum_error(samples, reference)
        return torch.cat((error, error.abs().mean()[None]))

    names = [*(f"spectrum_db_{low}" for low, _ in frequency_bands(samples.shape[-1])), "spectrum_db"]
    sets = [per_image(band_power, images, settings.device) for images in (samples, reference)]
    return dict(zip(names, bootstrap(statistic, *sets, seed=settings.seed, resamples=settings.resamples), strict=True))


def frequency_bands(size: int) -> list[tuple[int, float]]:
    """Octaves [low, high) of spatial frequency in cycles per image: 1-2, 2-4, ..., the last with the corners."""
    lows = [1 << k for k in range((size // 2).bit_length())]
    return [(low, float("inf") if low == lows[-1] else 2.0 * low) for low in lows]


def band_power(images: Tensor) -> Tensor:
    """Energy (N, bands) per image (N, C, S, S) and octave, mean over channels. The mean colour (frequency 0) is left
    out: colour.py looks at it."""
    size = images.shape[-1]
    power = torch.fft.fft2(images.double(), norm="ortho").abs().square().mean(1)  # (N, S, S)
    frequency = torch.fft.fftfreq(size, 1.0 / size, dtype=torch.float64, device=images.device)
    radius = torch.hypot(frequency[:, None], frequency)
    masks = [(radius >= low) & (radius < high) for low, high in frequency_bands(size)]
    return torch.stack([power[:, mask].sum(1) for mask in masks], 1)


def spectrum_error(samples: Tensor, reference: Tensor) -> Tensor:
    """Decibels (bands,) by which the mean energy of samples exceeds that of the reference, from ``band_power`` of each:
    negative where detail is missing (blur), positive where there is too much (noise)."""
    return 10.0 * torch.log10(samples.mean(0).clamp(min=1e-12) / reference.mean(0).clamp(min=1e-12))
