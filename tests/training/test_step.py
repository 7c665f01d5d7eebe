"""The step as one function: the same numbers as the parts it was made of, on every path."""

import contextlib
import copy
import sys

import pytest
import torch

from mindiffusion.config import TrainConfig
from mindiffusion.curriculum_ddpm import CurriculumDDPM
from mindiffusion.data.images import ImageData
from mindiffusion.preconditioned_unet import PreconditionedNaiveUnet
from mindiffusion.reg_unet import RegNaiveUnet
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.soft_curriculum_ddpm import SoftCurriculumDDPM
from mindiffusion.sparse_unet import SparseNaiveUnet
from mindiffusion.stages import Stage
from mindiffusion.training import loop
from mindiffusion.training.ema import Ema
from mindiffusion.training.run import Run
from mindiffusion.training.schedule import images_per_pass
from mindiffusion.training.step import Losses, make_step
from mindiffusion.unet import GroupNorm, NaiveUnet

STEP = sys.modules["mindiffusion.training.step"]
META = torch.device("meta")
NETS = {
    "c": lambda: NaiveUnet(3, 3, 8),
    "cs": lambda: SparseNaiveUnet(3, 3, 8, 0.5),
    "cs level": lambda: SparseNaiveUnet(3, 3, 8, 0.5, "level"),
    "cr": lambda: RegNaiveUnet(3, 3, 8),
    "cr proximal": lambda: RegNaiveUnet(3, 3, 8, "proximal"),
    "p": lambda: PreconditionedNaiveUnet(3, 3, 8),
    "s": lambda: PreconditionedNaiveUnet(3, 3, 8),
}
VARIANTS = ("c", "cs", "cr", "cr proximal")


def make_config(**changes) -> TrainConfig:
    values = {"n_feat": 8, "global_batch_size": 4, "lr": 1e-2, "precision": "fp32", "compile": "", **changes}
    return TrainConfig("c", (Stage("all", 1),), **values)


def make_net(variant: str) -> NaiveUnet:
    torch.manual_seed(0)
    net = NETS[variant]()
    if variant.startswith("cr"):
        net.set_lam(0.5)
    return net


def make_parts(variant: str, config: TrainConfig, device: torch.device | str = "cpu", **adam):
    """Network, process, average, optimizer and step of a variant, as its script puts them together."""
    net = make_net(variant).to(device)
    process = (SoftCurriculumDDPM if variant == "s" else CurriculumDDPM)(net).to(device)
    if variant == "s":
        process.set_power(0.5)
    average = Ema(net, 0.9)
    optimizer = torch.optim.Adam(net.parameters(), lr=config.lr, **adam)
    hooks = {"after_step": net.after_step} if variant.startswith("cr") else {}
    if variant.startswith("cs"):
        hooks = {"after_backward": net.accumulate_channel_gradients}
    losses = Losses(process, net.penalty if variant.startswith("cr") else None)
    per_pass = images_per_pass(config, world_size=1)
    return net, process, average, optimizer, make_step(losses, optimizer, average, config.precision, per_pass, **hooks)


def batches(count: int = 3) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    shape = (4, 3, 32, 32)
    return [
        (
            torch.rand(shape, generator=generator) * 2 - 1,
            torch.randint(1, 1001, (4,), generator=generator),
            torch.randn(shape, generator=generator),
        )
        for _ in range(count)
    ]


def train(variant: str, config: TrainConfig) -> tuple[NaiveUnet, Ema, list]:
    """Three steps of the program's step function."""
    net, _, average, _, step = make_parts(variant, config, fused=True)
    return net, average, [step(batch, n, config.lr) for n, batch in enumerate(batches())]


def train_by_hand(variant: str, config: TrainConfig) -> tuple[NaiveUnet, NaiveUnet, list]:
    """The same steps, written out with plain PyTorch."""
    net = make_net(variant)
    average = copy.deepcopy(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=config.lr, fused=True)
    diffusion = CurriculumDDPM(net)
    readings = []
    for n, (x, t, eps) in enumerate(batches()):
        mse = diffusion(x, t, eps)
        penalty = net.penalty() if variant.startswith("cr") else torch.zeros(())
        (mse + penalty).backward()
        if variant == "cs":
            net.accumulate_channel_gradients()
        norm = torch.stack([p.grad.norm() for p in net.parameters()]).norm()
        optimizer.step()
        optimizer.zero_grad()
        if variant.startswith("cr"):
            net.after_step(config.lr)
        decay = min(0.9, (1 + n) / (10 + n))
        with torch.no_grad():
            for mine, theirs in zip(average.parameters(), net.parameters(), strict=True):
                mine.lerp_(theirs, 1 - decay)
        readings.append((mse, penalty, norm))
    return net, average, readings


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_step_function_equals_the_written_out_step_bit_for_bit(variant):
    config = make_config()
    net, ema, readings = train(variant, config)
    expected, average, expected_readings = train_by_hand(variant, config)
    for name, value in expected.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    for mine, theirs in zip(ema.net.parameters(), average.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    for mine, (mse, penalty, norm) in zip(readings, expected_readings, strict=True):
        assert torch.equal(mine["mse"], mse) and torch.equal(mine["penalty"], penalty)
        assert torch.equal(mine["loss"], mse + penalty)
        torch.testing.assert_close(mine["grad_norm"], norm)
    if variant == "cs":
        assert torch.equal(net.gradient_sum, expected.gradient_sum)
        assert net.gradient_sum.min() > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_bf16_is_close_to_fp32(variant):
    _, _, exact = train(variant, make_config())
    _, _, rounded = train(variant, make_config(precision="bf16"))
    for a, b in zip(exact, rounded, strict=True):
        assert not torch.equal(a["loss"], b["loss"])
        torch.testing.assert_close(a["loss"], b["loss"], rtol=2e-2, atol=0)


# --- on device "meta", which has shapes and no numbers: an operation that waits for the device, or that meets a CPU
# tensor on its way, fails there. So it would be slow, or fail, on a GPU.


@pytest.mark.parametrize("micro_batch", [0, 2])
@pytest.mark.parametrize("variant", NETS)
def test_a_step_neither_waits_for_the_device_nor_meets_a_cpu_tensor(variant, micro_batch, monkeypatch):
    """A batch, a step and its measurements, as the loop does between two rows of the log."""
    monkeypatch.setattr(loop, "make_generator", lambda *_: None)  # "meta" has none, and no autocast
    monkeypatch.setattr(STEP, "autocast", lambda *_: contextlib.nullcontext())
    config = make_config(micro_batch_size=micro_batch, precision="bf16")
    net, process, _, optimizer, step = make_parts(variant, config, META, foreach=True)  # none is fused on meta
    images = torch.zeros(16, 3, 32, 32, dtype=torch.uint8, device=META)
    run = Run(config, Ranks(device=META), ImageData(images, {}), net, process, optimizer, None)
    batch = loop.draw_batch(run, run.schedule.order(0).to(META), 0)
    measured = step(batch, 0, run.schedule.lr(0))
    run.meter.add(measured)
    assert {tensor.device.type for tensor in (*batch, *measured.values())} == {"meta"}
    assert len(optimizer.state) == len(list(net.parameters()))  # it has stepped
    if variant.startswith("cs"):
        assert net.mask_probe.grad is None and net.gradient_sum.device == META


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-3)])
def test_the_group_norm_for_compilers_is_group_norm(dtype, tolerance, monkeypatch):
    torch.manual_seed(0)
    norm = GroupNorm(8, 16)
    norm.weight.data.uniform_(0.5, 2)
    norm.bias.data.normal_()
    exact = copy.deepcopy(norm).double()
    x = (torch.randn(4, 16, 6, 6) * 2 + 3).to(dtype)
    seed = torch.randn(4, 16, 6, 6).to(dtype)

    def outcome(module, x, seed):
        x = x.clone().requires_grad_()
        out = module(x)
        return [out, *torch.autograd.grad(out, [x, module.weight, module.bias], seed)]

    expected = outcome(exact, x.double(), seed.double())
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for mine, theirs in zip(outcome(norm, x, seed), expected, strict=True):
        assert (mine.double() - theirs).norm() < tolerance * theirs.norm()
