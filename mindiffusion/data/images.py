"""Training images as one uint8 tensor: found in a folder and cached at training size, or synthetic.

There are no worker processes: a batch is a gather from that tensor, on the device that holds it.
"""

import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from mindiffusion.data.image_cache import cached_images
from mindiffusion.data.image_files import digest, find_images
from mindiffusion.data.synthetic import SYNTHETIC, is_synthetic, synthetic_images
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError

NUM_SYNTHETIC = 4096


@dataclass(frozen=True)
class ImageData:
    """``images``: uint8 (N, 3, S, S), perhaps memory-mapped. ``fingerprint``: tells this data set from others."""

    images: Tensor
    fingerprint: dict[str, str | int]

    def __len__(self) -> int:
        return len(self.images)


def load_images(
    data_path: str | None,
    image_size: int,
    crop: str,
    seed: int,
    ranks: Ranks,
    skip_bad_images: bool = False,
    places: tuple[int, int] | None = None,
) -> ImageData:
    """The images of the folder ``data_path``, or NUM_SYNTHETIC generated ones if it names a synthetic set, to which
    alone ``seed`` matters. Every rank calls this.

    ``crop`` is one of ``CROPS``. ``places``: only these of the sorted images, first and last, from 1. UserError, on
    every rank, for a path, an image or a cache folder that needs the user's attention.
    """
    if is_synthetic(data_path):
        images = synthetic_images(NUM_SYNTHETIC, image_size, seed, data_path)
        fingerprint = {"kind": SYNTHETIC, "images": len(images), "image_size": image_size, "seed": seed}
        fingerprint |= {} if data_path == SYNTHETIC else {"set": data_path}
    else:
        folder = ranks.run_on_all(lambda: find_images(data_path))
        if ranks.is_main:
            print(folder, file=sys.stderr)
        images, contents = cached_images(folder, image_size, crop, skip_bad_images, ranks)
        files = digest(f"{file.name}\0{file.size}" for file in folder.files)  # the same for a copy of the folder
        fingerprint = {"kind": "folder", "images": len(images), "image_size": image_size, "crop": crop, "files": files}
        fingerprint |= {"skipped": len(contents.skipped), "pixels": contents.pixels}
    images = images[_chosen(places, len(images), data_path)]
    if places:
        fingerprint |= {"images": len(images), "places": "{}-{}".format(*places)}
    return ImageData(images, fingerprint)


def count_images(data_path: str | None, places: tuple[int, int] | None = None) -> int:
    """How many images ``load_images`` would find, without reading them. UserError as there."""
    count = NUM_SYNTHETIC if is_synthetic(data_path) else len(find_images(data_path).files)
    return len(range(count)[_chosen(places, count, data_path)])


def parse_range(text: str) -> tuple[int, int]:
    """ "8001-9000" as (8001, 9000): places in the sorted folder, from 1, both included. ValueError otherwise."""
    first, last = (int(part) for part in text.split("-"))
    if not 1 <= first <= last:
        raise ValueError(text)
    return first, last


def _chosen(places: tuple[int, int] | None, count: int, data_path: str | None) -> slice:
    first, last = places or (1, count)
    if last > count:
        raise UserError(f"images {first}-{last} are asked for, but {data_path} has {count} images.")
    return slice(first - 1, last)


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
