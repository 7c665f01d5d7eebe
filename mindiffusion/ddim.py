"""DDIM (Song, Meng and Ermon 2021, arXiv 2010.02502): fewer, optionally deterministic, steps with DDPM's weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mindiffusion.ddpm import DDPM, eval_mode, noise_like
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.rng import BlockNoise

Source = torch.Generator | BlockNoise | None  # of fresh noise; None: PyTorch's own


class Estimate(NamedTuple):
    """What the network said at a timestep: the clean image and the noise, both (B, C, H, W)."""

    step: int
    x0: Tensor
    eps: Tensor


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

    @torch.no_grad()
    def sample(
        self,
        n_sample: int,
        size: tuple[int, int, int],
        device: torch.device | str | None = None,
        generator: Source = None,
        x_T: Tensor | None = None,
        t_stop: int = 0,
        clip_x0: bool = True,
        on_step: Callable[[], None] | None = None,
    ) -> Tensor:
        """Sample with eq. 12 -> images (n_sample, *size). Arguments as DDPM.sample.

        The last jump goes to x_0 itself: from the last timestep visited, the result is x0_hat. (minDiffusion's sampler
        returns the x_1 before it, which still carries noise.)
        """
        self._check_t_stop(t_stop)
        x = self._start(n_sample, size, device, generator, x_T)
        visited = self.timesteps(t_stop)
        before = None
        with eval_mode(self):
            for step, target in zip(visited, [*visited[1:], 0], strict=True):
                here = Estimate(step, *self.predict(x, step, clip_x0))
                x = self._jump(x, here, before, target, generator) if target else here.x0
                before = here
                if on_step:
                    on_step()
        return x

    def _jump(self, x: Tensor, here: Estimate, before: Estimate | None, target: int, generator: Source) -> Tensor:
        """x at ``target`` from the estimate ``here`` (eq. 12, with sigma of eq. 16). ``x`` and
        the estimate ``before`` are for a solver of second order."""
        alphabar, alphabar_target = self.alphabar_t[here.step], self.alphabar_t[target]
        variance = (1 - alphabar_target) / (1 - alphabar) * (1 - alphabar / alphabar_target)
        sigma = self.eta * variance.sqrt()
        x = self.sqrtab[target] * here.x0 + (1 - alphabar_target - sigma**2).clamp(min=0).sqrt() * here.eps
        if self.eta > 0:
            x = x + sigma * noise_like(x, generator)
        return x
