"""The whole step on device "meta", which has shapes and no numbers: an operation that waits for the device, or that
meets a CPU tensor on its way, fails there. So it would be slow, or fail, on a GPU."""

import contextlib
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
from mindiffusion.training.meter import IntervalMeter
from mindiffusion.training.run import Run
from mindiffusion.training.step import Losses, make_step
from mindiffusion.unet import NaiveUnet

STEP = sys.modules["mindiffusion.training.step"]
META = torch.device("meta")
NETS = {
    "uniform": lambda: NaiveUnet(3, 3, 8),
    "cs": lambda: SparseNaiveUnet(3, 3, 8, 0.5),
    "cs level": lambda: SparseNaiveUnet(3, 3, 8, 0.5, "level"),
    "cr": lambda: RegNaiveUnet(3, 3, 8),
    "cr proximal": lambda: RegNaiveUnet(3, 3, 8, "proximal"),
    "p": lambda: PreconditionedNaiveUnet(3, 3, 8),
    "s": lambda: PreconditionedNaiveUnet(3, 3, 8),
}


@pytest.fixture(autouse=True)
def stubs(monkeypatch):
    """What "meta" lacks: generators and autocast."""
    monkeypatch.setattr(loop, "make_generator", lambda *_: None)
    monkeypatch.setattr(STEP, "autocast", lambda *_: contextlib.nullcontext())


def one_step(
    variant: str, micro_batch: int = 0, hook=None
) -> tuple[NaiveUnet, torch.optim.Optimizer, list[torch.Tensor]]:
    """Draw a batch, do a step, take in its measurements, as the loop does between two rows of the log."""
    config = TrainConfig(
        "c",
        (Stage("all", 1, t_min=0.2, t_max=1.0),),
        n_feat=8,
        global_batch_size=8,
        micro_batch_size=micro_batch,
        precision="bf16",
        compile="",
    )
    net, ranks = NETS[variant]().to(META), Ranks(device=META)
    if variant.startswith("cr"):
        net.set_lam(0.5)
    process = (SoftCurriculumDDPM if variant == "s" else CurriculumDDPM)(net).to(META)
    if variant == "s":
        process.set_power(0.5)
    else:
        process.set_time_range(0.2, 1.0)
    average = Ema(net, 0.9)
    optimizer = torch.optim.Adam(net.parameters(), foreach=True)  # there is no fused one on meta
    after_backward = hook or (net.accumulate_channel_gradients if variant.startswith("cs") else None)
    penalty, after_step = (net.penalty, net.after_step) if variant.startswith("cr") else (None, None)
    step = make_step(config, ranks, Losses(process, penalty), optimizer, average, after_backward, after_step)
    images = torch.zeros(16, 3, 32, 32, dtype=torch.uint8, device=META)
    run = Run(config, ranks, ImageData(images, {}), net, process, optimizer, None)
    batch = loop.draw_batch(run, images, run.schedule.order(0).to(META), 0)
    measured = step(batch, average.weight(0), run.schedule.lr(0))
    IntervalMeter(ranks).add(measured)
    return net, optimizer, [*batch, *measured.values()]


@pytest.mark.parametrize("micro_batch", [0, 2])
@pytest.mark.parametrize("variant", NETS)
def test_a_step_neither_waits_for_the_device_nor_meets_a_cpu_tensor(variant, micro_batch):
    net, optimizer, tensors = one_step(variant, micro_batch)
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert len(optimizer.state) == len(list(net.parameters()))  # it has stepped
    if variant.startswith("cs"):
        assert net.mask_probe.grad is None and net.gradient_sum.device == META
