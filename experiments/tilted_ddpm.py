"""TiltedDDPM: noise levels weighted by how often they are drawn, an experiment beside the curriculum's ranges."""

import torch
from torch import Tensor, nn

from mindiffusion.curriculum_ddpm import CurriculumDDPM


class TiltedDDPM(CurriculumDDPM):
    """A CurriculumDDPM whose timesteps have a density proportional to (t - t_min)^tilt on the current range.

    ``tilt`` = 0 is uniform; 1 draws the upper half of the range three times as often as the lower. ValueError below 0.
    """

    def __init__(self, eps_model: nn.Module, betas: tuple[float, float], n_T: int, tilt: float):
        super().__init__(eps_model, betas, n_T)
        if tilt < 0:
            raise ValueError(f"tilt is {tilt}; it must be at least 0.")
        self.tilt = tilt

    def sample_timesteps(self, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
        """Timesteps (B,) int64: first + floor(count * u^(1 / (1 + tilt))) with u uniform on [0, 1)."""
        u = torch.rand(batch_size, generator=generator, device=self.sqrtab.device)
        count = self.last_timestep - self.first_timestep + 1
        return self.first_timestep + (count * u ** (1 / (1 + self.tilt))).long().clamp(max=count - 1)
