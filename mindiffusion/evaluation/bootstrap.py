"""Intervals of statistics by resampling images (Efron and Tibshirani 1993, chapter 13: percentiles)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mindiffusion.evaluation.settings import Settings
from mindiffusion.runtime.rng import make_generator

LEVEL = 0.95
NORMAL_QUANTILE = 1.96  # two-sided 95 %


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; nan bounds where none is known."""

    value: float
    low: float = float("nan")
    high: float = float("nan")

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    @classmethod
    def from_error(cls, value: float, error: float) -> "Estimate":
        """The interval value ± 1.96 standard errors."""
        return cls(value, value - NORMAL_QUANTILE * error, value + NORMAL_QUANTILE * error)


Row = dict[str, Estimate]


def bootstrap(names: Iterable[str], statistic: Callable[..., Tensor], *sets: Tensor, settings: Settings) -> Row:
    """Estimates of the vector ``statistic(*sets)`` under ``names``. Each of ``sets`` (N, ...) holds one entry per image
    and is resampled with replacement, apart from the others. Without resamples the bounds are nan."""
    values = statistic(*sets).double().cpu()
    generator = make_generator(settings.seed, "bootstrap")

    def resampled(each: Tensor) -> Tensor:
        return each[torch.randint(0, len(each), (len(each),), generator=generator)]

    drawn = [statistic(*map(resampled, sets)).double() for _ in range(settings.resamples)]
    tail = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    bounds = torch.stack(drawn).quantile(tail, dim=0) if len(drawn) > 1 else torch.full((2, len(values)), torch.nan)
    numbers = zip(values.tolist(), *bounds.tolist(), strict=True)
    return {name: Estimate(*number) for name, number in zip(names, numbers, strict=True)}
