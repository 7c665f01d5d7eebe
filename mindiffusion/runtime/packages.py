"""Which versions of PyTorch and Pillow will do, and which packages are used when they are there."""

from importlib.util import find_spec

import PIL
import torch
from torch.torch_version import TorchVersion

from mindiffusion.runtime.errors import UserError

# What older ones lack: PyTorch below 2.10 can be made to run code by a checkpoint (CVE-2026-24747); Pillow below 13
# lacks methods that reading an image needs, and known holes are mended in it.
OLDEST = {"torch": "2.10", "pillow": "13.0"}


def check_versions() -> None:
    """UserError for packages that are too old."""
    found = {"torch": torch.__version__, "pillow": PIL.__version__}
    if old := [f"{name} {found[name]}" for name, oldest in OLDEST.items() if TorchVersion(found[name]) < oldest]:
        wanted = " ".join(f'"{name}>={oldest}"' for name, oldest in OLDEST.items())
        raise UserError(f"{' and '.join(old)} will not do here: pip install --upgrade {wanted} torchvision")


def installed(package: str) -> bool:
    """Whether the package can be imported, without importing it."""
    return find_spec(package) is not None


def advice(package: str) -> str:
    """What to do about a package that is missing."""
    return f"{package} is not installed here (pip install {package}, or -r requirements-extras.txt for all extras)."


def require(package: str, purpose: str) -> None:
    """UserError if the package, without which ``purpose`` is impossible, is missing."""
    if not installed(package):
        raise UserError(f"{purpose} is impossible: {advice(package)}")
