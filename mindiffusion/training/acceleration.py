"""What makes a step fast on this machine: compilation and a fused optimizer. None of it changes the mathematics."""

import sys
from dataclasses import replace

import torch
from torch import nn

from mindiffusion.config import TrainConfig
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import first_line
from mindiffusion.runtime.precision import autocast, keep_compiled_code, memory_format, resolve_precision

# A run on a CPU is long from so many images on, counted as 32x32 images at n_feat 32: about a quarter of an hour on two
# cores. Compiling takes one to two minutes and pays only then.
LONG_RUN = 100_000


def resolve_auto(config: TrainConfig, num_images: int, device: torch.device) -> TrainConfig:
    """``config`` with ``precision`` and ``compile`` decided, for training on ``num_images`` images.

    On a GPU: bf16 if it has it, and compiled. On a CPU: a long run (LONG_RUN) is compiled, in bf16 if the CPU has
    instructions for it; a short one is neither. What the user asked for stays. UserError as in resolve_precision.
    """
    per_epoch = config.images_per_epoch or num_images
    size = per_epoch * config.total_epochs * (config.n_feat / 32) ** 2 * (config.image_size / 32) ** 2
    pays = device.type == "cuda" or size >= LONG_RUN
    return replace(
        config,
        precision=resolve_precision(config.precision, device, pays),
        compile=pays if config.compile is None else config.compile,
    )


def make_optimizer(net: nn.Module, lr: float, device: torch.device) -> torch.optim.Adam:
    """Adam in one kernel. On CUDA its step count lives on the device, so that a CUDA graph can contain it."""
    return torch.optim.Adam(net.parameters(), lr=lr, fused=True, capturable=device.type == "cuda")


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Go on from ``state``, which may have been saved on another kind of device."""
    capturable = [group["capturable"] for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, value in zip(optimizer.param_groups, capturable, strict=True):
        group["capturable"] = value


def maybe_compile(config: TrainConfig, diffusion: nn.Module, net: nn.Module, ranks: Ranks) -> nn.Module:
    """``diffusion``, the loss of ``net``, compiled as one function and tried out on one batch, so that a failure shows
    now; itself if ``config.compile`` is off or compiling is impossible, which is said in one line.

    The compiled module shares its parameters with ``net``. The trial leaves no gradients.
    """
    if not config.compile:
        return diffusion
    device, speaks = ranks.device, ranks.is_main
    folder = keep_compiled_code()
    if speaks:
        print(f"compiling the step (one to two minutes; kept in {folder}) ...", file=sys.stderr, flush=True)
    batch = config.micro_batch_size or config.global_batch_size // ranks.world_size
    x = torch.zeros(batch, net.in_channels, config.image_size, config.image_size, device=device)
    x = x.contiguous(memory_format=memory_format(config.precision, device))
    try:
        compiled = torch.compile(diffusion, dynamic=False)
        with autocast(config.precision, device):
            loss = compiled(x, torch.ones(batch, dtype=torch.int64, device=device), torch.ones_like(x))
        torch.autograd.grad(loss, list(net.parameters()))
        return compiled
    except Exception as error:  # no C++ compiler, no Triton, an unsupported device: each fails in its own way
        if speaks:
            print(f"cannot compile here, going on uncompiled: {first_line(error)}", file=sys.stderr)
        torch._dynamo.reset()
        return diffusion
