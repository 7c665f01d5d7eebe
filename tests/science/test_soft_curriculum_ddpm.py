"""SoftCurriculumDDPM: the loss of DDPM with weights that come down to none, and nothing else changed."""

import pytest
import torch
from torch import nn

from mindiffusion.ddpm import DDPM
from mindiffusion.preconditioned_unet import PreconditionedNaiveUnet
from mindiffusion.soft_curriculum_ddpm import MOST, SoftCurriculumDDPM


class Guess(nn.Module):
    """A network that answers 0."""

    def forward(self, x, t):
        return torch.zeros_like(x)


@pytest.fixture
def process():
    return SoftCurriculumDDPM(Guess())


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    x, eps = (torch.randn(2, 3, 32, 32, generator=generator) for _ in range(2))
    return x, torch.tensor([10, 900]), eps


def test_it_begins_as_ddpm_and_comes_back_to_it_at_power_0(process, batch):
    plain = float(DDPM(Guess())(*batch))
    assert float(process(*batch)) == pytest.approx(plain, rel=1e-6)
    process.set_power(1.0)
    assert float(process(*batch)) != pytest.approx(plain, rel=1e-2)
    process.set_power(0.0)
    assert float(process(*batch)) == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("power", (1.0, 0.5, 0.25))
def test_the_weight_is_a_power_of_one_over_c_out_squared_with_a_limit_and_mean_1(process, power):
    process.set_power(power)
    weight = process.loss_weight[1:].double()
    c_out = PreconditionedNaiveUnet(3, 3, 8).c_out[1:].double()
    expected = (1 / c_out**2).clamp(max=MOST) ** power
    assert torch.allclose(weight, expected / expected.mean(), rtol=1e-4)
    assert weight.mean() == pytest.approx(1.0, rel=1e-5)
    assert torch.all(weight.diff() >= 0)
    assert weight[672] < weight[673] == weight[-1]  # the limit is met at t = 674


def test_the_loss_is_each_images_error_times_the_weight_of_its_timestep(process, batch):
    process.set_power(0.75)
    errors = batch[2].square().mean((1, 2, 3))
    expected = (process.loss_weight[10] * errors[0] + process.loss_weight[900] * errors[1]) / 2
    losses = process.losses(*batch)
    assert float(losses["loss"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(losses["mse"]) == pytest.approx(float(errors.mean()), rel=1e-5)  # the plain one is measured beside it
    assert torch.equal(losses["loss"], process(*batch)) and "weighted" in process.describe_loss()


def test_it_draws_what_ddpm_draws_and_saves_nothing(process):
    process.set_power(0.5)
    draws = [p.sample_timesteps(64, torch.Generator().manual_seed(3)) for p in (process, DDPM(Guess()))]
    assert torch.equal(*draws)
    assert process.state_dict() == {}


@pytest.mark.parametrize("power", (-0.1, 1.1))
def test_a_power_outside_its_range_is_refused(process, power):
    with pytest.raises(ValueError, match="must lie in"):
        process.set_power(power)
