"""What makes a step fast on this machine: precision, memory format, compilation. None of it changes the mathematics."""

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor, nn

from mindiffusion.config import TrainConfig
from mindiffusion.cuda_graph import CudaGraph
from mindiffusion.distributed import Ranks
from mindiffusion.errors import UserError
from mindiffusion.image_cache import cache_folder

# A run on a CPU is long from so many images on, counted as 32x32 images at n_feat 32: about a quarter of an hour on two
# cores. Compiling takes one to two minutes and pays only then.
LONG_RUN = 100_000

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


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


def resolve_precision(precision: str, device: torch.device, long_run: bool = False) -> str:
    """ "auto" is bf16 on a GPU that has it, and in a long run on a CPU that has it; else fp32.

    UserError if bf16 was asked of a GPU without it.
    """
    on_gpu = device.type == "cuda"
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_has_bf16()
    if precision == "auto":
        return "bf16" if has_bf16 and (long_run or on_gpu) else "fp32"
    if precision == "bf16" and on_gpu and not has_bf16:
        raise UserError(f"{torch.cuda.get_device_name(device)} has no bf16 arithmetic: use --precision fp32.")
    return precision


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware: AVX512-BF16 or AMX. (Others emulate it, slower than fp32.)"""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # absent from some versions of PyTorch
    return any(getattr(torch.cpu, name, bool)() for name in names)


def set_backend_flags(precision: str, device: torch.device) -> None:
    """fp32 means fp32: cuDNN would otherwise round convolutions to TF32. Its algorithms are chosen by timing them.
    On a CPU, freed memory is kept for the next step."""
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    torch.backends.cudnn.benchmark = True
    if device.type == "cpu":
        keep_freed_memory()


def keep_freed_memory() -> None:
    """Ask glibc to keep what is freed. It returns large tensors to the system and has to zero their pages again at each
    step, which nearly halves the speed at batch 256 in fp32. Without glibc nothing happens."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(M_MMAP_MAX, 0)  # all from the heap, which keeps
    mallopt(M_TRIM_THRESHOLD, -1)  # its free end
    mallopt(M_TOP_PAD, 2**28)  # and grows in large pieces


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


def denoiser(
    net: nn.Module, precision: str, device: torch.device, compiled: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    """``net`` for sampling, on its ``device``: (x_t, t / n_T) -> noise in the precision of training.

    On CUDA it is recorded as a CUDA graph, whose result the next call overwrites. With ``compiled`` it is compiled
    too; what cannot be compiled runs as it is.
    """
    function: Callable[[Tensor, Tensor], Tensor] = net
    if compiled:
        keep_compiled_code()
        torch._dynamo.config.suppress_errors = True  # a frame that cannot be compiled runs as it is
        function = torch.compile(net, dynamic=False)

    def predict_noise(x: Tensor, t: Tensor) -> Tensor:
        with autocast(precision, device):
            return function(x.contiguous(memory_format=memory_format(precision, device)), t)

    if device.type != "cuda":
        return predict_noise
    return CudaGraph(
        predict_noise,
        device,
        lambda error: print(f"sampling without a CUDA graph: {first_line(error)}", file=sys.stderr),
    )
