"""Memory layouts: what a GPU run saves must go on on a CPU and the other way round, and eager code converts nothing."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mindiffusion.checkpoints.same_run import optimizer_options
from mindiffusion.config import TrainConfig
from mindiffusion.data.images import ImageData
from mindiffusion.ddpm import DDPM
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.precision import memory_format
from mindiffusion.stages import Stage
from mindiffusion.training.run import Run, load_optimizer
from mindiffusion.unet import NaiveUnet

GPU = torch.device("cuda", 0)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def trained(layout, optimizer_state=None, steps=2):
    """A network in ``layout`` and its Adam after some steps; both begin the same."""
    torch.manual_seed(0)
    net = NaiveUnet(3, 3, 8).to(memory_format=layout)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, fused=True)
    if optimizer_state:
        load_optimizer(optimizer, copy.deepcopy(optimizer_state))
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        for parameter in net.parameters():
            parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape, generator=generator))
        optimizer.step()
    return net, optimizer


@pytest.mark.parametrize("here", LAYOUTS)
@pytest.mark.parametrize("saved", LAYOUTS)
def test_moments_of_another_layout_give_the_same_updates(saved, here):
    state = trained(LAYOUTS[saved])[1].state_dict()
    state["param_groups"][0]["capturable"] = True  # as of a compiled run on a GPU
    net, resumed = trained(LAYOUTS[here], state, steps=1)
    expected, _ = trained(LAYOUTS[saved], state, steps=1)
    assert optimizer_options(state) == optimizer_options(resumed.state_dict())  # it is the same run
    assert not resumed.param_groups[0]["capturable"]
    for (name, mine), theirs in zip(net.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)
    for parameter, state in resumed.state.items():
        assert state["exp_avg"].stride() == state["exp_avg_sq"].stride() == parameter.stride()


def test_a_step_that_fell_back_to_eager_goes_on_in_the_eager_layout(monkeypatch):
    net, optimizer = trained(torch.channels_last)
    before = copy.deepcopy(optimizer.state_dict())
    args = {"n_feat": 8, "global_batch_size": 4, "lr": 1e-2, "precision": "bf16", "compile": "default"}
    config = TrainConfig("c", (Stage("all", 1),), **args)
    data = ImageData(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), {})
    run = Run(config, Ranks(), data, net, DDPM(net), optimizer, None)
    run.restore()
    assert run.layout == torch.channels_last
    run.config = replace(config, precision="fp32")
    run.go_uncompiled()
    assert not run.config.compile
    for each in (net, run.ema.net):
        assert all(parameter.is_contiguous() for parameter in each.parameters())
    for parameter, state in optimizer.state.items():
        assert state["exp_avg"].is_contiguous() and state["exp_avg"].shape == parameter.shape
    for place, state in before["state"].items():
        assert torch.equal(state["exp_avg"], optimizer.state_dict()["state"][place]["exp_avg"])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_convolution_of_an_eager_gpu_run_converts_its_input(precision):
    """For each convolution of a forward pass on fake CUDA tensors: is its input laid out as its weight?"""
    layout, met = memory_format(precision, GPU, compiled=False), []

    def look(layer: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        met.append(inputs[0].is_contiguous(memory_format=layout))

    with FakeTensorMode(), torch.device("cuda"), torch.no_grad():
        net = NaiveUnet(3, 3, 8)
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.weight.data = layer.weight.data.contiguous(memory_format=layout)
                layer.register_forward_pre_hook(look)
        net(torch.randn(4, 3, 32, 32).contiguous(memory_format=layout), torch.rand(4))
    assert met == [True] * 35
