"""BalancedDDPM: the loss of CurriculumDDPM with all noise levels on one scale, and nothing else changed."""

import pytest
import torch
from torch import nn

from mindiffusion.balanced_ddpm import BalancedDDPM
from mindiffusion.curriculum_ddpm import CurriculumDDPM


class Guess(nn.Module):
    """A network that answers 0."""

    def forward(self, x, t):
        return torch.zeros_like(x)


def test_the_weight_is_the_ratio_of_noise_to_signal_up_to_20_with_mean_1():
    process = BalancedDDPM(Guess())
    weight = process.loss_weight[1:]
    assert weight.mean() == pytest.approx(1.0, rel=1e-5)
    ratio = (1 - process.alphabar_t.double()).sqrt() / process.alphabar_t.double().sqrt()
    for t in (1, 100, 500, 750):
        assert float(weight[t - 1] / weight[499]) == pytest.approx(float(ratio[t] / ratio[500]), rel=1e-4)
    top = weight[ratio[1:] > 20]
    assert len(top) > 200 and torch.all(top == top[0])
    assert torch.all(weight.diff() >= 0)


def test_the_loss_is_each_images_error_times_the_weight_of_its_timestep():
    process = BalancedDDPM(Guess())
    x, eps = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32)
    t = torch.tensor([10, 900])
    errors = eps.square().mean((1, 2, 3))
    expected = (process.loss_weight[10] * errors[0] + process.loss_weight[900] * errors[1]) / 2
    assert float(process(x, t, eps)) == pytest.approx(float(expected), rel=1e-5)
    assert float(process(x, t, eps)) != pytest.approx(float(CurriculumDDPM(Guess())(x, t, eps)), rel=1e-2)


def test_it_draws_what_the_curriculum_draws_and_saves_nothing():
    plain, balanced = CurriculumDDPM(Guess()), BalancedDDPM(Guess())
    for process in (plain, balanced):
        process.set_time_range(0.4, 1.0)
    draws = [p.sample_timesteps(64, torch.Generator().manual_seed(3)) for p in (plain, balanced)]
    assert torch.equal(*draws)
    assert balanced.state_dict() == {}
