"""How long a run will take, from a few steps timed here: what --dry-run says about time.

On a CPU the processor's time counts, not the clock's, so that other work on the machine does not change the answer, and
the line says what that assumes. On a GPU it is an upper bound: small batches, uncompiled.
"""

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
            began = _clock(device)
        with autocast(config.precision, device):
            loss = process(x)
        loss.backward()
    _wait(device)
    return STEPS * count / (_clock(device) - began)


def describe_time(config: TrainConfig, images: int, speed: float, world_size: int, on_gpu: bool) -> str:
    """A line of the plan: the time of ``images`` images at ``speed`` images/s and process, and its limits."""
    grids = " without the grids" if config.num_samples else ""
    each = f" in each of {world_size} processes" if world_size > 1 else ""
    if on_gpu:
        limits = "an upper bound: timed uncompiled and on small batches"
    else:
        threads = torch.get_num_threads()
        limits = f"if {'a core is' if threads == 1 else f'{threads} cores are'} free for each process"
        limits += "; uncompiled, which is slower" if config.compile else ""
    return (
        f"time         about {human_time(images / (speed * world_size))}{grids}: {speed:,.0f} images/s{each},\n"
        f"             {limits}"
    )


def _clock(device: torch.device) -> float:
    """Seconds: of the clock on a GPU; on a CPU of this process's threads, each on a core of its own."""
    return time.monotonic() if device.type == "cuda" else time.process_time() / torch.get_num_threads()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
