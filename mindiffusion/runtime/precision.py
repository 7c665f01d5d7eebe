"""How this machine computes: precision, memory format, compiled code. None of it changes the mathematics."""

import atexit
import ctypes
import getpass
import os
import re
import shutil
import stat
import tempfile
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import torch

from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import cache_folder
from mindiffusion.runtime.terminal import warn

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


def resolve_precision(precision: str, device: torch.device, long_run: bool = False) -> str:
    """ "auto" is bf16 on a GPU that has it, and in a long run on a CPU that has it; else fp32, as on Apple's GPUs.
    UserError if bf16 was asked of a GPU without it."""
    if device.type == "cpu":
        return ("bf16" if long_run and cpu_has_bf16() else "fp32") if precision == "auto" else precision
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not has_bf16:
        raise UserError("This GPU has no bf16 arithmetic, or it was never tried there: use --precision fp32.")
    return ("bf16" if has_bf16 else "fp32") if precision == "auto" else precision


def widest(device: torch.device) -> torch.dtype:
    """float64, where the device has it: Apple's GPUs do not."""
    return torch.float32 if device.type == "mps" else torch.float64


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware: AVX512-BF16 or AMX. (Others emulate it, slower than fp32.)"""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # absent from some versions of PyTorch
    return any(getattr(torch.cpu, name, bool)() for name in names)


def set_backend_flags(precision: str, device: torch.device) -> None:
    """fp32 means fp32: cuDNN would otherwise round convolutions to TF32, and cuBLAS matrix products where the
    environment asks for it (TORCH_ALLOW_TF32_CUBLAS_OVERRIDE). cuDNN's algorithms are chosen by timing them.
    On a CPU, freed memory is kept for the next step, and bf16 without instructions for it is warned of."""
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    if device.type == "cpu":
        keep_freed_memory()
        if precision == "bf16" and not cpu_has_bf16():
            warn("warning: this CPU has no bf16 instructions, and emulates them slowly: use --precision fp32.")


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


def memory_format(precision: str, device: torch.device, compiled: bool = False) -> torch.memory_format:
    """channels_last, which bf16 kernels want, in bf16 on a CPU and in compiled bf16 code on a GPU; else contiguous.

    In eager code on a GPU group norm returns contiguous tensors whatever it is given, so that with channels_last
    weights 31 of the 35 convolutions would convert their input back. fp32 on a CPU without bf16 units is faster
    without: 51 against 45 images/s at n_feat 32 (2 cores of an AMD EPYC, batch 64).
    """
    wanted = precision == "bf16" and (compiled or device.type == "cpu")
    return torch.channels_last if wanted else torch.contiguous_format


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """The context in which networks run: bf16 for convolutions and linear layers, or nothing special."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def without_autocast(device: torch.device) -> AbstractContextManager:
    """The context in which what a network needs in fp32 is computed, whatever surrounds it."""
    return torch.autocast("cpu" if device.type == "meta" else device.type, enabled=False)  # meta has no autocast


def keep_compiled_code() -> str:
    """Let PyTorch keep compiled code, which it later runs, in a folder that is the user's own and outlives a reboot,
    unless the user has chosen one. Returns the folder.

    PyTorch chooses, in a place of /tmp that all the world knows, as soon as the first optimizer is made; so this is
    called before, and again before compiling. Where no folder is safe, one lasts as long as this process.
    """
    default = _default_of_pytorch()
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR", default) == default:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = _compiled_folder()
    if not _private(Path(default)):  # where the headers go, whatever the variable says
        os.environ.setdefault("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0")
    return os.environ["TORCHINDUCTOR_CACHE_DIR"]


def _default_of_pytorch() -> str:
    """Where PyTorch would keep compiled code: default_cache_dir of torch/_inductor/runtime/cache_dir_utils.py, whose
    import takes seconds. It asks for the user's name; a user without an account is given one."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):
        name = os.environ["LOGNAME"] = f"user{os.geteuid() if hasattr(os, 'geteuid') else ''}"
    return os.path.join(tempfile.gettempdir(), "torchinductor_" + re.sub(r'[\\/:*?"<>|]', "_", name))


def _compiled_folder() -> str:
    with suppress(UserError):  # a user without a home
        folder = cache_folder() / "compiled"
        if _private(folder):
            return str(folder)
        warn(f"Compiled code is not kept: {folder} cannot be made, is a link, or others can write in it.")
    own = tempfile.mkdtemp(prefix="mindiffusion_")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def _private(folder: Path) -> bool:
    """Make ``folder`` one of this user's own, which nobody else may enter. False if it cannot be made, is a link or
    another user's, or was open for others to write."""
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not hasattr(os, "geteuid"):  # Windows: a user's cache folder is the user's
            return True
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022:
            folder.chmod(0o700)
            return True
    return False
