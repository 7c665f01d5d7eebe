"""CurriculumDDPM: a DDPM that draws its training timesteps from a range that a curriculum widens."""

from typing import Any

import torch
from torch import Tensor

from mindiffusion.ddpm import DDPM


class CurriculumDDPM(DDPM):
    """Only the draw of t differs from DDPM, whose args it takes. It starts with the full range, where it is DDPM to the
    last random bit."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.set_time_range(0.0, 1.0)

    def set_time_range(self, t_min: float, t_max: float) -> None:
        """Train on t uniform over the integers max(1, round(t_min * n_T)) .. round(t_max * n_T).

        ``t_min`` and ``t_max`` are fractions of n_T in [0, 1]. ValueError if the range is outside [0, 1], reversed, or
        holds no timestep.
        """
        if not 0.0 <= t_min < t_max <= 1.0:
            raise ValueError(f"time range [{t_min}, {t_max}]: need 0 <= t_min < t_max <= 1.")
        first, last = max(1, round(t_min * self.n_T)), round(t_max * self.n_T)
        if first > last:
            raise ValueError(f"time range [{t_min}, {t_max}] holds no timestep of 1..{self.n_T}.")
        self.first_timestep, self.last_timestep = first, last

    def sample_timesteps(self, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
        """Timesteps (B,) int64, uniform on the current range, both ends included."""
        first, last = self.first_timestep, self.last_timestep
        return torch.randint(first, last + 1, (batch_size,), generator=generator, device=self.sqrtab.device)

    @property
    def t_stop(self) -> int:
        """Where sampling must stop for a network trained on the current range: 0 once the range begins at t = 1."""
        return self.first_timestep if self.first_timestep > 1 else 0
