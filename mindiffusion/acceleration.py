"""What makes a step fast on this machine: precision, memory format, compilation. None of it changes the mathematics."""

import os
import sys
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import nn

from mindiffusion.config import TrainConfig
from mindiffusion.distributed import Ranks
from mindiffusion.errors import UserError
from mindiffusion.image_cache import cache_folder

# A run on a CPU is long from so many images on, counted as 32x32 images at n_feat 32: about a quarter of an hour on two
# cores. Compiling takes one to two minutes and pays only then.
LONG_RUN = 100_000


def resolve_auto(config: TrainConfig, num_images: int, device: torch.device) -> TrainConfig:
    """``config`` with ``precision`` and ``compile`` decided, for training on ``num_images`` images per epoch.

    On a GPU: bf16 if it has it, and compiled. On a CPU: a long run (LONG_RUN) is compiled, in bf16 if the CPU has
    instructions for it; a short one is neither. What the user asked for stays. UserError as in resolve_precision.
    """
    size = num_images * config.total_epochs * (config.n_feat / 32) ** 2 * (config.image_size / 32) ** 2
    pays = device.type == "cuda" or size >= LONG_RUN
    return replace(
        config,
        precision=resolve_precision(config.precision, device, pays),
        compile=pays if config.compile is None else config.compile,
    )


def resolve_precision(precision: str, device: torch.device, long_run: bool = False) -> str:
    """ "auto" is bf16 on a GPU that has it and in a long run on a CPU that has it, else fp32. UserError if bf16 was asked
    of a GPU without it."""
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bf16 = cpu_has_bf16()
    if precision == "auto":
        return "bf16" if has_bf16 and (long_run or device.type == "cuda") else "fp32"
    if precision == "bf16" and device.type == "cuda" and not has_bf16:
        raise UserError(f"{torch.cuda.get_device_name(device)} has no bf16 arithmetic: use --precision fp32.")
    return precision


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware: AVX512-BF16 or AMX. (Others emulate it, slower than fp32.)"""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # absent from some versions of PyTorch
    return any(getattr(torch.cpu, name, bool)() for name in names)


def set_backend_flags(precision: str) -> None:
    """fp32 means fp32: cuDNN would otherwise round convolutions to TF32. Its algorithms are chosen by timing them."""
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    torch.backends.cudnn.benchmark = True


def memory_format(precision: str, device: torch.device) -> torch.memory_format:
    """channels_last, which the bf16 kernels and cuDNN want; but fp32 on a CPU without bf16 units is faster without: 184
    against 130 images/s at n_feat 16, 51 against 45 at 32 (2 cores of an AMD EPYC, batch 64, interleaved medians)."""
    return torch.contiguous_format if device.type == "cpu" and precision == "fp32" else torch.channels_last


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """The context in which networks run: bf16 for convolutions and linear layers, or nothing special."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


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


def keep_compiled_code() -> str:
    """Choose a folder for compiled code that outlives a reboot, unless the user has chosen one. Returns it."""
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        folder = cache_folder() / "compiled"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return "PyTorch's temporary folder"
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    return os.environ["TORCHINDUCTOR_CACHE_DIR"]


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
