"""PreconditionedNaiveUnet: a NaiveUnet between two tables that follow from the schedule of noise."""

import pytest
import torch

from mindiffusion.ddpm import DDPM
from mindiffusion.preconditioned_unet import PreconditionedNaiveUnet
from mindiffusion.runtime.precision import autocast
from mindiffusion.unet import NaiveUnet

TIMESTEPS = (1, 100, 500, 900, 1000)


def silent(**options) -> PreconditionedNaiveUnet:
    """One whose inner network answers 1 everywhere."""
    net = PreconditionedNaiveUnet(3, 3, 8, **options)
    torch.nn.init.zeros_(net.out.weight)
    torch.nn.init.ones_(net.out.bias)
    return net.eval()


def test_it_has_the_parameters_of_a_naive_unet_and_nothing_else_in_its_state():
    net, plain = PreconditionedNaiveUnet(3, 3, 8), NaiveUnet(3, 3, 8)
    assert [(name, value.shape) for name, value in net.state_dict().items()] == [
        (name, value.shape) for name, value in plain.state_dict().items()
    ]


@pytest.mark.parametrize("step", TIMESTEPS)
@torch.no_grad()
def test_the_answer_is_skip_times_x_plus_out_times_the_inner_network(step):
    x, t = torch.randn(2, 3, 32, 32), torch.full((2,), step / 1000)
    net = PreconditionedNaiveUnet(3, 3, 8).eval()
    plain = NaiveUnet(3, 3, 8).eval()
    plain.load_state_dict(net.state_dict())
    assert torch.allclose(net(x, t), net.c_skip[step] * x + net.c_out[step] * plain(x, t), atol=1e-6)


@pytest.mark.parametrize("step", TIMESTEPS)
def test_what_is_left_for_the_inner_network_has_unit_variance_and_no_linear_part(step):
    net, process = silent(), DDPM(NaiveUnet(3, 3, 8))
    generator = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(1, 1, 1000, 1000, generator=generator).double() for _ in range(2))
    x_t = process.q_sample(0.5 * x0, torch.tensor([step]), eps)
    target = (eps - net.c_skip[step].double() * x_t) / net.c_out[step].double()
    assert float(target.var()) == pytest.approx(1.0, rel=5e-3)
    assert abs(float((target * x_t).mean())) < 5e-3


@torch.no_grad()
def test_the_tables_are_those_of_the_process():
    x, t = torch.zeros(1, 3, 32, 32), torch.tensor([0.5])
    longer, other = silent(n_T=2000), silent(betas=(1e-4, 0.05))
    assert torch.allclose(longer(x, t), longer.c_out[1000].expand_as(x))
    assert other.c_out[500] < silent().c_out[500]


@torch.no_grad()
def test_every_timestep_of_the_process_finds_its_own_row():
    net = silent()
    net.c_out.copy_(torch.arange(1001))
    steps = torch.arange(1, 1001)
    for part in steps.split(250):
        answers = net(torch.zeros(len(part), 3, 32, 32), part / 1000)
        assert torch.equal(answers[:, 0, 0, 0].round().long(), part)


@torch.no_grad()
def test_the_sum_is_made_in_float32_under_autocast():
    net, x = silent(), torch.full((1, 3, 32, 32), 1.001)
    with autocast("bf16", torch.device("cpu")):
        answer = net(x, torch.ones(1))
    assert answer.dtype == torch.float32
    assert torch.allclose(answer, net.c_skip[1000] * x + net.c_out[1000], atol=1e-6)
