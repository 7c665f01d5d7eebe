"""CandidateDDPM: SoftCurriculumDDPM on a range of timesteps, with a choice of weights; for what was tried beside S."""

from torch import nn

from mindiffusion.curriculum_ddpm import CurriculumDDPM
from mindiffusion.runtime.errors import UserError
from mindiffusion.soft_curriculum_ddpm import SoftCurriculumDDPM

MIN_SNR_GAMMA = 5.0  # the value of the paper


class CandidateDDPM(SoftCurriculumDDPM, CurriculumDDPM):
    """Timestep t counts w_t^power / mean over the range of the stage, from which t is drawn.

    ``weight``: "edm", w_t = min(1 / c_out(t)^2, 400), as SoftCurriculumDDPM; or "min_snr", w_t = min(SNR_t, 5) / SNR_t
    with SNR_t = alphabar_t / (1 - alphabar_t) (Hang et al. 2023, arXiv 2303.09556, for a network that predicts the
    noise): it takes weight from t < 0.13 T, where the SNR is above 5. UserError for another weight.
    """

    def __init__(self, eps_model: nn.Module, betas: tuple[float, float], n_T: int, weight: str):
        super().__init__(eps_model, betas, n_T)
        snr = self.alphabar_t.double() / (1.0 - self.alphabar_t.double())
        weights = {"edm": self.inverse_c_out_squared, "min_snr": snr.clamp(max=MIN_SNR_GAMMA) / snr}
        if weight not in weights:
            raise UserError(f"there is no weight {weight!r}: choose from {', '.join(weights)}.")
        self.register_buffer("full_weight", weights[weight].clone(), persistent=False)  # (T + 1,)

    def set_power(self, power: float) -> None:
        """Weigh the timesteps of the current range by this power, 0 (plain) to 1. Call after ``set_time_range``."""
        weight = self.full_weight**power
        self.loss_weight.copy_(weight / weight[self.first_timestep : self.last_timestep + 1].mean())
