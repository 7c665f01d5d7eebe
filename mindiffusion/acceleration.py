"""What makes a step fast on this machine: precision, memory format, compilation. None of it changes the mathematics."""

import sys
from contextlib import AbstractContextManager

import torch
from torch import nn

from mindiffusion.config import TrainConfig
from mindiffusion.distributed import Ranks
from mindiffusion.errors import UserError


def resolve_precision(precision: str, device: torch.device) -> str:
    """ "auto" is bf16 on a GPU that has it, else fp32. UserError if bf16 was asked of a GPU without it."""
    gpu_has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto":
        return "bf16" if gpu_has_bf16 else "fp32"
    if precision == "bf16" and device.type == "cuda" and not gpu_has_bf16:
        raise UserError(f"{torch.cuda.get_device_name(device)} has no bf16 arithmetic: use --precision fp32.")
    return precision


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


def maybe_compile(config: TrainConfig, net: nn.Module, ranks: Ranks) -> nn.Module:
    """``net`` compiled, tried out on one batch so that a failure shows now; ``net`` itself if that is impossible.

    ``config.compile`` None means: on CUDA only. The compiled module shares its parameters with ``net``.
    """
    device, speaks = ranks.device, ranks.is_main
    wanted = device.type == "cuda" if config.compile is None else config.compile
    if not wanted:
        return net
    if speaks:
        print("compiling the network (once; up to two minutes, less when cached) ...", file=sys.stderr, flush=True)
    compiled = torch.compile(net)
    batch = config.micro_batch_size or config.global_batch_size // ranks.world_size
    example = torch.zeros(batch, net.in_channels, config.image_size, config.image_size, device=device)
    example = example.to(memory_format=memory_format(config.precision, device))
    try:
        with autocast(config.precision, device):
            compiled(example, torch.zeros(len(example), device=device)).sum().backward()
    except Exception as error:  # no C++ compiler, no Triton, an unsupported device: each fails in its own way
        if speaks:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            print(f"cannot compile here, going on uncompiled: {reason}", file=sys.stderr)
        torch._dynamo.reset()
        compiled = net
    net.zero_grad(set_to_none=True)
    return compiled
