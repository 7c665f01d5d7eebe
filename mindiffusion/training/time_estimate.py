"""How long a run will take, from a few steps timed here: what --dry-run says about time."""

import copy
import time

import torch
from torch import nn

from mindiffusion.config import TrainConfig
from mindiffusion.ddpm import DDPM
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.precision import autocast, memory_format, set_backend_flags
from mindiffusion.runtime.terminal import human_time

IMAGES, STEPS = 16, 2  # of one timed step; timed steps, after one that warms up


def images_per_second(config: TrainConfig, net: nn.Module, ranks: Ranks) -> float:
    """Of forward and backward passes of a copy of ``net`` on noise, in the precision of ``config``, uncompiled."""
    device = ranks.device
    set_backend_flags(config.precision, device)
    layout = memory_format(config.precision, device, False)
    shadow = copy.deepcopy(net).to(device, memory_format=layout)
    count = min(IMAGES, config.micro_batch_size or config.global_batch_size // ranks.world_size)
    process = DDPM(shadow, config.betas, config.n_T).to(device)
    x = torch.zeros(count, 3, config.image_size, config.image_size, device=device).contiguous(memory_format=layout)
    began = 0.0
    for step in range(STEPS + 1):
        if step == 1:
            _wait(device)
            began = time.monotonic()
        with autocast(config.precision, device):
            loss = process(x)
        loss.backward()
    _wait(device)
    return STEPS * count / (time.monotonic() - began)


def describe_time(config: TrainConfig, images: int, speed: float, world_size: int) -> str:
    """A line of the plan: the time of ``images`` images at ``speed`` images/s and process, and its limits."""
    grids = " without the grids" if config.num_samples else ""
    each = f" in each of {world_size} processes" if world_size > 1 else ""
    compiled = "compiled it is faster" if config.compile else "uncompiled"
    return (
        f"time         about {human_time(images / (speed * world_size))}{grids}: {speed:,.0f} images/s{each},\n"
        f"             timed on {STEPS} steps of at most {IMAGES} images, {compiled}"
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
