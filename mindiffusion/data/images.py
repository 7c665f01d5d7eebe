"""Training images as one uint8 tensor: found in a folder and cached at training size, or synthetic.

There are no worker processes: a batch is a gather from that tensor, on the device that holds it.
"""

import os
import stat
import sys
from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor

from mindiffusion.data.decode import CROPS
from mindiffusion.data.image_cache import Contents, build_cache, cache_folder, open_cache
from mindiffusion.data.synthetic import SYNTHETIC, is_synthetic, synthetic_images
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.env_file import no_images_named
from mindiffusion.runtime.errors import UserError

NUM_SYNTHETIC = 4096
EXTENSIONS = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
NO_FILE = "pipe or device"
CACHE_VERSION = 2  # raise it when the same files and options come to give other pixels
LISTED = 10  # skipped images, or endings, to name


@dataclass(frozen=True)
class ImageData:
    """``images``: uint8 (N, 3, S, S), perhaps memory-mapped. ``fingerprint``: tells this data set from others."""

    images: Tensor
    fingerprint: dict[str, str | int]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class ImageFile:
    """``name`` is the posix path relative to the data folder; ``size`` in bytes; ``times``: when its content and when
    anything about it was last changed, in ns. The second cannot be set by a program that puts back the first."""

    name: str
    size: int
    times: tuple[int, int]


def load_images(
    data_path: str | None,
    image_size: int,
    crop: str,
    seed: int,
    ranks: Ranks,
    skip_bad_images: bool = False,
    num_synthetic: int = NUM_SYNTHETIC,
    places: tuple[int, int] | None = None,
) -> ImageData:
    """The images of the folder ``data_path``, or ``num_synthetic`` generated ones if it names a synthetic set.

    Every rank calls this with the same arguments. One process per machine decodes the folder into the cache, then all
    of them map it. ``crop`` is one of ``CROPS``; ``seed`` matters to synthetic images only. ``places``: only these of
    the sorted images, first and last, from 1. UserError, on every rank, for a path, an image or a cache folder that
    needs the user's attention.
    """
    if is_synthetic(data_path):
        _refuse_places(places)
        fingerprint = {"kind": SYNTHETIC, "images": num_synthetic, "image_size": image_size, "seed": seed}
        if data_path != SYNTHETIC:
            fingerprint["set"] = data_path
        return ImageData(synthetic_images(num_synthetic, image_size, seed, data_path), fingerprint)
    if crop not in CROPS:
        raise UserError(f"There is no crop {crop!r}. Choose --crop from {', '.join(CROPS)}.")

    first = ranks.local_rank == 0  # of this machine's processes

    def find_and_cache() -> tuple[Path, list[ImageFile], str, tuple[Tensor, Contents] | None]:
        root = _data_folder(data_path)
        files, left_out = find_files(root)
        if ranks.is_main:
            print(_describe(root, files, left_out), file=sys.stderr)
        key = _cache_key(root, files, image_size, crop, skip_bad_images)
        cached = open_cache(key) if first else None
        if first and cached is None:
            build_cache(key, root, [f.name for f in files], image_size, crop, skip_bad_images, show=ranks.is_main)
        return root, files, key, cached

    root, files, key, cached = ranks.run_on_all(find_and_cache)
    images, contents = ranks.run_on_all(lambda: cached or _cached(root, key, check=first))
    if ranks.is_main:
        for line in _remarks(contents, image_size, crop):
            print(line, file=sys.stderr)
    fingerprint: dict[str, str | int] = {
        "kind": "folder",
        "images": len(images),
        "image_size": image_size,
        "crop": crop,
        "files": _digest(f"{file.name}\0{file.size}" for file in files),  # the same for a copy of the folder
        "skipped": len(contents.skipped),
        "pixels": contents.pixels,
    }
    if places:
        images = images[_slice(places, len(images), data_path)]
        fingerprint |= {"images": len(images), "places": "{}-{}".format(*places)}
    return ImageData(images, fingerprint)


def _describe(root: Path, files: list[ImageFile], left_out: Counter[str]) -> str:
    """How many images were found, and what else is there."""
    counts = [f"{count:,} {ending}" for ending, count in left_out.most_common(LISTED)]
    if more := left_out.total() - sum(count for _, count in left_out.most_common(LISTED)):
        counts.append(f"{more:,} others")
    images = "1 image" if len(files) == 1 else f"{len(files):,} images"
    return f"{images} in {root}" + (f"; left out: {', '.join(counts)}" if counts else "")


def _remarks(contents: Contents, image_size: int, crop: str) -> list[str]:
    """What happened to images on their way into the cache, a line each."""
    lines, count, skipped = [], contents.shape[0], contents.skipped
    if skipped:
        more = f" and {len(skipped) - LISTED} more" if len(skipped) > LISTED else ""
        lines.append(f"Skipped {len(skipped)} unreadable images: {', '.join(skipped[:LISTED])}{more}")
    changes = []
    if contents.enlarged:
        changes.append(f"{contents.enlarged:,} are smaller than {image_size}x{image_size} and are enlarged")
    if contents.narrow:
        fate = "are squeezed" if crop == "none" else "lose more than half to the crop"
        changes.append(f"{contents.narrow:,} are more than twice as long as wide and {fate}")
    return lines + [f"Of {count:,} images {', '.join(changes)}."] * bool(changes)


def _cached(root: Path, key: str, check: bool) -> tuple[Tensor, Contents]:
    cached = open_cache(key, check)
    if cached is None:
        raise UserError(
            f"The image cache of {root} in {cache_folder()} is gone since this run wrote it. Start again when no other "
            "program is changing the images or deleting caches."
        )
    return cached


def parse_range(text: str) -> tuple[int, int]:
    """ "8001-9000" as (8001, 9000): places in the sorted folder, from 1, both included. ValueError otherwise."""
    first, last = (int(part) for part in text.split("-"))
    if not 1 <= first <= last:
        raise ValueError(text)
    return first, last


def _refuse_places(places: tuple[int, int] | None) -> None:
    if places:
        raise UserError("--train-images chooses files of a folder; synthetic images are drawn anew. Leave it out.")


def _slice(places: tuple[int, int], count: int, data_path: str) -> slice:
    first, last = places
    if last > count:
        raise UserError(f"images {first}-{last} are asked for, but {data_path} has {count} images.")
    return slice(first - 1, last)


def find_images(root: Path) -> list[ImageFile]:
    """The images in ``root`` and its subfolders, sorted by name. UserError if there are none."""
    return find_files(root)[0]


def find_files(root: Path) -> tuple[list[ImageFile], Counter[str]]:
    """The images as ``find_images`` has them, and how many other files of each ending there are.

    Links are followed, but each folder is visited once, so a link to a parent is harmless. Hidden files and folders are
    left alone: macOS leaves a ``._x.jpg`` that is no image beside x.jpg. A link to nothing gets size -1.
    """

    def fail(error: OSError) -> None:
        raise UserError(f"The data folder {error.filename} cannot be read ({error.strerror}): allow it, or remove it.")

    files, visited, left_out = [], set(), Counter()
    for folder, subfolders, names in os.walk(root, onerror=fail, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in (name for name in names if not name.startswith(".")):
            path = Path(folder, name)
            if path.suffix.lower() not in EXTENSIONS:
                left_out[path.suffix.lower() or "without an ending"] += 1
            elif (file := _image_file(root, path)) is None:
                left_out[NO_FILE] += 1
            else:
                files.append(file)
    if not files:
        raise UserError(
            f"There are no images in {root} or its subfolders (looking for {', '.join(EXTENSIONS)}). Unpack the data "
            "set there, or point CELEBA_PATH or --data-path at the folder that holds it."
        )
    return sorted(files, key=lambda file: file.name), left_out


def _image_file(root: Path, path: Path) -> ImageFile | None:
    """None for what cannot be read like a file, and could be waited for without end."""
    name = path.relative_to(root).as_posix()
    try:
        status = path.stat()
    except OSError:
        return ImageFile(name, -1, (0, 0))
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return ImageFile(name, status.st_size, times) if stat.S_ISREG(status.st_mode) else None


def device_images(data: ImageData, device: torch.device) -> Tensor:
    """The images on ``device`` if they take at most half of its free memory, else where they are."""
    if device.type != "cuda":
        return data.images
    free, _ = torch.cuda.mem_get_info(device)
    return data.images.to(device) if data.images.nbytes <= free / 2 else data.images


def get_batch(images: Tensor, indices: Tensor, flips: Tensor, device: torch.device) -> Tensor:
    """The images at ``indices`` (B,), mirrored left to right where ``flips`` (B,) is True.

    ``images`` is uint8 (N, 3, S, S) on ``device`` or on the CPU, ``indices`` int64. Returns float32 (B, 3, S, S) in
    [-1, 1] on ``device``. The CPU does not wait for the GPU, unless images are on the CPU and indices on the GPU.
    """
    batch = images.index_select(0, indices.to(images.device, non_blocking=images.is_cuda))
    if device.type == "cuda" and not batch.is_cuda:
        batch = batch.pin_memory()  # an asynchronous copy needs pinned memory
    batch = batch.to(device, non_blocking=True)
    flips = flips.to(device, non_blocking=True)[:, None, None, None]
    return torch.where(flips, batch.flip(3), batch).float().div_(127.5).sub_(1)


def _data_folder(data_path: str | None) -> Path:
    """The folder that ``data_path`` names, with links resolved. UserError if it names none."""
    if not data_path or not data_path.strip():
        raise no_images_named()
    root = Path(os.path.realpath(os.path.expanduser(data_path)))
    if root.is_dir():
        return root
    if root.exists():
        raise UserError(
            f"The data path {data_path} is a file, not a folder. Unpack it if it is an archive, and point CELEBA_PATH "
            "or --data-path at the folder of images."
        )
    raise UserError(
        f"The data path {data_path} does not exist (looked for {root}). Correct CELEBA_PATH in .env or the "
        "environment, or --data-path, or use --data-path synthetic."
    )


def _cache_key(root: Path, files: list[ImageFile], image_size: int, crop: str, skip_bad_images: bool) -> str:
    options = f"{CACHE_VERSION}\0{root}\0{image_size}\0{crop}\0{skip_bad_images}"
    return _digest([options, *(f"{file.name}\0{file.size}\0{file.times}" for file in files)])


def _digest(lines) -> str:
    # surrogateescape: file names need not be valid UTF-8
    return blake2b("\n".join(lines).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def count_images(
    data_path: str | None, num_synthetic: int = NUM_SYNTHETIC, places: tuple[int, int] | None = None
) -> int:
    """How many images ``load_images`` would find, without reading them. UserError as there."""
    if is_synthetic(data_path):
        _refuse_places(places)
        return num_synthetic
    count = len(find_images(_data_folder(data_path)))
    return len(range(count)[_slice(places, count, data_path)]) if places else count
