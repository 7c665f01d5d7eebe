"""The step as one function: the same numbers as the parts it was made of, on every path."""

import copy

import pytest
import torch

from mindiffusion.config import TrainConfig
from mindiffusion.curriculum_ddpm import CurriculumDDPM
from mindiffusion.preconditioned_unet import PreconditionedNaiveUnet
from mindiffusion.reg_unet import RegNaiveUnet
from mindiffusion.runtime import precision
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.soft_curriculum_ddpm import SoftCurriculumDDPM
from mindiffusion.sparse_unet import SparseNaiveUnet
from mindiffusion.stages import Stage
from mindiffusion.training import machine
from mindiffusion.training.ema import Ema
from mindiffusion.training.machine import maybe_compile, resolve_auto
from mindiffusion.training.step import Losses, make_step
from mindiffusion.unet import GroupNorm, NaiveUnet

CPU = torch.device("cpu")
STAGES = (Stage("all", 1, t_min=0.0, t_max=1.0),)
VARIANTS = ("c", "cs", "cr", "cr-proximal")


def make_config(**changes) -> TrainConfig:
    values = {"n_feat": 8, "global_batch_size": 4, "lr": 1e-2, "precision": "fp32", "compile": "", **changes}
    return TrainConfig(variant="c", stages=STAGES, **values)


def make_net(variant: str) -> NaiveUnet:
    torch.manual_seed(0)
    if variant == "cs":
        return SparseNaiveUnet(3, 3, 8, 0.5)
    if variant == "c":
        return NaiveUnet(3, 3, 8)
    net = RegNaiveUnet(3, 3, 8, "proximal" if variant == "cr-proximal" else "loss")
    net.set_lam(0.5)
    return net


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
    net = make_net(variant)
    average = Ema(net, 0.9)
    optimizer = torch.optim.Adam(net.parameters(), lr=config.lr, fused=True)
    hooks = {}
    penalty = None
    if variant.startswith("cr"):
        hooks, penalty = {"after_step": net.after_step}, net.penalty
    if variant == "cs":
        hooks = {"after_backward": net.accumulate_channel_gradients}
    step = make_step(config, Ranks(), Losses(CurriculumDDPM(net), penalty), optimizer, average, **hooks)
    return net, average, [step(batch, average.weight(n), config.lr) for n, batch in enumerate(batches())]


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


def test_the_weighted_loss_is_trained_and_the_plain_one_is_measured_beside_it():
    torch.manual_seed(0)
    process = SoftCurriculumDDPM(PreconditionedNaiveUnet(3, 3, 8))
    process.set_power(1.0)
    x, t, eps = batches(1)[0]
    losses = process.losses(x, t, eps)
    eps_hat = process.eps_model(process.q_sample(x, t, eps), t / 1000)
    torch.testing.assert_close(losses["mse"], (eps_hat - eps).square().mean())
    assert torch.equal(losses["loss"], process(x, t, eps)) and not losses["mse"].requires_grad
    assert abs(losses["loss"] / losses["mse"] - 1) > 0.01
    assert "weighted" in process.describe_loss()
    process.set_power(0.0)
    torch.testing.assert_close(*process.losses(x, t, eps).values())
    assert process.describe_loss() == ""


# --- what is decided for the machine ------------------------------------------------------------------------------


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_cpu_gets_bf16_and_compilation_in_long_runs_only(has_bf16, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: has_bf16)
    config = make_config(precision="auto", compile=None, n_feat=32)

    def decided(images: int, **changes) -> tuple[str, str]:
        result = resolve_auto(TrainConfig(**{**vars(config), **changes}), images, CPU)
        return result.precision, result.compile

    fast = ("bf16" if has_bf16 else "fp32", "default")
    assert decided(machine.LONG_RUN) == fast
    assert decided(machine.LONG_RUN - 1) == ("fp32", "")
    assert decided(machine.LONG_RUN, n_feat=16) == ("fp32", "")
    assert decided(machine.LONG_RUN // 4, image_size=64) == fast
    assert decided(4096, n_feat=16) == ("fp32", "")  # the demo
    assert decided(10 * machine.LONG_RUN, images_per_epoch=64) == ("fp32", "")  # short epochs of much data
    assert decided(machine.LONG_RUN, precision="fp32", compile="") == ("fp32", "")
    assert decided(24, precision="bf16", compile="default") == ("bf16", "default")


def test_where_compiling_is_impossible_one_line_says_so_and_nothing_is_left(monkeypatch, tmp_path, capsys):
    def fail(*_, **__):
        raise RuntimeError("no C++ compiler found\nlong explanation")

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch, "compile", fail)
    net = make_net("cs")
    losses = Losses(CurriculumDDPM(net))
    assert maybe_compile(make_config(compile="default"), losses, net, Ranks()) is losses
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "going on uncompiled: cannot compile here: no C++ compiler found"
    assert str(tmp_path) in lines[0]


# --- the formula for compilers --------------------------------------------------------------------------------------


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
