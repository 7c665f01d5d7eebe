"""Decode every image of a data set once, and keep the result on disk for later runs.

A cache is two files of one name: ``KEY.bin``, the bytes of uint8 (N, 3, S, S), and ``KEY.json``, which says what is in
it and is written last. It has the digest of the pixels, so that a damaged cache is found.
"""

import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mindiffusion.data.decode import read_image
from mindiffusion.data.image_files import ImageFolder, digest
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError, first_line
from mindiffusion.runtime.files import (
    advice_when_unwritable,
    cache_folder,
    prepare_output,
    read_text,
    remove_leftovers,
    write_atomically,
)
from mindiffusion.runtime.locks import hold

VERSION = 3  # raise it when the same files and options come to give another cache
CHUNK = 256  # images decoded between two writes
PIECE = 2**26  # bytes that a thread hashes at a time
NARROW = 2  # a side so many times the other: a square crop loses more than half of the image
LISTED = 10  # skipped images to name


@dataclass
class Contents:
    """What is in a cache: the digest of its ``pixels``, the names of the unreadable images that were ``skipped``, and
    how many of the others are smaller than the training size or have most of their area cut away."""

    shape: list[int]
    pixels: str = ""
    skipped: list[str] = field(default_factory=list)
    enlarged: int = 0
    narrow: int = 0

    def is_typed(self) -> bool:
        """Whether the values are of the types above: a file may say anything."""
        kinds = [type(value) for value in vars(self).values()]
        return kinds == [list, str, list, int, int] and all(isinstance(name, str) for name in self.skipped)

    def count(self, size: tuple[int, int], side: int) -> None:
        """Take note of an image of this width and height, of which the crop leaves so much."""
        self.enlarged += side < self.shape[-1]
        self.narrow += max(size) > NARROW * min(size)

    def remarks(self, crop: str) -> Iterator[str]:
        """What happened to images on their way into the cache, a line each."""
        count, size, skipped = self.shape[0], self.shape[-1], self.skipped
        if skipped:
            more = f" and {len(skipped) - LISTED} more" if len(skipped) > LISTED else ""
            yield f"Skipped {len(skipped)} unreadable images: {', '.join(skipped[:LISTED])}{more}"
        if self.enlarged:
            yield f"Of {count:,} images {self.enlarged:,} are smaller than {size}x{size} and are enlarged."
        if self.narrow:
            fate = "are squeezed" if crop == "none" else "lose more than half to the crop"
            yield f"Of {count:,} images {self.narrow:,} are more than twice as long as wide and {fate}."


def cached_images(
    folder: ImageFolder, image_size: int, crop: str, skip_bad: bool, ranks: Ranks
) -> tuple[Tensor, Contents]:
    """The memory-mapped images of ``folder`` and what is known of them. Every rank calls this; the first of each
    machine makes the cache, if there is no sound one.

    UserError, on every rank, for an unreadable image (without ``skip_bad``), if no image is readable, and if the cache
    cannot be written.
    """
    options = f"{VERSION}\0{folder.root}\0{image_size}\0{crop}\0{skip_bad}"
    path = cache_folder() / digest([options, *(f"{file.name}\0{file.size}\0{file.times}" for file in folder.files)])
    path = path.with_suffix(".bin")

    def build() -> None:
        if ranks.local_rank == 0 and _open(path) is None:
            _build(path, folder, image_size, crop, skip_bad)

    def open_built() -> tuple[Tensor, Contents]:
        if cached := _open(path, check=False):
            return cached
        raise UserError(f"The image cache {path} is gone since it was written: start again when nobody deletes caches.")

    ranks.run_on_all(build)
    images, contents = ranks.run_on_all(open_built)
    if ranks.is_main:
        for line in contents.remarks(crop):
            print(line, file=sys.stderr)
    return images, contents


def _open(path: Path, check: bool = True) -> tuple[Tensor, Contents] | None:
    """None if there is no sound cache. ``check``: whether to compare the pixels with their digest, which reads them
    all: about a second per gigabyte and core."""
    try:
        contents = Contents(**json.loads(read_text(path.with_suffix(".json"))))
        # A pipe would be waited for, and a page beyond the end of a file kills its reader.
        if not contents.is_typed() or not path.is_file() or path.stat().st_size != math.prod(contents.shape):
            return None
        images = _mapped(path, contents)
        return None if check and pixel_digest(images) != contents.pixels else (torch.from_numpy(images), contents)
    except Exception:  # a damaged file fails in many ways, and is no cache
        return None


def _mapped(path: Path, contents: Contents) -> np.ndarray:
    """Copy-on-write: ranks share the pages, and PyTorch, which knows no read-only tensors, gets writable memory."""
    return np.memmap(path, np.uint8, mode="c", shape=tuple(contents.shape))


def pixel_digest(images: np.ndarray) -> str:
    """BLAKE2b of the digests of the pieces of uint8 images (N, 3, S, S), each of PIECE bytes."""
    flat = images.reshape(-1)
    pieces = [flat[start : start + PIECE] for start in range(0, len(flat), PIECE)]
    with ThreadPool(min(8, os.cpu_count() or 1)) as pool:
        digests = pool.map(lambda piece: blake2b(piece, digest_size=16).digest(), pieces)
        return blake2b(b"".join(digests), digest_size=16).hexdigest()


def _build(path: Path, folder: ImageFolder, image_size: int, crop: str, skip_bad: bool) -> None:
    """Write the cache, unless another process does so first. Leaves nothing half-written, however it ends. On a file
    system without locks two builders do the work twice, to the same result."""
    needed = len(folder.files) * 3 * image_size**2 + 2**16  # bytes: the pixels, and ample room for the rest
    advice = f"The image cache needs {needed / 1e6:.1f} MB there; set MINDIFFUSION_CACHE to have it elsewhere."
    with advice_when_unwritable(advice):
        prepare_output(path.parent)
        with hold(path.with_suffix(".lock")) as locked:
            if _open(path):  # built by another process while this one waited
                return
            if path.with_suffix(".json").exists():
                print(f"The image cache {path} is damaged: making it again.", file=sys.stderr)
            if locked:  # nobody else is building: these were left by a process that was killed
                remove_leftovers(path.parent, path.stem)
            contents = Contents([len(folder.files), 3, image_size, image_size])
            write_atomically(path, lambda at: _write_images(at, folder, contents, crop, skip_bad))
            write_atomically(path.with_suffix(".json"), lambda at: at.write_text(json.dumps(asdict(contents))))


def _write_images(path: Path, folder: ImageFolder, contents: Contents, crop: str, skip_bad: bool) -> None:
    """Write the images without the unreadable ones, and complete ``contents``. Plain writes and no memory map: on a
    full disk a write raises an error, a map kills the process."""
    names, size = [file.name for file in folder.files], contents.shape[-1]
    title = f"caching {len(names)} images at {size}x{size}"
    found = _read_all(folder.root, names, size, crop)
    with open(path, "wb") as file:
        for name, image in tqdm(found, title, len(names), unit="image", disable=None):  # None: on a terminal only
            if not isinstance(image, Exception):
                pixels, its_size, side = image
                contents.count(its_size, side)
                file.write(pixels.tobytes())
            elif skip_bad:
                contents.skipped.append(name)
            else:
                raise UserError(
                    f"The image {folder.root / name} cannot be read ({first_line(image)}). Mend or remove it, or leave "
                    "out all such images, and get a list of them, with --skip-bad-images."
                )
    contents.shape[0] -= len(contents.skipped)
    if not contents.shape[0]:
        raise UserError(f"None of the {len(names)} images in {folder.root} can be read: unpack them again, and whole.")
    contents.pixels = pixel_digest(_mapped(path, contents))


def _read_all(root: Path, names: list[str], size: int, crop: str) -> Iterator[tuple[str, tuple | Exception]]:
    """Each name and what ``read_image`` makes of its file, or the error."""

    def attempt(name: str) -> tuple | Exception:
        try:
            return read_image(os.path.join(root, name), size, crop)
        except Exception as error:  # a broken file can raise nearly anything in a decoder
            return error

    # Of threads: Pillow works outside the interpreter lock. To end it waits for no thread that is stuck in a file.
    with ThreadPool(min(32, os.cpu_count() or 1)) as pool:
        for start in range(0, len(names), CHUNK):
            chunk = names[start : start + CHUNK]
            yield from zip(chunk, pool.map(attempt, chunk), strict=True)
