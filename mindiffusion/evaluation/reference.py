"""The real images that are compared with, and whether they were held out of a model's training: what makes its numbers
worth anything."""

import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindiffusion.data.images import load_images, parse_range
from mindiffusion.data.synthetic import SYNTHETIC, is_synthetic, synthetic_images
from mindiffusion.evaluation.settings import note
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError

HELD_OUT, TRAINED_ON, UNKNOWN = "held out", "trained on", "not known"
DRAWN_ALIKE = "drawn alike"  # synthetic images of a model's own set: there are few different ones, and it saw most
MOST_REAL = 10_000  # reference images, unless --eval-images asks for more: more cost time and memory, and tell little
SYNTHETIC_SEED = 2**31 - 1  # of the held-out synthetic images: a seed that no training run has


@dataclass(frozen=True)
class RealImages:
    """``pool``: all, uint8 (N, 3, S, S); the reference are those at ``places``, first and last, from 1. ``files``: the
    digest by which a checkpoint names the folder, "" for synthetic images, whose set is then ``data_path``."""

    pool: Tensor
    places: tuple[int, int]
    files: str = ""
    data_path: str = SYNTHETIC
    crop: str = "none"

    @property
    def images(self) -> Tensor:
        """The reference, uint8 (M, 3, S, S)."""
        return self.pool[self.places[0] - 1 : self.places[1]]

    @property
    def num_others(self) -> int:
        """How many real images are not the reference."""
        return len(self.pool) - len(self.images)

    def floor(self, count: int) -> Tensor:
        """At most ``count`` of the others, spread evenly over them: what perfect samples would be."""
        places = torch.linspace(0, self.num_others - 1, min(count, self.num_others)).round().long()
        return self.pool[places + (places >= self.places[0] - 1) * len(self.images)]

    def describe(self) -> dict[str, str | int]:
        """What must be known to compare numbers."""
        first, last = self.places
        return {
            "data": Path(self.data_path).resolve().name if self.files else self.data_path,
            "eval_images": f"{first}-{last}" if self.files and self.num_others else "all",
            "reference_images": len(self.images),
            "reference_hash": image_hash(self.images),
            "image_size": self.pool.shape[-1],
            "crop": self.crop,
            "resize": "Pillow bicubic, antialiased" if self.files else "none",
        }


def choose_data_path(asked: str | None, seen: list[dict[str, Any] | None]) -> str:
    """The path asked for; else the synthetic set that all models were trained on, whose fingerprints are ``seen``; else
    CELEBA_PATH, "" if there is none."""
    sets = {data.get("set", SYNTHETIC) if data and data.get("kind") == SYNTHETIC else "" for data in seen}
    own = sets.pop() if len(sets) == 1 else ""
    return asked or own * is_synthetic(own) or os.environ.get("CELEBA_PATH", "")


def load_real(
    data_path: str,
    image_size: int,
    crop: str,
    places: tuple[int, int] | None,
    num_synthetic: int,
    seen: list[dict[str, Any] | None] | None = None,
    skip_bad_images: bool = False,
) -> RealImages:
    """The real images to compare with: those at ``places`` of the sorted folder, or synthetic ones. Without ``places``
    the first MOST_REAL of those that no model with the data fingerprints ``seen`` was trained on, or of the whole
    folder if there are none.

    UserError if the folder does not reach that far.
    """
    if is_synthetic(data_path):
        if places:
            raise UserError("--eval-images chooses files of a folder; synthetic images are drawn anew. Leave it out.")
        drawn = synthetic_images(2 * num_synthetic, image_size, SYNTHETIC_SEED, data_path)
        return RealImages(drawn, (1, num_synthetic), data_path=data_path)
    data = load_images(data_path, image_size, crop, 0, Ranks(), skip_bad_images)
    files = str(data.fingerprint["files"])
    first, last = places or rest_of(seen or [], files, len(data)) or (1, len(data))
    if last > len(data):
        raise UserError(f"--eval-images asks for file {last}, but {data_path} has {len(data)} images.")
    last = last if places else min(last, first + MOST_REAL - 1)
    return RealImages(data.images, (first, last), files, data_path, crop)


def image_hash(images: Tensor) -> str:
    """BLAKE2b of the pixels and their shape: two references are the same images if and only if it is equal."""
    digest = blake2b(str(tuple(images.shape)).encode(), digest_size=16)
    digest.update(images.contiguous().numpy())
    return digest.hexdigest()


def note_reference(real: RealImages, chosen: bool, num_samples: int, num_loss_images: int) -> None:
    """Say which images are compared with, and where there are fewer than asked for: few are less sure. ``chosen``: by
    --eval-images."""
    there, about = len(real.images), real.describe()
    most = "no more are taken; --eval-images chooses others"
    which = f" ({most})" if there == MOST_REAL and real.files and not chosen else ""
    note(f"the reference is {there:,} real images: {about['eval_images']} of {about['data']}{which}.")
    if there < num_samples:
        note(
            f"there are {there:,} reference images for {num_samples:,} samples, and swd takes as many of both: it is "
            f"larger and less sure than with {num_samples:,}. Compare only tables of equal numbers."
        )
    if there < num_loss_images:
        note(f"loss and bpd are over {there:,} images, not over the {num_loss_images:,} of --num-loss-images.")


def verdict(data: dict[str, Any] | None, real: RealImages) -> tuple[str, str]:
    """Whether a model with the data fingerprint ``data`` (of its checkpoint; None where there is none) was trained on
    the reference: HELD_OUT, DRAWN_ALIKE, TRAINED_ON or UNKNOWN, and why."""
    if not data:
        return UNKNOWN, "the file does not say what it was trained on"
    if data.get("kind") == SYNTHETIC:
        if real.files:
            return HELD_OUT, "it was trained on synthetic images"
        if data.get("set", SYNTHETIC) != real.data_path:
            return HELD_OUT, "it was trained on another set of synthetic images"
        return DRAWN_ALIKE, "the reference is drawn as its training images were, and many are the same"
    if not real.files:
        return HELD_OUT, "it was trained on a folder, and the reference is synthetic"
    if data.get("files") != real.files:
        return UNKNOWN, "it was trained on another folder, which may hold the same pictures"
    first, last = _places(data, int(data["images"]))
    shared = min(last, real.places[1]) - max(first, real.places[0]) + 1
    if shared <= 0:
        return HELD_OUT, f"it was trained on images {first}-{last} of this folder"
    return TRAINED_ON, f"it was trained on {shared:,} of the {len(real.images):,} reference images"


def rest_of(seen: list[dict[str, Any] | None], files: str, count: int) -> tuple[int, int] | None:
    """The longest stretch of the ``count`` images of a folder that no model with the data fingerprints ``seen`` was
    trained on, as far as that is known; None if there is none, or if nothing is known of any model."""
    ranges = [_places(data, count) for data in seen if data and data.get("files") == files]
    stretches, after = [], 1
    for first, last in [*sorted(ranges), (count + 1, count + 1)]:
        stretches.append((first - after, after, first - 1))
        after = max(after, last + 1)
    length, first, last = max(stretches)
    return (first, last) if ranges and length >= 2 else None


def _places(data: dict[str, Any], count: int) -> tuple[int, int]:
    """First and last image that a model was trained on, of a folder of ``count``."""
    return parse_range(str(data.get("places") or f"1-{count}"))
