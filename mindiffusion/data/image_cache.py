"""Decode every image of a data set once, and keep the result on disk for later runs.

A cache is two files of one name: ``KEY.npy``, uint8 (N, 3, S, S), and ``KEY.json``, which says what is in it. The json
is written last, so a cache with a json is complete; it has the digest of the pixels, so that a damaged one is found.
"""

import errno
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mindiffusion.data.decode import is_enlarged, is_narrow, read_image
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import cache_folder, read_text
from mindiffusion.runtime.locks import hold

CHUNK = 256  # images decoded between two writes
PIECE = 2**26  # bytes that a thread hashes at a time
NO_ROOM = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@dataclass
class Contents:
    """What is in a cache: the digest of its ``pixels``, the names of the unreadable images that were ``skipped``, and
    how many of the others are smaller than the training size or have most of their area cut away."""

    shape: list[int]
    pixels: str = ""
    skipped: list[str] = field(default_factory=list)
    enlarged: int = 0
    narrow: int = 0


def open_cache(key: str, check: bool = True) -> tuple[Tensor, Contents] | None:
    """The memory-mapped images (N, 3, S, S) of a cache and what is known of them, or None if there is no sound one.

    ``check``: whether to compare the pixels with their digest, which reads them all: about a second per gigabyte and
    core.
    """
    path = cache_folder() / f"{key}.npy"
    try:
        contents = Contents(**json.loads(read_text(path.with_suffix(".json"))))
        if not path.is_file():  # a pipe would be waited for
            return None
        # Copy-on-write: ranks share the pages, and PyTorch, which knows no read-only tensors, gets writable memory.
        images = np.load(path, mmap_mode="c")
        whole = path.stat().st_size == images.offset + images.nbytes  # a page beyond the end of a file kills its reader
        sound = whole and images.dtype == np.uint8 and list(images.shape) == contents.shape
        if not sound or (check and pixel_digest(images) != contents.pixels):
            return None
        return torch.from_numpy(images), contents
    except Exception:  # a damaged file fails in many ways, and is no cache
        return None


def pixel_digest(images: np.ndarray) -> str:
    """BLAKE2b of the digests of the pieces of uint8 images (N, 3, S, S), each of PIECE bytes."""
    flat = images.reshape(-1)
    pieces = [flat[start : start + PIECE] for start in range(0, len(flat), PIECE)]
    with ThreadPool(min(8, os.cpu_count() or 1)) as pool:
        digests = pool.map(lambda piece: blake2b(piece, digest_size=16).digest(), pieces)
        return blake2b(b"".join(digests), digest_size=16).hexdigest()


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
        if show and (folder / f"{key}.json").exists():
            print(f"The image cache {folder / key}.npy is damaged: making it again.", file=sys.stderr)
        if locked:  # nobody else is building: these were left by a job that was killed
            for leftover in folder.glob(f"{key}.*.tmp"):
                leftover.unlink()
        if shutil.disk_usage(folder).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with _new_file(folder, f"{key}.npy") as file:
            contents = _write_images(file, root, names, image_size, crop, skip_bad, show)
            file.flush()
            contents.pixels = pixel_digest(np.load(file.name, mmap_mode="r"))
        with _new_file(folder, f"{key}.json") as file:
            file.write(json.dumps(asdict(contents)).encode())


def _write_images(
    file: BinaryIO, root: Path, names: list[str], image_size: int, crop: str, skip_bad: bool, show: bool
) -> Contents:
    """Stream the images to ``file`` in the npy format. Unreadable ones are left out.

    Plain writes and no memory map: on a full disk a write raises an error, a map kills the process.
    """

    def attempt(name: str) -> tuple[np.ndarray, tuple[int, int]] | Exception:
        try:
            return read_image(os.path.join(root, name), image_size, crop)
        except Exception as error:  # a broken file can raise nearly anything in a decoder
            return error

    contents = Contents([len(names), 3, image_size, image_size])
    _write_header(file, contents)
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
                contents.skipped += bad
                good = [results[name] for name in chunk if name not in bad]
                contents.enlarged += sum(is_enlarged(size, image_size, crop) for _, size in good)
                contents.narrow += sum(is_narrow(size) for _, size in good)
                file.write(b"".join(pixels.tobytes() for pixels, _ in good))
                bar.update(len(chunk))
    finally:
        pool.terminate()
    contents.shape[0] -= len(contents.skipped)
    if not contents.shape[0]:
        raise UserError(
            f"None of the {len(names)} images in {root} can be read; the first is {names[0]}. Check that they are "
            "complete (downloaded and unpacked without an error) and that you are allowed to read them."
        )
    if contents.skipped:  # numpy pads the header, so that another count fits in its place
        file.seek(0)
        _write_header(file, contents)
    return contents


def _write_header(file: BinaryIO, contents: Contents) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": tuple(contents.shape)}
    np.lib.format.write_array_header_1_0(file, header)


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
        if error.errno in NO_ROOM:
            raise UserError(
                f"The image cache needs {needed / 1e6:.1f} MB in {folder}, which are not free ({reason}). Free some "
                "space, for instance by deleting old caches there, or set MINDIFFUSION_CACHE to a folder on a larger "
                "disk."
            ) from error
        raise UserError(
            f"The image cache folder {folder} cannot be written ({reason}). Set MINDIFFUSION_CACHE to a folder in "
            "which you may create files."
        ) from error
