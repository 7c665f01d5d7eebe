"""The device that is measured, the training step without the loop around it, and what the hardware could do at most."""

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from mindiffusion.config import TrainConfig
from mindiffusion.curriculum_ddpm import CurriculumDDPM
from mindiffusion.ddpm import DDPM
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.precision import memory_format
from mindiffusion.stages import Stage
from mindiffusion.training.ema import Ema
from mindiffusion.training.machine import maybe_compile, resolve_auto
from mindiffusion.training.step import Losses, make_step
from mindiffusion.unet import NaiveUnet

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def make_bare_step(
    n_feat: int, image_size: int, batch_size: int, precision: str = "auto", compiled: bool | None = None
):
    """A function without arguments that does one step of C on a fixed batch, as the program would in a long run."""
    config = TrainConfig(
        variant="c",
        stages=(Stage("bare", 1),),
        n_feat=n_feat,
        image_size=image_size,
        global_batch_size=batch_size,
        precision=precision,
        compile=compiled,
    )
    config = resolve_auto(config, 10**9, DEVICE)
    layout = memory_format(config.precision, DEVICE, config.compile)
    net = NaiveUnet(3, 3, config.n_feat).to(DEVICE, memory_format=layout)
    process = CurriculumDDPM(net).to(DEVICE)
    optimizer = torch.optim.Adam(net.parameters(), lr=config.lr, fused=True)
    shape = (config.global_batch_size, 3, config.image_size, config.image_size)
    x, eps = (torch.randn(shape, device=DEVICE).contiguous(memory_format=layout) for _ in range(2))
    batch = (x, torch.randint(1, 1001, (len(x),), device=DEVICE), eps)
    how, losses = (config.precision, len(x)), Losses(process)
    if config.compile:
        losses = maybe_compile(losses, config.compile, [batch], *how, Ranks(device=DEVICE), "out of memory")
    step = make_step(losses, optimizer, Ema(net, config.ema_decay), *how)
    return lambda: step(batch, 10**6, config.lr)


def training_flops(n_feat: int, image_size: int) -> int:
    """Floating point operations of the forward and backward pass of one image, convolutions and products only."""
    diffusion = DDPM(NaiveUnet(3, 3, n_feat))
    with FlopCounterMode(display=False) as counter:
        diffusion(torch.zeros(1, 3, image_size, image_size)).backward()
    return counter.get_total_flops()


def ceiling(dtype: torch.dtype, seconds: float = 1.0) -> tuple[float, float]:
    """(operations per second of a large matrix product, bytes per second of a large copy), the best of many."""
    size = 8192 if DEVICE.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=DEVICE).to(dtype) for _ in range(2))
    source = torch.zeros(2**28 if DEVICE.type == "cuda" else 2**25, device=DEVICE)
    target = torch.empty_like(source)
    product = best_time(lambda: a @ b, seconds)
    copy = best_time(lambda: target.copy_(source), seconds)
    return 2 * size**3 / product, 2 * source.nbytes / copy


def best_time(work, seconds: float) -> float:
    """The shortest of the calls of ``work`` that fit into ``seconds``."""
    end, best = time.perf_counter() + seconds, float("inf")
    while time.perf_counter() < end:
        began = time.perf_counter()
        work()
        synchronize()
        best = min(best, time.perf_counter() - began)
    return best
