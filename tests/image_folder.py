"""Loading a folder of images as a run would, for the tests of data."""

import struct
import zlib
from pathlib import Path

from mindiffusion.data.images import ImageData, load_images
from mindiffusion.runtime.distributed import Ranks

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def load(path, **changes) -> ImageData:
    """The images of a folder, at 32 pixels and on one process unless ``changes`` say otherwise."""
    arguments = {"image_size": 32, "crop": "square", "seed": 0, "ranks": Ranks()}
    return load_images(str(path), **(arguments | changes))


def fail_to_decode(*_):
    """Stands for image_cache.read_image where it must not be called."""
    raise AssertionError("decoded again")


def data_files(cache: Path) -> list[str]:
    """The kinds of file in a cache folder, locks left out."""
    return sorted(path.suffix for path in cache.glob("*") if path.suffix != ".lock")


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels, and has a hundred bytes of them."""
    chunks = (
        (b"IHDR", struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(99))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
