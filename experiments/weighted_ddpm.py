"""WeightedDDPM: noise levels weighted, by how often they are drawn and by how much their loss counts; an experiment."""

import torch
from torch import Tensor, nn

from mindiffusion.curriculum_ddpm import CurriculumDDPM


class WeightedDDPM(CurriculumDDPM):
    """A CurriculumDDPM with two kinds of weights; both at 0 it is a CurriculumDDPM but for its random draws.

    ``tilt``: timesteps have a density proportional to (t - t_min)^tilt on the current range; 1 draws its upper half
    three times as often as its lower. ``gamma``: the loss at t counts (1 + SNR(t))^-gamma = (1 - alphabar_t)^gamma,
    P2 weighting with k = 1 (Choi et al. 2022, arXiv 2204.00227, eq. 8). ValueError if either is below 0.
    """

    def __init__(self, eps_model: nn.Module, betas: tuple[float, float], n_T: int, tilt: float, gamma: float):
        super().__init__(eps_model, betas, n_T)
        if tilt < 0 or gamma < 0:
            raise ValueError(f"tilt is {tilt} and gamma {gamma}; both must be at least 0.")
        self.tilt = tilt
        self.gamma = gamma

    def sample_timesteps(self, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
        """Timesteps (B,) int64: first + floor(count * u^(1 / (1 + tilt))) with u uniform on [0, 1)."""
        u = torch.rand(batch_size, generator=generator, device=self.sqrtab.device)
        count = self.last_timestep - self.first_timestep + 1
        return self.first_timestep + (count * u ** (1 / (1 + self.tilt))).long().clamp(max=count - 1)

    def forward(self, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """The weighted loss of images x (B, C, H, W) in [-1, 1] at timesteps t (B,) with noise eps like x: a scalar."""
        error = self.eps_model(self.q_sample(x, t, eps), t / self.n_T).float() - eps
        return (self.sqrtmab[t] ** (2 * self.gamma) * error.square().mean((1, 2, 3))).mean()
