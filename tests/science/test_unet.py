"""NaiveUnet against the original: names, shapes, size, and a second implementation of the forward pass."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from mindiffusion.runtime.errors import UserError
from mindiffusion.unet import NaiveUnet, TimeSiren


def expected_shapes(c_in: int, c_out: int, n: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the original's state dict, written out independently of the package."""
    shapes = {}

    def layer(name, weight, bias):
        shapes[f"{name}.weight"] = weight
        if bias:
            shapes[f"{name}.bias"] = (bias,)

    def conv3(name, i, o):
        for block, inputs in (("main.0", i), ("conv.0", o), ("conv.3", o)):
            head, index = block.split(".")
            layer(f"{name}.{block}", (o, inputs, 3, 3), o)
            layer(f"{name}.{head}.{int(index) + 1}", (o,), o)

    conv3("init_conv", c_in, n)
    for name, i, o in (("down1", n, n), ("down2", n, 2 * n), ("down3", 2 * n, 2 * n)):
        conv3(f"{name}.model.0", i, o)
    layer("timeembed.lin1", (2 * n, 1), None)
    layer("timeembed.lin2", (2 * n, 2 * n), 2 * n)
    layer("up0.0", (2 * n, 2 * n, 4, 4), 2 * n)
    layer("up0.1", (2 * n,), 2 * n)
    for name, i, o in (("up1", 4 * n, 2 * n), ("up2", 4 * n, n), ("up3", 2 * n, n)):
        layer(f"{name}.model.0", (i, o, 2, 2), o)
        conv3(f"{name}.model.1", o, o)
        conv3(f"{name}.model.2", o, o)
    layer("out", (c_out, 2 * n, 3, 3), c_out)
    return shapes


def reference_forward(w: dict[str, torch.Tensor], x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The forward pass, from the weights by name."""

    def triple(x, name, index):
        norm = f"{name}.{index + 1}"
        x = F.conv2d(x, w[f"{name}.{index}.weight"], w[f"{name}.{index}.bias"], stride=1, padding=1)
        return F.relu(F.group_norm(x, 8, w[f"{norm}.weight"], w[f"{norm}.bias"]))

    def conv3(x, name, residual=False):
        first = triple(x, f"{name}.main", 0)
        last = triple(triple(first, f"{name}.conv", 0), f"{name}.conv", 3)
        return (first + last) / 1.414 if residual else last

    def up(x, skip, name):
        x = torch.cat([x, skip], dim=1)
        x = F.conv_transpose2d(x, w[f"{name}.model.0.weight"], w[f"{name}.model.0.bias"], stride=2)
        return conv3(conv3(x, f"{name}.model.1"), f"{name}.model.2")

    x0 = conv3(x, "init_conv", residual=True)
    d1 = F.max_pool2d(conv3(x0, "down1.model.0"), 2)
    d2 = F.max_pool2d(conv3(d1, "down2.model.0"), 2)
    d3 = F.max_pool2d(conv3(d2, "down3.model.0"), 2)
    vector = F.relu(F.avg_pool2d(d3, 4))
    temb = torch.sin(t.reshape(-1, 1) @ w["timeembed.lin1.weight"].T)
    temb = (temb @ w["timeembed.lin2.weight"].T + w["timeembed.lin2.bias"])[:, :, None, None]
    y = F.conv_transpose2d(vector + temb, w["up0.0.weight"], w["up0.0.bias"], stride=4)
    y = F.relu(F.group_norm(y, 8, w["up0.1.weight"], w["up0.1.bias"]))
    y = up(y, d3, "up1") + temb
    y = up(up(y, d2, "up2"), d1, "up3")
    return F.conv2d(torch.cat([y, x0], dim=1), w["out.weight"], w["out.bias"], padding=1)


def inputs(batch: int, size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, size, size, generator=generator), torch.rand(batch, generator=generator)


def test_n_feat_32_has_714659_parameters():
    assert sum(p.numel() for p in NaiveUnet(3, 3, 32).parameters()) == 714_659


@pytest.mark.parametrize(("c_in", "c_out", "n_feat"), [(3, 3, 32), (1, 2, 8)])
def test_state_dict_has_the_original_names_and_shapes(c_in, c_out, n_feat):
    state = NaiveUnet(c_in, c_out, n_feat).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == expected_shapes(c_in, c_out, n_feat)


def test_forward_costs_338_megaflop_at_n_feat_32():
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        NaiveUnet(3, 3, 32)(*inputs(1, 32))
    assert counter.get_total_flops() == pytest.approx(338_370_688, rel=0.01)


@pytest.mark.parametrize(("n_feat", "size"), [(8, 32), (8, 64), (32, 32)])
@torch.no_grad()
def test_forward_agrees_with_a_second_implementation(n_feat, size):
    torch.manual_seed(0)
    net = NaiveUnet(3, 3, n_feat)
    for parameter in net.parameters():  # norms and biases too: their ones and zeros would hide a wrong one
        parameter += 0.05 * torch.randn(parameter.shape)
    x, t = inputs(2, size)
    output = net(x, t)
    assert output.shape == x.shape
    assert output.std() > 0.01
    assert torch.equal(net(x, t[:, None]), output)  # times of any shape with B elements
    assert (output - reference_forward(net.state_dict(), x, t)).abs().max() < 1e-5


@pytest.mark.parametrize("n_feat", [-8, 0, 4, 12, 33])
def test_a_width_that_is_no_positive_multiple_of_8_is_a_user_error(n_feat):
    with pytest.raises(UserError, match=f"n_feat is {n_feat}"):
        NaiveUnet(3, 3, n_feat)


def test_the_time_embedding_tells_all_timesteps_apart_under_bf16_autocast():
    torch.manual_seed(0)
    embed = TimeSiren(64)
    with torch.autocast("cpu", torch.bfloat16):
        embedded = embed(torch.arange(1, 1001) / 1000)
    assert embedded.dtype == torch.float32
    assert len(torch.unique(embedded, dim=0)) == 1000
