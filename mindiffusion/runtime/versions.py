"""Which versions of the packages below this program will do."""

from itertools import takewhile

import PIL
import torch

# What older ones lack: PyTorch below 2.10 can be made to run code by a checkpoint (CVE-2026-24747); Pillow below 13
# lacks methods that reading an image needs, and known holes are mended in it.
OLDEST = {"torch": (2, 10), "pillow": (13, 0)}


def too_old() -> str:
    """What to do about packages that are too old, "" if none is."""
    found = {"torch": torch.__version__, "pillow": PIL.__version__}
    old = [f"{name} {found[name]}" for name, oldest in OLDEST.items() if _numbers(found[name]) < oldest]
    if not old:
        return ""
    wanted = " ".join(f'"{name}>={".".join(map(str, oldest))}"' for name, oldest in OLDEST.items())
    return f"{' and '.join(old)} will not do here: pip install --upgrade {wanted} torchvision"


def _numbers(version: str) -> tuple[int, ...]:
    """ "2.12.1+cu126" as (2, 12)."""
    return tuple(int("0" + "".join(takewhile(str.isdigit, part))) for part in version.split(".")[:2])
