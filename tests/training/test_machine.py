"""What is decided for a machine, and what a run checks before it believes it: the compiled step and the memory."""

import functools
from unittest.mock import Mock

import pytest
import torch
from helpers import UNIFORM, exit_code
from torch._functorch.aot_autograd import aot_module
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.decomposition import select_decomp_table

from mindiffusion.config import TrainConfig
from mindiffusion.ddpm import DDPM
from mindiffusion.runtime import precision
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError
from mindiffusion.sparse_unet import SparseNaiveUnet
from mindiffusion.stages import Stage
from mindiffusion.training import machine
from mindiffusion.training.machine import maybe_compile, memory_advice, memory_explained, resolve_auto
from mindiffusion.training.step import Losses
from mindiffusion.unet import Conv3


def config(**changes):
    values = {"n_feat": 8, "global_batch_size": 4, "precision": "fp32", "compile": True, **changes}
    return TrainConfig("c", (Stage("all", 1),), **values)


@pytest.fixture(autouse=True)
def code_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_cpu_gets_bf16_and_compilation_in_long_runs_only(has_bf16, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: has_bf16)
    settings = config(precision="auto", compile=None, n_feat=32)

    def decided(images: int, **changes) -> tuple[str, str]:
        result = resolve_auto(TrainConfig(**{**vars(settings), **changes}), images, Ranks().device)
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


class Compiled(torch.nn.Module):
    """Stands for the compiled losses: those of ``eager``, with what a wrong kernel would change."""

    def __init__(self, eager, spoil):
        super().__init__()
        self.eager, self.spoil = eager, spoil

    def forward(self, *batch):
        measured = self.eager(*batch)
        return {**measured, "loss": self.spoil(measured["loss"])}


FACTORS = iter((1.5, 1))  # of a loss that is wrong once


def trial(monkeypatch, spoil, size=4, precision="fp32"):
    """maybe_compile with a compiler that makes ``spoil``; returns (what the run goes on with, the two candidates)."""
    torch.manual_seed(0)
    batches = [(torch.randn(size, 3, 32, 32), torch.randint(1, 1001, (size,)), torch.randn(size, 3, 32, 32))] * 2
    net = SparseNaiveUnet(3, 3, 8, 0.5)
    net.spare = torch.nn.Parameter(torch.ones(1))  # a network may have weights that a loss does not use
    eager = Losses(DDPM(net))
    compiled = Compiled(eager, spoil)
    monkeypatch.setattr(torch, "compile", lambda module, **_: compiled)
    chosen = maybe_compile(eager, "default", batches, precision, size, Ranks(), "")
    assert net.mask_probe.grad is None and all(parameter.grad is None for parameter in net.parameters())
    return chosen, compiled, eager


@pytest.mark.parametrize(
    ("spoil", "changes"),
    [
        (lambda loss: loss, {}),
        (lambda loss: loss, {"size": 70}),  # more than EAGER_AT_ONCE: the eager side comes in parts
        (lambda loss: loss * 1.01, {"precision": "bf16"}),  # its rounding
        (lambda loss: loss * next(FACTORS), {}),  # one odd batch is no verdict
    ],
)
def test_a_compiled_step_that_equals_the_eager_one_is_taken(spoil, changes, monkeypatch, capsys):
    monkeypatch.setattr(machine, "EAGER_AT_ONCE", 32)
    chosen, compiled, _ = trial(monkeypatch, spoil, **changes)
    assert chosen is compiled
    assert "uncompiled" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "precision", "said"),
    [
        (lambda loss: loss * 1.01, "fp32", "differ by 1.00% in the loss and 1.00% in the gradient norm of 4 images"),
        (lambda loss: loss * 1.05, "bf16", "uncompiled"),
        (lambda loss: 1.03 * loss - 0.03 * loss.detach(), "fp32", "0.00% in the loss and 3.00% in the gradient norm"),
        (lambda loss: loss * float("nan"), "fp32", "nan% in the loss"),
    ],
)
def test_a_compiled_step_that_differs_is_left_for_the_eager_one(spoil, precision, said, monkeypatch, capsys):
    chosen, _, eager = trial(monkeypatch, spoil, precision=precision)
    assert chosen is eager
    lines = [line for line in capsys.readouterr().err.splitlines() if "uncompiled" in line]
    assert len(lines) == 1 and said in lines[0]


def test_where_compiling_is_impossible_one_line_says_so_and_nothing_is_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", Mock(side_effect=RuntimeError("no C++ compiler found\nlong explanation")))
    net = SparseNaiveUnet(3, 3, 8, 0.5)
    losses = Losses(DDPM(net))
    assert maybe_compile(losses, "default", [], "fp32", 4, Ranks(), "") is losses
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "going on uncompiled: cannot compile here: no C++ compiler found"
    assert str(tmp_path) in lines[0]


def test_what_a_cpu_compiles_keeps_no_masks_for_its_gradient(monkeypatch):
    """Storing them would take a sixth of a step."""
    kept = []

    def keep(graph, inputs):
        kept.extend(node.meta["val"].dtype for node in graph.graph.output_node().args[0])
        return graph

    trial(monkeypatch, lambda loss: loss)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    divide = functools.partial(min_cut_rematerialization_partition, compiler="inductor")
    block = aot_module(Conv3(8, 8, True), keep, partition_fn=divide, decompositions=select_decomp_table())
    with torch.autocast("cpu", torch.bfloat16):
        block(torch.randn(2, 8, 16, 16))
    assert torch.bfloat16 in kept and torch.bool not in kept


@pytest.mark.parametrize("wrapped", [False, True])
def test_out_of_memory_in_the_trial_is_an_error_that_says_what_to_do(wrapped, tmp_path, monkeypatch, capsys):
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    if wrapped:
        (wrapper := RuntimeError("backend='inductor' raised:")).__cause__ = error
    loss = Mock(side_effect=wrapper if wrapped else error)
    monkeypatch.setattr(torch, "compile", lambda module, **_: loss)
    assert exit_code(UNIFORM, tmp_path, "--compile") == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "out of memory: a step of 8 images per forward pass" in message
    assert "Use --micro-batch-size 4" in message and "cannot compile" not in message and "uncompiled" not in message


def test_the_advice_names_a_micro_batch_that_divides():
    assert "--micro-batch-size 3:" in memory_advice(9, 9, Ranks())
    assert "--micro-batch-size 2:" in memory_advice(8, 4, Ranks())
    assert "--micro-batch-size 64:" in memory_advice(256, 128, Ranks(world_size=2))
    least = memory_advice(4, 1, Ranks())
    assert "--n-feat" in least and "--micro-batch-size" not in least


def test_out_of_memory_gives_the_advice_and_other_errors_pass():
    with pytest.raises(UserError, match="smaller"), memory_explained(Ranks(), "smaller"):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    with pytest.raises(RuntimeError, match="smaller") as caught, memory_explained(Ranks(world_size=2), "smaller"):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    assert not isinstance(caught.value, UserError)  # the other ranks do not know
    with pytest.raises(RuntimeError, match="something else"), memory_explained(Ranks(), "smaller"):
        raise RuntimeError("something else")
