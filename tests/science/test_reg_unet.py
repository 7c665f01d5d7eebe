"""RegNaiveUnet: the group norms of the right axis, the schedule of lambda, and the proximal step."""

import math

import pytest
import torch
from torch import nn

from mindiffusion.reg_unet import RegNaiveUnet, lambda_schedule
from mindiffusion.runtime.errors import UserError
from mindiffusion.unet import NaiveUnet

LAM = 5e-5


def make_net(method: str = "loss") -> RegNaiveUnet:
    torch.manual_seed(0)
    return RegNaiveUnet(3, 3, 8, method)


def groups(net: nn.Module) -> list[torch.Tensor]:
    """One tensor of weights per output channel of every convolution, looked up by the layer's own statement of it."""
    plain = [layer.weight for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    transposed = [layer.weight.transpose(0, 1) for layer in net.modules() if isinstance(layer, nn.ConvTranspose2d)]
    return [channel for weight in plain + transposed for channel in weight]


def brute_force_penalty(net: nn.Module, lam: float) -> float:
    return lam * sum(math.sqrt(float(group.detach().double().square().sum())) for group in groups(net))


@torch.no_grad()
def test_forward_is_naive_unet_exactly():
    net, naive = make_net(), NaiveUnet(3, 3, 8)
    naive.load_state_dict(net.state_dict())
    x, t = torch.randn(2, 3, 32, 32), torch.rand(2)
    assert torch.equal(net(x, t), naive(x, t))


def test_penalty_agrees_with_a_loop_over_channels():
    net = make_net()
    assert net.get_group_l1_penalty(LAM).item() == pytest.approx(brute_force_penalty(net, LAM), rel=1e-6)
    assert sum(len(norms) for norms in net.channel_norms().values()) == len(groups(net))


def test_gradient_is_the_unit_vector_of_each_group_and_finite_at_a_zero_group():
    net = make_net()
    with torch.no_grad():
        net.out.weight[1] = 0.0
    net.get_group_l1_penalty(LAM).backward()
    assert all(layer.weight.grad.isfinite().all() for _, layer, _ in net.get_conv_layers())
    assert not net.out.weight.grad[1].any()
    expected = LAM * net.out.weight[0].detach() / net.out.weight[0].norm()
    assert torch.allclose(net.out.weight.grad[0], expected, rtol=1e-5)


def test_lambda_schedule_falls_along_a_cosine_to_zero():
    assert lambda_schedule(5e-5, 5) == pytest.approx([5e-5, 4.27e-5, 2.5e-5, 7.3e-6, 0.0], rel=5e-3)
    assert lambda_schedule(5e-5, 5)[0] == 5e-5 and lambda_schedule(5e-5, 5)[-1] == 0.0
    assert lambda_schedule(1.0, 2) == [1.0, 0.0]
    assert lambda_schedule(5e-5, 1) == [0.0]


def test_mistakes_are_user_errors():
    for arguments in ((-1e-5, 5), (5e-5, 0)):
        with pytest.raises(UserError, match="lambda_max"):
            lambda_schedule(*arguments)
    with pytest.raises(UserError, match="'l1'"):
        make_net("l1")


def test_proximal_step_agrees_with_a_loop_over_channels():
    net, threshold = make_net(), 0.9
    expected = [group.detach().clone() for group in groups(net)]
    norms = [group.norm() for group in expected]
    assert min(norms) < threshold < max(norms)
    net.proximal_step(threshold)
    for group, before, norm in zip(groups(net), expected, norms, strict=True):
        if norm < threshold:
            assert not group.any()  # exact zeros
        else:
            assert torch.allclose(group, before * (1.0 - threshold / norm), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("threshold", [0.01, 0.0])
def test_zero_groups_stay_zero_and_biases_stay_as_they_are(threshold):
    net = make_net("proximal")
    with torch.no_grad():
        net.up0[0].weight[:, 2] = 0.0
    biases = {name: p.clone() for name, p in net.named_parameters() if p.dim() < 4}
    for _ in range(2):
        net.proximal_step(threshold)
    assert not net.up0[0].weight[:, 2].any()
    assert all(parameter.isfinite().all() for parameter in net.parameters())
    assert all(torch.equal(net.get_parameter(name), before) for name, before in biases.items())


def test_a_proximal_step_lowers_each_norm_by_the_threshold():
    net = make_net("proximal")
    net.set_lam(0.5)
    before = net.channel_norms()
    net.after_step(lr=0.2)
    after = net.channel_norms()
    for name, norms in before.items():
        assert torch.allclose(after[name], (norms - 0.1).clamp(min=0), atol=1e-5), name


@pytest.mark.parametrize(("method", "lam"), [("loss", LAM), ("proximal", 0.0)])
def test_after_step_does_nothing_for_a_penalty_in_the_loss_or_lambda_zero(method, lam):
    net = make_net(method)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.set_lam(lam)
    net.after_step(lr=1.0)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_penalty_carries_a_gradient_only_when_it_belongs_to_the_loss():
    for method in ("loss", "proximal"):
        net = make_net(method)
        assert net.penalty().item() == 0.0 and not net.penalty().requires_grad  # until a stage sets lambda
        net.set_lam(LAM)
        assert net.penalty().requires_grad == (method == "loss")
        assert net.penalty().item() == pytest.approx(brute_force_penalty(net, LAM), rel=1e-6)


def test_a_compiled_penalty_follows_lambda_and_is_compiled_once():
    net = make_net()
    compiled = torch.compile(net.penalty, backend="eager", fullgraph=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for lam in (0.0, LAM, 2 * LAM):
            net.set_lam(lam)
            assert torch.equal(compiled(), net.penalty())
