"""SoftCurriculumDDPM: a DDPM whose loss favours high noise at first and comes down to the plain one."""

from torch import Tensor, nn

from mindiffusion.ddpm import DDPM
from mindiffusion.preconditioned_unet import SIGMA_DATA

MOST = 400.0  # the largest weight before the power; reached at t = 0.67 T


class SoftCurriculumDDPM(DDPM):
    """Only the loss differs from DDPM: timestep t counts w_t = min(1 / c_out(t)^2, 400)^power / mean.

    c_out(t) is what a PreconditionedNaiveUnet multiplies its inner answer with, so power 1 weighs the errors of the
    inner network alike at all t (EDM, Karras et al. 2022, arXiv 2206.00364, table 1: lambda = 1 / c_out^2), up to the
    limit. Power 0 is the plain loss (eq. 14 of Ho et al. 2020), which is nearly all of low noise. A schedule of powers
    from 1 down to 0 is a curriculum from coarse to fine in which no timestep is ever left out, so none is forgotten.
    """

    loss_weight: Tensor

    def __init__(self, eps_model: nn.Module, betas: tuple[float, float] = (1e-4, 0.02), n_T: int = 1000):
        super().__init__(eps_model, betas, n_T)
        self.power = 0.0
        alphabar = self.alphabar_t.double()
        inverse = (1.0 + (1.0 - alphabar) / (SIGMA_DATA**2 * alphabar)).clamp(max=MOST)
        self.inverse_c_out_squared = inverse  # (T + 1,), on the CPU: some GPUs have no float64
        self.register_buffer("loss_weight", inverse.new_ones(n_T + 1).float(), persistent=False)  # (T + 1,)

    def set_power(self, power: float) -> None:
        """Weigh the timesteps by this power, 0 (plain) to 1 (all noise levels alike). ValueError outside."""
        if not 0.0 <= power <= 1.0:
            raise ValueError(f"the power of the weight is {power}; it must lie in [0, 1].")
        self.power = power
        weight = self.inverse_c_out_squared**power
        self.loss_weight.copy_(weight / weight[1:].mean())  # in place: a compiled step reads it

    def describe_loss(self) -> str:
        """That it cannot be compared, while it is weighted."""
        return "the loss is weighted by noise level: compare mse" if self.power else ""

    def loss(self, eps: Tensor, eps_hat: Tensor, t: Tensor) -> Tensor:
        """The mean over images of w_t times the mean squared error, a scalar."""
        return (self.loss_weight[t] * (eps_hat - eps).square().mean((1, 2, 3))).mean()
