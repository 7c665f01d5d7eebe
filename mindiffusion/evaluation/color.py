"""Colour drift: channel means, saturation, and values driven to the ends of the range."""

import torch
from torch import Tensor

from mindiffusion.evaluation.bootstrap import bootstrap
from mindiffusion.evaluation.settings import Row, Settings, per_image

NAMES = ("mean_r", "mean_g", "mean_b", "saturation", "clipped")
CLIP = 1.0 - 1.0 / 255.0  # beyond it a value is black or full in 8 bits


def color_row(samples: Tensor, reference: Tensor, settings: Settings) -> Row:
    """color_error, the means of ``NAMES``, and by how much samples are too saturated."""

    def statistic(samples: Tensor, reference: Tensor) -> Tensor:
        here, there = samples.mean(0), reference.mean(0)
        return torch.cat((color_error(samples, reference)[None], here, (here - there)[3:4]))

    names = ["color_error", *NAMES, "saturation_error"]
    sets = [per_image(color_statistics, images, settings.device) for images in (samples, reference)]
    return dict(zip(names, bootstrap(statistic, *sets, seed=settings.seed, resamples=settings.resamples), strict=True))


def color_statistics(images: Tensor) -> Tensor:
    """Statistics (N, 5) per image of (N, 3, S, S) in [-1, 1], in the order of ``NAMES``: the three channel means;
    the spread between a pixel's largest and smallest channel, in [0, 2] (0 = grey); the share of clipped values."""
    means = images.mean((2, 3))
    spread = (images.amax(1) - images.amin(1)).mean((1, 2))
    clipped = (images.abs() > CLIP).float().mean((1, 2, 3))
    return torch.cat((means, spread[:, None], clipped[:, None]), 1)


def color_error(samples: Tensor, reference: Tensor) -> Tensor:
    """The error of the mean colour: |difference| of channel means, averaged over channels, given both statistics."""
    return (samples[:, :3].mean(0) - reference[:, :3].mean(0)).abs().mean()
