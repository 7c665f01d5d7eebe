"""Denoising diffusion probabilistic models (Ho, Jain and Abbeel 2020, arXiv 2006.11239)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.rng import BlockNoise

Source = torch.Generator | BlockNoise | None  # of noise; None: PyTorch's own


class Estimate(NamedTuple):
    """What the network said at a timestep: the clean image and the noise, both (B, C, H, W)."""

    step: int
    x0: Tensor
    eps: Tensor


def ddpm_schedules(beta1: float, beta2: float, n_T: int) -> dict[str, Tensor]:
    """Linear betas beta_t = beta1 + (beta2 - beta1) * t / T at t = 0..T and what follows from them.

    Computed in float64, returned as float32, each (T + 1,), under the names of minDiffusion.
    """
    if not 0.0 < beta1 < beta2 < 1.0:
        raise UserError(f"betas are ({beta1}, {beta2}); they must satisfy 0 < beta1 < beta2 < 1.")
    if n_T < 1:
        raise UserError(f"n_T is {n_T}; it must be at least 1.")
    beta_t = beta1 + (beta2 - beta1) * torch.arange(n_T + 1, dtype=torch.float64) / n_T
    alpha_t = 1.0 - beta_t
    alphabar_t = alpha_t.cumprod(0)
    schedules = {
        "alpha_t": alpha_t,
        "oneover_sqrta": alpha_t.rsqrt(),
        "sqrt_beta_t": beta_t.sqrt(),
        "alphabar_t": alphabar_t,
        "sqrtab": alphabar_t.sqrt(),
        "sqrtmab": (1.0 - alphabar_t).sqrt(),
        "mab_over_sqrtmab": beta_t / (1.0 - alphabar_t).sqrt(),
    }
    return {name: values.float() for name, values in schedules.items()}


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put ``module`` in eval mode for the block, and back as it was."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def noise_like(x: Tensor, generator: Source) -> Tensor:
    """Gaussian noise of x's shape (B, C, H, W), on its device, drawn on that of the generator."""
    if isinstance(generator, BlockNoise):
        return generator.draw(x.shape[1:])
    device = x.device if generator is None else generator.device
    return torch.randn(x.shape, generator=generator, device=device).to(x.device)


class DDPM(nn.Module):
    """The forward process, the simple loss, and ancestral sampling, around a network that predicts the noise.

    Args: ``eps_model(x_t, t / n_T)`` -> noise of x_t's shape; ``betas`` = (beta1, beta2) of the linear schedule;
    ``n_T`` steps; ``criterion`` between the true and the predicted noise, by default the mean squared error.
    The schedule's buffers are functions of betas and n_T and stay out of the state dict.
    """

    def __init__(
        self,
        eps_model: nn.Module,
        betas: tuple[float, float] = (1e-4, 0.02),
        n_T: int = 1000,
        criterion: nn.Module | None = None,
    ):
        super().__init__()
        if (made_for := getattr(eps_model, "n_T", n_T)) != n_T:
            raise UserError(f"the network was made for n_T = {made_for}, the process has {n_T}: give both the same.")
        self.eps_model = eps_model
        self.n_T = n_T
        self.criterion = criterion if criterion is not None else nn.MSELoss()
        for name, values in ddpm_schedules(*betas, n_T).items():
            self.register_buffer(name, values, persistent=False)

    # --- training -------------------------------------------------------------------------------------------------

    def sample_timesteps(self, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
        """Timesteps (B,) int64, uniform on 1..n_T."""
        return torch.randint(1, self.n_T + 1, (batch_size,), generator=generator, device=self.sqrtab.device)

    def q_sample(self, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t = sqrt(alphabar_t) x_0 + sqrt(1 - alphabar_t) eps (eq. 4). x and eps (B, C, H, W), t (B,)."""
        return self.sqrtab[t, None, None, None] * x + self.sqrtmab[t, None, None, None] * eps

    def forward(
        self,
        x: Tensor,
        t: Tensor | None = None,
        eps: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The training loss of images x (B, C, H, W) in [-1, 1]: a scalar (Algorithm 1, eq. 14).

        Timesteps ``t`` (B,) and noise ``eps`` (B, C, H, W) are drawn, in this order, unless given.
        """
        if t is None:
            t = self.sample_timesteps(len(x), generator)
        if eps is None:
            eps = torch.randn(x.shape, generator=generator, device=x.device)
        return self.losses(x, t, eps)["loss"]

    def losses(self, x: Tensor, t: Tensor, eps: Tensor) -> dict[str, Tensor]:
        """What a training step computes of images x (B, C, H, W), t (B,) and eps like x, scalars: "loss", which is
        trained, "mse", the plain error, and whatever else a subclass wants to see as a column of metrics.csv."""
        eps_hat = self.eps_model(self.q_sample(x, t, eps), t / self.n_T).float()
        return {"loss": self.loss(eps, eps_hat, t), "mse": functional.mse_loss(eps, eps_hat.detach())}

    def describe_loss(self) -> str:
        """What a reader of the loss must know; "" where it is the plain one."""
        return ""

    def loss(self, eps: Tensor, eps_hat: Tensor, t: Tensor) -> Tensor:
        """The loss of predicted noise eps_hat, like eps (B, C, H, W), at timesteps t (B,): a scalar."""
        return self.criterion(eps, eps_hat)

    # --- sampling -------------------------------------------------------------------------------------------------

    @property
    def t_stop(self) -> int:
        """The timestep that ``sample`` should be stopped at for this training range: 0, all the way to x_0."""
        return 0

    def predict(self, x: Tensor, step: int, clip_x0: bool) -> tuple[Tensor, Tensor]:
        """(x0_hat, eps_hat), both like x (B, C, H, W), at one timestep for the whole batch.

        With ``clip_x0`` the estimate of the clean image is clipped to [-1, 1], and eps_hat is the noise that agrees
        with the clipped estimate.
        """
        t = torch.full((len(x),), step / self.n_T, device=x.device)
        eps = self.eps_model(x, t).float()
        x0 = (x - self.sqrtmab[step] * eps) / self.sqrtab[step]
        if clip_x0:
            x0 = x0.clamp(-1.0, 1.0)
            eps = (x - self.sqrtab[step] * x0) / self.sqrtmab[step]
        return x0, eps

    def timesteps(self, t_stop: int = 0) -> list[int]:
        """The timesteps that ``sample`` visits, from n_T down to max(t_stop, 1): here all of them."""
        return list(range(self.n_T, max(t_stop, 1) - 1, -1))

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
        """Sample -> images (n_sample, *size), in [-1, 1] when clipped.

        ``x_T`` is the noise to start from, drawn unless given; ``on_step`` is called after each network evaluation.
        ``t_stop`` > 0 ends the reverse process there and returns the posterior mean x0_hat: what a network that has
        only been trained on t >= t_stop can say about the image.
        """
        if not 0 <= t_stop <= self.n_T:
            raise UserError(f"t_stop is {t_stop}; it must lie in 0..{self.n_T}.")
        x = self._start(n_sample, size, device, generator, x_T)
        visited, before = self.timesteps(t_stop), None
        with eval_mode(self):
            for step, target in zip(visited, [*visited[1:], 0], strict=True):
                here = Estimate(step, *self.predict(x, step, clip_x0))
                x = here.x0 if step == t_stop else self._jump(x, here, before, target, generator)
                before = here
                if on_step:
                    on_step()
        return x

    def _jump(self, x: Tensor, here: Estimate, before: Estimate | None, target: int, generator: Source) -> Tensor:
        """x at ``target``, the next timestep or 0, from the estimate ``here``: ancestral sampling (Algorithm 2,
        sigma_t^2 = beta_t). The estimate ``before`` is for a solver of second order."""
        x = self.oneover_sqrta[here.step] * (x - self.mab_over_sqrtmab[here.step] * here.eps)
        return x + self.sqrt_beta_t[here.step] * noise_like(x, generator) if target else x

    def _start(
        self,
        n_sample: int,
        size: tuple[int, int, int],
        device: torch.device | str | None,
        generator: Source,
        x_T: Tensor | None,
    ) -> Tensor:
        """Noise (n_sample, *size) on this module's device, from x_T or drawn on the device of the generator."""
        own_device = self.sqrtab.device
        if device is not None and torch.device(device).type != own_device.type:
            raise UserError(f"asked to sample on {device}, but the model is on {own_device}: move the model first.")
        if x_T is None:
            x_T = noise_like(torch.empty(n_sample, *size, device=own_device), generator)
        elif x_T.shape != (n_sample, *size):
            raise UserError(f"x_T has shape {tuple(x_T.shape)}, but {(n_sample, *size)} was asked for.")
        return x_T.to(own_device)
