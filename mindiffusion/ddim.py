"""DDIM (Song, Meng and Ermon 2021, arXiv 2010.02502): fewer, optionally deterministic, steps with DDPM's weights."""

from typing import Any

import torch
from torch import Tensor

from mindiffusion.ddpm import DDPM, Estimate, Source, noise_like
from mindiffusion.runtime.errors import UserError


class DDIM(DDPM):
    """A DDPM that samples along a subsequence of its timesteps.

    Args as DDPM's, and ``steps``, the number of network evaluations (at most n_T), and ``eta`` in [0, 1]: 0 is
    deterministic given x_T, 1 has the noise of DDPM's posterior (eq. 16). UserError outside these ranges.
    """

    def __init__(self, *args: Any, steps: int = 50, eta: float = 0.0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        name, most = type(self).__name__, self.n_T
        if not 1 <= steps <= most:
            raise UserError(f"{name} steps is {steps}; it must lie in 1..{most}, the steps the model was trained with.")
        if not 0.0 <= eta <= 1.0:
            raise UserError(f"{name} eta is {eta}; it must lie between 0 (deterministic) and 1 (DDPM's noise).")
        self.steps = steps
        self.eta = eta

    def timesteps(self, t_stop: int = 0) -> list[int]:
        """The timesteps visited, from n_T down to max(t_stop, 1), evenly spaced: ``steps`` or all of them."""
        last = max(t_stop, 1)
        count = min(self.steps, self.n_T - last + 1)
        return torch.linspace(self.n_T, last, count, dtype=torch.float64).round().long().tolist()

    def _jump(self, x: Tensor, here: Estimate, before: Estimate | None, target: int, generator: Source) -> Tensor:
        """x at ``target`` from the estimate ``here`` (eq. 12, with sigma of eq. 16). The last jump goes to x_0 itself:
        to x0_hat. (minDiffusion's sampler returns the x_1 before it, which still carries noise.)"""
        if not target:
            return here.x0
        alphabar, alphabar_target = self.alphabar_t[here.step], self.alphabar_t[target]
        variance = (1 - alphabar_target) / (1 - alphabar) * (1 - alphabar / alphabar_target)
        sigma = self.eta * variance.sqrt()
        x = self.sqrtab[target] * here.x0 + (1 - alphabar_target - sigma**2).clamp(min=0).sqrt() * here.eps
        if self.eta > 0:
            x = x + sigma * noise_like(x, generator)
        return x
