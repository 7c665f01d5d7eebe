"""How much of the coarse and fine features of the synthetic data, which are known, a set of images shows."""

import math
from dataclasses import dataclass

from torch import Tensor

from mindiffusion.data.synthetic import TwoFeatureModel, coefficients


@dataclass(frozen=True)
class Recovery:
    """How well images show the two features of the synthetic data.

    ``coarse``, ``fine``: 0 as in noise of the level seen outside the features' span (or as in a blank image), 1 as in
    the data. ``outside``: energy per pixel and colour outside the span, 0 in the data.
    """

    coarse: float
    fine: float
    outside: float


def feature_recovery(model: TwoFeatureModel, images: Tensor) -> Recovery:
    """Recovery of M1 and M2 in images (N, 3, S, S).

    In the data each coefficient p is -1 or +1, so 1 - mean((|p| - 1)^2) is 1 there and 0 in a blank image. Noise would
    score too, by its magnitude alone, so the score that noise of the level outside the span gets is taken as the zero.
    """
    return recovery_of(model, *coefficients(model, images))


def recovery_of(model: TwoFeatureModel, coarse: Tensor, fine: Tensor, outside: Tensor) -> Recovery:
    """The same out of what ``coefficients`` found."""
    level = float(outside.mean())
    return Recovery(
        _score(coarse, math.sqrt(level) / model.coarse_amplitude),
        _score(fine, math.sqrt(level) / model.fine_amplitude),
        level,
    )


def _score(p: Tensor, noise: float) -> float:
    seen = 1.0 - float(((p.abs() - 1.0) ** 2).mean())
    # E[1 - (|p| - 1)^2] for p ~ N(0, noise^2), never below the 0 of a blank image
    by_chance = max(0.0, 2.0 * noise * math.sqrt(2.0 / math.pi) - noise**2)
    return max(0.0, (seen - by_chance) / (1.0 - by_chance))
