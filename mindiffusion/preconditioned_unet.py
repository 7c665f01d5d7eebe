"""PreconditionedNaiveUnet: a NaiveUnet that is asked only for what a straight line through its input does not know."""

from torch import Tensor

from mindiffusion.ddpm import ddpm_schedules
from mindiffusion.unet import NaiveUnet

SIGMA_DATA = 0.5  # standard deviation of the pixels of images in [-1, 1]: the value of EDM


class PreconditionedNaiveUnet(NaiveUnet):
    """eps_hat = c_skip(t) x_t + c_out(t) F(x_t, t), where F is a NaiveUnet: the preconditioning of EDM (Karras et al.
    2022, arXiv 2206.00364, table 1), written for a network that predicts the noise.

    With s the standard deviation of the data, and alphabar that of timestep t,

        c_skip = sqrt(1 - alphabar) / v,   c_out = s sqrt(alphabar / v),   v = s^2 alphabar + 1 - alphabar:

    c_skip x_t is the best linear guess of the noise, and c_out the size of what it misses, so F's target has unit
    variance at all t. At low noise c_skip is nearly 0 and c_out nearly 1, and F is what NaiveUnet predicts. At high
    noise nearly all of x_t is noise and goes straight to the output. A NaiveUnet cannot pass it on so exactly: its
    first GroupNorm takes the mean and the scale of x_t away, and its small errors there are large ones of the image.

    Args as NaiveUnet's, with as many channels out as in, and ``betas`` and ``n_T`` of the process. The parameters are
    NaiveUnet's; the two tables follow from betas and n_T and stay out of the state dict.
    """

    parametrization = "what a straight line misses of the noise"
    c_skip: Tensor
    c_out: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        n_feat: int = 256,
        betas: tuple[float, float] = (1e-4, 0.02),
        n_T: int = 1000,
    ):
        super().__init__(in_channels, out_channels, n_feat)
        self.n_T = n_T
        self.args |= {"betas": list(betas), "n_T": n_T}
        alphabar = ddpm_schedules(*betas, n_T)["alphabar_t"].double()
        variance = SIGMA_DATA**2 * alphabar + 1.0 - alphabar
        self.register_buffer("c_skip", ((1.0 - alphabar).sqrt() / variance).float(), persistent=False)  # (T + 1,)
        self.register_buffer("c_out", (SIGMA_DATA * (alphabar / variance).sqrt()).float(), persistent=False)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x_t (B, C, H, W) with H and W multiples of 32, t (B,) in [0, 1], a multiple of 1 / n_T -> noise like x,
        in float32 under autocast too."""
        step = (t * self.n_T).round().long()
        answer = super().forward(x, t).float()
        return self.c_skip[step, None, None, None] * x + self.c_out[step, None, None, None] * answer
