"""DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095): second order, so a fifth of DDIM's steps will do."""

import math

import torch
from torch import Tensor, nn

from mindiffusion.ddim import DDIM, Estimate, Source
from mindiffusion.ddpm import noise_like
from mindiffusion.runtime.errors import UserError

SPACINGS = ("lambda", "t")


class DPMSolver(DDIM):
    """A DDIM whose steps extrapolate the estimate of the clean image from the two newest ones.

    With lambda_t = log(sqrt(alphabar_t) / sqrt(1 - alphabar_t)), a step from s to t has the length h = lambda_t -
    lambda_s. ``eta`` = 0 is the ODE, 1 the SDE (2M and SDE-2M of the paper), and between them lies the family of SDEs
    with eta times the noise of the reverse process (SA-Solver, Xue et al. 2023, arXiv 2309.05019, where it is tau).

    Args as DDIM's, and ``spacing`` of the timesteps: evenly in "lambda", or in "t", as DDIM's, where the last steps are
    so long in lambda that they overshoot: on Gaussian data 25 steps err 17 times as much. ``noise_above``: a fraction
    of n_T; only an x_t with t above it is given fresh noise, the steps below are the ODE's, as in Karras et al. 2022
    (arXiv 2206.00364), who churn above S_tmin: noise mends colours at high t and leaves grain at low t. UserError
    outside these ranges.
    """

    def __init__(
        self,
        eps_model: nn.Module,
        betas: tuple[float, float] = (1e-4, 0.02),
        n_T: int = 1000,
        criterion: nn.Module | None = None,
        steps: int = 50,
        eta: float = 0.0,
        spacing: str = "lambda",
        noise_above: float = 0.0,
    ):
        super().__init__(eps_model, betas, n_T, criterion, steps, eta)
        if spacing not in SPACINGS:
            raise UserError(f"there is no spacing {spacing!r}: choose from {', '.join(SPACINGS)}.")
        if not 0.0 <= noise_above <= 1.0:
            raise UserError(f"noise_above is {noise_above}; it is a fraction of n_T, from 0 (noise everywhere) to 1.")
        self.spacing = spacing
        self.noise_above = noise_above
        # Numbers, not buffers: the coefficients of a step are worked out in double precision and ask no device.
        self.lambdas = (self.sqrtab.double() / self.sqrtmab.double()).log().tolist()
        self.alphas, self.sigmas = self.sqrtab.tolist(), self.sqrtmab.tolist()

    def timesteps(self, t_stop: int = 0) -> list[int]:
        """The timesteps visited, from n_T down to max(t_stop, 1): as many as DDIM's, ``steps`` or all of them.

        In lambda the lowest timesteps lie further apart than many steps do: then the nearest that are free are taken.
        """
        visited = super().timesteps(t_stop)
        if self.spacing == "t":
            return visited
        lambdas = torch.tensor(self.lambdas, dtype=torch.float64)
        wanted = torch.linspace(self.lambdas[visited[0]], self.lambdas[visited[-1]], len(visited), dtype=torch.float64)
        visited = (lambdas - wanted[:, None]).abs().argmin(1).tolist()
        for place in reversed(range(len(visited) - 1)):
            visited[place] = max(visited[place], visited[place + 1] + 1)
        for place in range(len(visited)):
            visited[place] = min(visited[place], self.n_T - place)
        return visited

    def _jump(self, x: Tensor, here: Estimate, before: Estimate | None, target: int, generator: Source) -> Tensor:
        """x at ``target`` (algorithm 2 of the paper, and its SDE); the first step is first order, which is DDIM's."""
        h = self.lambdas[target] - self.lambdas[here.step]
        clean = here.x0
        if before is not None:
            r = (self.lambdas[here.step] - self.lambdas[before.step]) / h
            clean = clean + (here.x0 - before.x0) / (2 * r)
        noise = self.eta**2 * h if target > self.noise_above * self.n_T else 0.0
        kept = self.sigmas[target] / self.sigmas[here.step] * math.exp(-noise)
        x = kept * x - self.alphas[target] * math.expm1(-h - noise) * clean
        if noise > 0:
            x = x + self.sigmas[target] * math.sqrt(-math.expm1(-2 * noise)) * noise_like(x, generator)
        return x
