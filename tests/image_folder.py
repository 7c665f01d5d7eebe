"""Loading a folder of images as a run would, for the tests of data."""

from pathlib import Path

from mindiffusion.data.images import ImageData, load_images
from mindiffusion.runtime.distributed import Ranks


def load(path, **changes) -> ImageData:
    arguments = {"image_size": 32, "crop": "square", "seed": 0, "ranks": Ranks()}
    return load_images(str(path), **(arguments | changes))


def fail_to_decode(*_):
    raise AssertionError("decoded again")


def data_files(cache: Path) -> list[str]:
    return sorted(path.suffix for path in cache.glob("*") if path.suffix != ".lock")
