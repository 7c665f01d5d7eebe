"""BalancedDDPM: a CurriculumDDPM whose loss weighs all noise levels alike."""

from torch import Tensor, nn

from mindiffusion.curriculum_ddpm import CurriculumDDPM

MOST = 20.0  # the largest ratio of noise to signal that is told apart; reached at t = 0.77 T


class BalancedDDPM(CurriculumDDPM):
    """Only the loss differs from CurriculumDDPM: timestep t counts w_t = min(sigma_t, 20) / mean, with sigma_t =
    sqrt(1 - alphabar_t) / sqrt(alphabar_t), the ratio of noise to signal.

    A network's error of the noise falls roughly as 1 / sigma_t, from 0.4 at the lowest tenth of the timesteps to 0.002
    at the highest. Unweighted (eq. 14 of Ho et al. 2020) the gradient is thus nearly all of low noise, and what a
    curriculum has learned of high noise is lost as soon as low noise is unlocked. The weight lies half way, in the
    geometric mean, between the error of the noise (weight 1) and that of the image (weight sigma_t^2), and puts all
    levels on one scale without anything to be tuned or saved. Compare the learned weights of EDM2 (Karras et al. 2024,
    arXiv 2312.02696) and min-SNR (Hang et al. 2023, arXiv 2303.09556), which lower the weight of low noise alone.
    """

    def __init__(
        self,
        eps_model: nn.Module,
        betas: tuple[float, float] = (1e-4, 0.02),
        n_T: int = 1000,
    ):
        super().__init__(eps_model, betas, n_T)
        sigma = (self.sqrtmab.double() / self.sqrtab.double()).clamp(max=MOST)
        self.register_buffer("loss_weight", (sigma / sigma[1:].mean()).float(), persistent=False)  # (T + 1,)

    def loss(self, eps: Tensor, eps_hat: Tensor, t: Tensor) -> Tensor:
        """The mean over images of w_t times the mean squared error, a scalar."""
        return (self.loss_weight[t] * (eps_hat - eps).square().mean((1, 2, 3))).mean()
