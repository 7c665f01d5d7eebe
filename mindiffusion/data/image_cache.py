"""Decode every image of a data set once, crop it, shrink it, and keep the result on disk for later runs.

A cache is two files of one name: ``KEY.npy``, uint8 (N, 3, S, S), and ``KEY.json``, which says how many images it holds
and which files were skipped. The json is written last, so a cache with a json is complete.
"""

import errno
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import cache_folder
from mindiffusion.runtime.locks import hold

CELEBA_WIDTH = 178  # pixels of the aligned originals, to which the crops "140" and "148" refer
CROPS = ("square", "140", "148", "none")
CHUNK = 256  # images decoded between two writes


def crop_box(width: int, height: int, crop: str) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of one of ``CROPS`` in an image of that size.

    "140" and "148" are the centre squares of the DDPM papers' CelebA, scaled by width / 178 and limited to the image.
    """
    if crop == "none":
        return 0, 0, width, height
    side = min(width, height)
    if crop != "square":
        side = min(side, round(int(crop) * width / CELEBA_WIDTH))
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def decode(path: str, image_size: int, crop: str) -> np.ndarray:
    """The image file as uint8 (3, image_size, image_size): upright, RGB, cropped, shrunk with antialiasing.

    Transparent images lie on white; 16-bit greys keep their top 8 bits. Raises whatever Pillow raises.
    """
    with Image.open(path) as image:
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion to RGB would saturate
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("RGB").crop(crop_box(*image.size, crop))
        image = image.resize((image_size, image_size), Image.Resampling.BICUBIC)
        return np.asarray(image).transpose(2, 0, 1)


def open_cache(key: str) -> tuple[Tensor, list[str]] | None:
    """The memory-mapped images (N, 3, S, S) and the skipped files of a cache, or None if there is no sound one."""
    folder = cache_folder()
    try:
        about = json.loads((folder / f"{key}.json").read_text())
        # Copy-on-write: ranks share the pages, and PyTorch, which knows no read-only tensors, gets writable memory.
        images = np.load(folder / f"{key}.npy", mmap_mode="c")
        sound = images.dtype == np.uint8 and list(images.shape) == about["shape"]
        return (torch.from_numpy(images), list(about["skipped"])) if sound else None
    except Exception:  # a damaged file fails in many ways, and is no cache
        return None


def build_cache(key: str, root: Path, names: list[str], image_size: int, crop: str, skip_bad: bool, show: bool) -> None:
    """Write the cache ``key`` of the images ``names`` in ``root``, unless another job does so first.

    ``show`` allows a progress bar. Leaves nothing half-written if it fails or is interrupted. UserError for an
    unreadable image (without ``skip_bad``), if no image is readable, and if the cache folder cannot hold the cache.
    """
    folder = cache_folder()
    needed = len(names) * 3 * image_size**2 + 2**16  # bytes: the pixels, and ample room for the rest
    with _writing_to(folder, needed), _lock(folder, key, show) as locked:
        if open_cache(key) is not None:  # built by another job while this one waited
            return
        if locked:  # nobody else is building: these were left by a job that was killed
            for leftover in folder.glob(f"{key}.*.tmp"):
                leftover.unlink()
        if shutil.disk_usage(folder).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with _new_file(folder, f"{key}.npy") as file:
            skipped = _write_images(file, root, names, image_size, crop, skip_bad, show)
        with _new_file(folder, f"{key}.json") as file:
            shape = [len(names) - len(skipped), 3, image_size, image_size]
            about = {"folder": str(root), "crop": crop, "shape": shape, "skipped": skipped}
            file.write(json.dumps(about).encode())


def _write_images(
    file: BinaryIO, root: Path, names: list[str], image_size: int, crop: str, skip_bad: bool, show: bool
) -> list[str]:
    """Stream the images to ``file`` in the npy format. Returns the names of the unreadable ones, which are left out.

    Plain writes and no memory map: on a full disk a write raises an error, a map kills the process.
    """

    def attempt(name: str) -> np.ndarray | Exception:
        try:
            return decode(os.path.join(root, name), image_size, crop)
        except Exception as error:  # a broken file can raise nearly anything in a decoder
            return error

    def write_header(count: int) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, 3, image_size, image_size)}
        np.lib.format.write_array_header_1_0(file, header)

    skipped: list[str] = []
    write_header(len(names))
    title = f"caching {len(names)} images at {image_size}x{image_size}"
    # Of threads: Pillow works outside the interpreter lock. To end it waits for no thread that is stuck in a file.
    pool = ThreadPool(min(32, os.cpu_count() or 1))
    try:
        # disable=None: a bar on a terminal only
        with tqdm(total=len(names), desc=title, unit="image", mininterval=0.5, disable=None if show else True) as bar:
            for start in range(0, len(names), CHUNK):
                chunk = names[start : start + CHUNK]
                results = dict(zip(chunk, pool.map(attempt, chunk), strict=True))
                bad = [name for name in chunk if isinstance(results[name], Exception)]
                if bad and not skip_bad:
                    raise _unreadable(root / bad[0], results[bad[0]])
                skipped += bad
                file.write(b"".join(results[name].tobytes() for name in chunk if name not in bad))
                bar.update(len(chunk))
    finally:
        pool.terminate()
    if len(skipped) == len(names):
        raise UserError(
            f"None of the {len(names)} images in {root} can be read; the first is {names[0]}. Check that they are "
            "complete (downloaded and unpacked without an error) and that you are allowed to read them."
        )
    if skipped:  # numpy pads the header, so that another count fits in its place
        file.seek(0)
        write_header(len(names) - len(skipped))
    return skipped


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(
        f"The image {path} cannot be read ({error}). Mend or remove it, or pass --skip-bad-images to leave out all "
        "unreadable images and get a list of them."
    )


@contextmanager
def _new_file(folder: Path, name: str) -> Iterator[BinaryIO]:
    """A binary file that gets its name in ``folder`` only when the block has ended well; else it is removed."""
    path = folder / f"{Path(name).stem}.{uuid.uuid4().hex}.tmp"  # not tempfile: its files are for their owner alone
    try:
        with open(path, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(path, folder / name)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _lock(folder: Path, key: str, show: bool) -> Iterator[bool]:
    """Create ``folder`` and hold its lock ``key`` among processes. Yields False where that is not possible: two
    builders without a lock do the work twice, to the same result, as each replaces the cache as a whole."""

    def say(text: str) -> None:
        if show:
            print(text, file=sys.stderr)

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{key}.lock"
    with ExitStack() as held:
        try:
            waiting = "Waiting for another job that is caching the same images."
            locked = held.enter_context(hold(path, on_wait=lambda: say(waiting)))
        except OSError as error:
            if not os.path.lexists(path):  # the folder is at fault
                raise
            say(f"Going on without the lock {path} ({error.strerror}): it is a link, or another user's. Remove it.")
            locked = False
        yield locked


@contextmanager
def _writing_to(folder: Path, needed: int) -> Iterator[None]:
    """Turn an OSError in the block, which writes ``needed`` bytes to ``folder``, into a UserError with a remedy."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"The image cache needs {needed / 1e6:.1f} MB in {folder}, which are not free ({reason}). Free some "
                "space, for instance by deleting old caches there, or set MINDIFFUSION_CACHE to a folder on a larger "
                "disk."
            ) from error
        raise UserError(
            f"The image cache folder {folder} cannot be written ({reason}). Set MINDIFFUSION_CACHE to a folder in "
            "which you may create files."
        ) from error
