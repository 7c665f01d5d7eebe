"""Held-out loss and variational bound against closed forms: Gaussian data, whose best noise estimate is known."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from mindiffusion.ddpm import DDPM, ddpm_schedules
from mindiffusion.evaluation.likelihood import (
    NUM_BANDS,
    band_of,
    decoder_nats,
    held_out_errors,
    prior_nats,
    step_nats,
    timestep_strata,
)

T = 200
BETAS = (1e-4, 0.1)  # so that 200 steps end in noise, as 1000 steps of the default schedule do
DEVIATION = 0.25
SCHEDULE = ddpm_schedules(*BETAS, T)
ALPHABAR = SCHEDULE["alphabar_t"].double()
BETA = SCHEDULE["sqrt_beta_t"].double() ** 2


class BestNoise(nn.Module):
    """E[eps | x_t] for images of independent N(mean, deviation^2) values, plus a constant error per channel."""

    def __init__(self, mean: float = 0.0, offset: float = 0.0):
        super().__init__()
        self.mean, self.offset = mean, offset

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        alphabar = ALPHABAR[(t * T).round().long()].float()[:, None, None, None]
        centred = x - alphabar.sqrt() * self.mean
        return (1 - alphabar).sqrt() * centred / (alphabar * DEVIATION**2 + 1 - alphabar) + self.offset


VALUES = DEVIATION * torch.randn(48, 3, 32, 32, generator=torch.Generator().manual_seed(0))
IMAGES = ((VALUES + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1  # of 8 bits
ERRORS = held_out_errors(DDPM(BestNoise(), BETAS, T), IMAGES)


@pytest.mark.parametrize("n_T", [1000, 200, 100, 40, 10])
def test_strata_cover_every_timestep_once_and_cross_no_band(n_T):
    strata = timestep_strata(n_T)
    assert [t for first, last in strata for t in range(first, last + 1)] == list(range(1, n_T + 1))
    assert strata[0] == (1, 1)
    assert all(band_of(first, n_T) == band_of(last, n_T) for first, last in strata)
    assert {band_of(t, n_T) for t in range(1, n_T + 1)} == set(range(NUM_BANDS))


def test_the_loss_of_the_best_estimate_is_that_of_theory_in_every_band():
    t = torch.arange(1, T + 1)
    expected = ALPHABAR[t] * DEVIATION**2 / (ALPHABAR[t] * DEVIATION**2 + 1 - ALPHABAR[t])
    measured = ERRORS.band_losses(ERRORS.noise).mean(0)
    for band in range(NUM_BANDS):
        here = expected[[band_of(int(each), T) == band for each in t]].mean()
        assert float(measured[band]) == pytest.approx(float(here), rel=0.05)
    assert float(ERRORS.mean_loss(ERRORS.noise).mean()) == pytest.approx(float(expected.mean()), rel=0.02)


def test_a_constant_error_is_all_in_the_channel_means():
    biased = held_out_errors(DDPM(BestNoise(offset=0.3), BETAS, T), IMAGES)
    rest = biased.noise - biased.dc
    assert torch.allclose(rest, ERRORS.noise - ERRORS.dc, atol=1e-5)
    assert float(biased.dc.mean() - ERRORS.dc.mean()) == pytest.approx(0.09, abs=0.002)
    assert float(ERRORS.dc.mean()) < 2e-3  # white error: a 1024th of it is in the means


def test_the_bound_lies_just_above_the_entropy_of_the_data_and_higher_for_a_worse_network():
    entropy = 0.5 * math.log2(2 * math.pi * math.e * DEVIATION**2) + math.log2(127.5)
    bits = float(ERRORS.bits_per_dim().mean())
    assert entropy - 0.02 < bits < entropy + 0.25
    worse = held_out_errors(DDPM(BestNoise(mean=0.2), BETAS, T), IMAGES)
    assert float(worse.bits_per_dim().mean()) > bits + 0.05


@pytest.mark.parametrize("t", [2, 3, 50, T])
def test_a_step_is_the_divergence_of_two_gaussians(t):
    x0, x0_hat, x_t = 0.3, -0.2, 0.7

    def mean(x0: float) -> float:  # of q(x_{t-1} | x_t, x_0), eq. 7
        to_x0 = ALPHABAR[t - 1].sqrt() * BETA[t] / (1 - ALPHABAR[t])
        to_x_t = (1 - BETA[t]).sqrt() * (1 - ALPHABAR[t - 1]) / (1 - ALPHABAR[t])
        return float(to_x0 * x0 + to_x_t * x_t)

    variance = float((1 - ALPHABAR[t - 1]) / (1 - ALPHABAR[t]) * BETA[t])
    expected = kl_divergence(
        Normal(torch.tensor(mean(x0), dtype=torch.float64), math.sqrt(variance)),
        Normal(torch.tensor(mean(x0_hat), dtype=torch.float64), BETA[t].sqrt()),
    )
    distance = torch.tensor([(x0 - x0_hat) ** 2], dtype=torch.float64)
    got = step_nats(distance, torch.tensor([t]), BETA, ALPHABAR)
    assert float(got) == pytest.approx(float(expected), rel=1e-5)


def test_the_prior_term_is_the_divergence_from_white_noise():
    alphabar = 0.2
    x = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    expected = kl_divergence(Normal(math.sqrt(alphabar) * x, math.sqrt(1 - alphabar)), Normal(0.0, 1.0)).mean()
    assert float(prior_nats(x, alphabar)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("mean", [-1.3, -1.0, 0.1, 0.999])
def test_the_decoder_gives_all_256_values_a_mass_of_one_together_and_some_to_those_far_away(mean):
    levels = torch.arange(256).float() / 127.5 - 1
    nats = decoder_nats(levels, torch.full_like(levels, mean), 0.02)
    assert float(torch.exp(-nats).sum()) == pytest.approx(1.0, abs=1e-6)
    far = decoder_nats(torch.tensor([1.0, 0.0, -1.0]), torch.tensor([-1.0, 0.9, 1.0]), 0.01)
    assert torch.isfinite(far).all() and float(far.min()) > 1000


def test_all_networks_are_asked_the_same_in_batches_of_the_size_told():
    process, seen = DDPM(BestNoise(), BETAS, T), set()
    process.eps_model.register_forward_hook(lambda module, inputs, output: seen.add(len(output)))
    again = held_out_errors(process, IMAGES, batch_size=20)
    assert seen == {20, 8}
    assert torch.allclose(again.noise, ERRORS.noise, rtol=1e-5)
    assert torch.allclose(again.nats, ERRORS.nats, rtol=1e-4)
    assert not torch.equal(held_out_errors(process, IMAGES, seed=1).noise, ERRORS.noise)
