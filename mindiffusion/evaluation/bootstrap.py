"""Intervals of statistics by resampling images (Efron and Tibshirani 1993, chapter 13: percentiles)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mindiffusion.runtime.rng import make_generator

LEVEL = 0.95
RESAMPLES = 200
NORMAL_QUANTILE = 1.96  # two-sided 95 %


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; nan bounds where none is known."""

    value: float
    low: float = float("nan")
    high: float = float("nan")

    @classmethod
    def from_error(cls, value: float, error: float) -> "Estimate":
        """The interval value ± 1.96 standard errors."""
        return cls(value, value - NORMAL_QUANTILE * error, value + NORMAL_QUANTILE * error)


def bootstrap(
    statistic: Callable[..., Tensor], *sets: Tensor, seed: int = 0, resamples: int = RESAMPLES
) -> list[Estimate]:
    """Estimates of ``statistic(*sets)``, a vector or a scalar. Each of ``sets`` (N, ...) holds one entry per image and
    is resampled with replacement, apart from the others. Without resamples the bounds are nan."""
    values = torch.atleast_1d(statistic(*sets)).double().cpu()
    if resamples < 2:
        return [Estimate(value) for value in values.tolist()]
    generator = make_generator(seed, "bootstrap")
    drawn = []
    for _ in range(resamples):
        indices = [torch.randint(0, len(each), (len(each),), generator=generator) for each in sets]
        parts = [each[index.to(each.device)] for each, index in zip(sets, indices, strict=True)]
        drawn.append(torch.atleast_1d(statistic(*parts)).double().cpu())
    tail = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    low, high = torch.stack(drawn).quantile(tail, dim=0)
    return [Estimate(*each) for each in zip(values.tolist(), low.tolist(), high.tolist(), strict=True)]
