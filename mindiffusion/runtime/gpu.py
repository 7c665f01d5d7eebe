"""Can PyTorch use the GPU that is here? Asked at the start, so that the answer is a sentence and not a raw error."""

import os
import platform
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from mindiffusion.runtime.errors import UserError, first_line
from mindiffusion.runtime.terminal import warn

DEVICES = ("auto", "cpu", "cuda", "mps")  # what --device takes; mps: Apple's GPUs
# What PyTorch says where there is no GPU, or where CUDA_VISIBLE_DEVICES hides it: then a run on the CPU is meant.
NO_GPU = ("Found no NVIDIA driver", "No CUDA GPUs are available", "no CUDA-capable device")
# PyTorch's builds for CUDA 13 need driver 580 and sm_75 (Turing); those for CUDA 12.6 driver 525 and sm_50 (Maxwell).
OLDER = (
    "For an older GPU (V100, P100, ...) or an older driver (525 or newer): pip install 'torch==2.10.*' "
    "'torchvision==0.25.*' --index-url https://download.pytorch.org/whl/cu126"
)


def why_unusable() -> str:
    """Why PyTorch cannot use the GPU of this machine, such as a driver that is too old, in one line; "" if it can, if
    there is none, or if this PyTorch was built without CUDA."""
    if torch.version.cuda is None or torch.cuda.is_available():
        return ""
    try:
        torch.cuda.init()
    except Exception as error:  # RuntimeError, or of the driver's library
        reason = first_line(error)
        return "" if any(part in reason for part in NO_GPU) else reason
    return ""


def pick_device(name: str, local_rank: int) -> torch.device:
    """``auto`` is this rank's GPU where there is one, else the CPU. UserError if the asked-for device is absent, or if
    there is a GPU that PyTorch cannot use: training on the CPU instead must be the user's decision."""
    if name == "cpu":
        return torch.device("cpu")
    if name == "mps":
        if not torch.backends.mps.is_available() or os.environ.get("WORLD_SIZE", "1") != "1":
            raise UserError("--device mps needs an Apple GPU, and one process, of plain python: use --device cpu.")
        warn("note: nobody has run this on an Apple GPU yet: compare a short run with --device cpu.")
        return torch.device("mps")
    if not torch.cuda.is_available():
        if reason := why_unusable():
            raise UserError(f"PyTorch cannot use this GPU: {reason} Update the driver, or use --device cpu. {OLDER}")
        if name == "auto":
            return torch.device("cpu")
        raise UserError("--device cuda was asked for, but PyTorch sees no CUDA GPU. Use --device cpu or --device auto.")
    if local_rank >= (count := torch.cuda.device_count()):
        raise UserError(f"this machine has more processes than CUDA GPUs, which are {count}: lower --nproc_per_node.")
    return torch.device("cuda", local_rank)


def probe(device: torch.device) -> None:
    """Run one convolution on a GPU and wait for its answer. UserError if that fails: a GPU that the installed PyTorch
    has no kernels for is found like any other until its first kernel is started."""
    try:
        answer = _first_kernel(device).tolist()
    except Exception as error:  # no kernel image, a missing library of cuDNN, a busy or a broken GPU
        kernels = f"PyTorch {torch.__version__} has kernels for {', '.join(torch.cuda.get_arch_list())}. {OLDER}."
        help_ = kernels if "no kernel image" in str(error) else "Look at nvidia-smi."
        raise UserError(
            f"{describe(device)} cannot be used: {first_line(error)}. {help_} Choose another GPU with "
            "CUDA_VISIBLE_DEVICES, or use --device cpu."
        ) from error
    if answer != [72.0]:
        raise UserError(f"{describe(device)} computes {answer} where 72 is right: do not use it, take another one.")


def describe(device: torch.device) -> str:
    """ "NVIDIA H100 (sm_90)"; of a CPU what the processor is called."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return f"{torch.cuda.get_device_name(device)} (sm_{major}{minor})"
    with suppress(OSError):  # Linux says it there
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _first_kernel(device: torch.device) -> Tensor:
    """(1,): the middle of a 3x3 convolution over 8 channels of ones, 72."""
    image, weight = torch.ones(1, 8, 5, 5, device=device), torch.ones(1, 8, 3, 3, device=device)
    answer = functional.conv2d(image, weight, padding=1)[0, :, 2, 2]
    torch.cuda.synchronize(device)
    return answer
