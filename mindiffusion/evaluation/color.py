"""Colour drift: channel means, saturation, and values driven to the ends of the range."""

import torch
from torch import Tensor

NAMES = ("mean_r", "mean_g", "mean_b", "saturation", "clipped")
CLIP = 1.0 - 1.0 / 255.0  # beyond it a value is black or full in 8 bits


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
