"""DDIM on data whose optimal network is known: independent pixels N(mu, s^2).

There every sampler maps a Gaussian to a Gaussian by an affine step, so that the distribution of its samples follows
from a recursion of two numbers per pixel, computed here in float64.
"""

import math
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from mindiffusion.ddim import DDIM
from mindiffusion.runtime.errors import UserError

SIZE, COUNT = (1, 4, 4), 4096
BETAS, N_T = (1e-4, 0.02), 1000
MU = torch.linspace(-0.6, 0.6, 16, dtype=torch.float64).reshape(SIZE)
S = 0.5


@cache
def schedule() -> tuple[Tensor, Tensor]:
    beta = BETAS[0] + (BETAS[1] - BETAS[0]) * torch.arange(N_T + 1).double() / N_T
    return beta, (1 - beta).cumprod(0)


class Optimal(nn.Module):
    """E[eps | x_t] of the Gaussian data; with s = 0 that of a single image."""

    def __init__(self, s: float = S):
        super().__init__()
        self.s, self.steps = s, []

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        step = round(t[0].item() * N_T)
        self.steps.append(step)
        alphabar = schedule()[1][step].item()
        centred = x.double() - math.sqrt(alphabar) * MU
        return (math.sqrt(1 - alphabar) / (alphabar * self.s**2 + 1 - alphabar) * centred).float()


def ddim_steps(timesteps: list[int], eta: float) -> list[tuple[float, Tensor, float]]:
    """(a, b, sigma) of each step x -> a x + b + sigma z of eq. 12 of Song et al. 2021; at the end alphabar = 1."""
    steps = []
    for step, target in zip(timesteps, [*timesteps[1:], 0], strict=True):
        here = schedule()[1][step].item()
        there = schedule()[1][target].item() if target else 1.0
        c = math.sqrt(1 - here) / (here * S**2 + 1 - here)
        d = -c * math.sqrt(here) * MU  # the optimal network is eps = c x + d
        sigma = eta * math.sqrt((1 - there) / (1 - here) * (1 - here / there))
        ratio = math.sqrt(there / here)
        of_eps = math.sqrt(1 - there - sigma**2) - ratio * math.sqrt(1 - here)
        steps.append((ratio + of_eps * c, of_eps * d, sigma))
    return steps


def distribution(steps: list[tuple[float, Tensor, float]]) -> tuple[Tensor, float]:
    """Mean (1, 4, 4) and standard deviation of the samples, starting from N(0, 1)."""
    mean, variance = torch.zeros_like(MU), 1.0
    for a, b, sigma in steps:
        mean, variance = a * mean + b, a**2 * variance + sigma**2
    return mean, math.sqrt(variance)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def check_samples(samples: Tensor, mean: Tensor, deviation: float) -> None:
    """Sample moments within four standard errors."""
    residual = samples.double() - mean
    assert residual.mean(0).abs().max() < 4 * deviation / math.sqrt(COUNT)
    assert residual.square().mean().sqrt().item() == pytest.approx(deviation, rel=4 / math.sqrt(2 * residual.numel()))


@pytest.mark.parametrize(("steps", "eta"), [(20, 0.0), (20, 0.5), (20, 1.0), (N_T, 0.5), (N_T, 1.0)])
def test_samples_follow_the_linear_gaussian_recursion(steps, eta):
    sampler = DDIM(Optimal(), BETAS, N_T, steps=steps, eta=eta)
    samples = sampler.sample(COUNT, SIZE, generator=seeded(), clip_x0=False)
    mean, deviation = distribution(ddim_steps(sampler.timesteps(), eta))
    check_samples(samples, mean, deviation)
    assert sampler.eps_model.steps == sampler.timesteps()
    if steps == N_T:  # the data's, but for what the finite number of steps leaves
        assert (mean - MU).abs().max() < 2e-3 and deviation == pytest.approx(S, rel=0.01)


def test_eta_0_is_a_fixed_map_of_the_starting_noise_close_to_the_data():
    sampler = DDIM(Optimal(), BETAS, N_T, steps=50, eta=0.0)
    x_T = torch.randn(COUNT, *SIZE, generator=seeded())
    samples = sampler.sample(COUNT, SIZE, x_T=x_T, generator=seeded(1), clip_x0=False)
    assert torch.equal(samples, sampler.sample(COUNT, SIZE, x_T=x_T, generator=seeded(2), clip_x0=False))
    expected = x_T.double()
    for a, b, _ in ddim_steps(sampler.timesteps(), 0.0):
        expected = a * expected + b
    assert torch.allclose(samples.double(), expected, atol=2e-4)
    assert (samples.double().mean(0) - MU).abs().max() < 5 * S / math.sqrt(COUNT)
    assert samples.double().sub(MU).std().item() == pytest.approx(S, rel=0.07)  # the error of 50 steps


@pytest.mark.parametrize(("steps", "eta"), [(1, 0.0), (10, 0.0), (10, 1.0), (N_T, 1.0)])
def test_it_ends_at_x_0_which_for_a_single_image_is_that_image(steps, eta):
    sampler = DDIM(Optimal(s=0.0), BETAS, N_T, steps=steps, eta=eta)
    samples = sampler.sample(16, SIZE, generator=seeded(), clip_x0=False)
    assert (samples.double() - MU).abs().max() < 2e-4  # x_1 would be off by its noise, of 0.014


def test_t_stop_returns_the_posterior_mean_at_its_timestep():
    network = Optimal()
    sampler = DDIM(network, BETAS, N_T, steps=10)
    samples = sampler.sample(COUNT, SIZE, generator=seeded(), t_stop=800, clip_x0=False)
    assert network.steps == sampler.timesteps(800) and network.steps[-1] == 800
    mean, deviation = distribution(ddim_steps(network.steps, 0.0))
    assert deviation < 0.5 * S  # a blurred picture, much nearer to the mean than the data
    check_samples(samples, mean, deviation)


@pytest.mark.parametrize("n_T", [1, 7, 200, 1000])
def test_timesteps_fall_strictly_from_n_T_to_the_stop(n_T):
    for t_stop in {0, 1, n_T // 2, n_T}:
        for steps in {2, 3, n_T // 3, n_T - 1, n_T} - set(range(2 if n_T > 1 else 1)):
            if steps > n_T:
                continue
            visited = DDIM(Optimal(), BETAS, n_T, steps=steps).timesteps(t_stop)
            assert visited[0] == n_T and visited[-1] == max(t_stop, 1)
            assert all(here > following for here, following in pairwise(visited))
            assert len(visited) == min(steps, n_T - max(t_stop, 1) + 1)


@pytest.mark.parametrize("wrong", [{"steps": N_T + 1}, {"steps": 0}, {"eta": -0.1}, {"eta": 1.1}, {"eta": math.nan}])
def test_impossible_steps_and_eta_are_user_errors(wrong):
    with pytest.raises(UserError, match="DDIM"):
        DDIM(Optimal(), BETAS, N_T, **wrong)
