"""What evaluate.py is asked to look at: models, folders of PNGs that stand in for them, and real images."""

import os
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindiffusion.checkpoints.find import WAYS, is_model
from mindiffusion.checkpoints.models import model_name
from mindiffusion.checkpoints.weights import LAST_WEIGHT, Weights, read_weights
from mindiffusion.data.decode import read_image
from mindiffusion.data.image_files import find_images
from mindiffusion.data.images import load_images
from mindiffusion.data.synthetic import is_synthetic, synthetic_images
from mindiffusion.evaluation.held_out import Reference, rest_of
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError, first_line

MOST_REAL = 10_000  # reference images, unless --eval-images asks for more: more cost time and memory, and tell little
SYNTHETIC_SEED = 2**31 - 1  # of the held-out synthetic images: a seed that no training run has


@dataclass(frozen=True)
class Subject:
    """A row of the table: a model, which has ``weights``, or a folder of images, which gets its ``images``, uint8
    (N, 3, S, S), from ``read_folders``; ``resized`` of them had another size. Each is read once."""

    name: str
    path: Path
    weights: Weights | None = None
    images: Tensor | None = None
    resized: int = 0


def find_subjects(
    paths: list[Path], names: list[str] | None = None, taken: tuple[str, ...] = (), raw: bool = False
) -> list[Subject]:
    """What each path names: a model (see checkpoints/find.py), with its averaged weights or with ``raw`` the last ones,
    or a folder of images. Without ``names`` each is called what people call it, with the folder around it where two
    would be alike. UserError if a path names neither, if weights are no numbers, or if two rows, those of the names
    ``taken`` included, would have one name."""
    found = [_find_subject(path, raw) for path in paths]
    names = names or _short_names(paths, found)
    if len(set(names)) < len(names):
        raise UserError("two rows have the same name: name each model or folder once, or use --names.")
    if both := set(names) & set(taken):
        raise UserError(f"{both.pop()!r} is also the name of the row of --floor: use --names.")
    return [replace(subject, name=name) for subject, name in zip(found, names, strict=True)]


def _find_subject(path: Path, raw: bool) -> Subject:
    if is_model(path):
        weights = read_weights(path, raw)
        if (channels := weights.state[LAST_WEIGHT].shape[0]) != 3:
            raise UserError(
                f"{path} draws images of {channels} channel(s): what is measured here is for colour images."
            )
        heavy = ("model", "ema", "optimizer")
        checkpoint = weights.checkpoint and {k: v for k, v in weights.checkpoint.items() if k not in heavy}
        return Subject(model_name(weights), weights.path, replace(weights, checkpoint=checkpoint))
    if not path.is_dir():
        raise UserError(f"{path} does not exist: name {WAYS}, or a folder of images.")
    find_images(path)  # UserError if there are none
    return Subject(path.resolve().name, path)


def _short_names(paths: list[Path], subjects: list[Subject]) -> list[str]:
    """The subjects' own names; with the run's folder where two are alike; the path within the folder that holds all of
    them where that does not help."""
    plain = [subject.name for subject in subjects]
    homes = [f"{subject.name} in {_home(subject)}" for subject in subjects]
    longer = [homes[i] if plain.count(name) > 1 else name for i, name in enumerate(plain)]
    around = os.path.commonpath([path.resolve().parent for path in paths])
    return [
        os.path.relpath(paths[i].resolve(), around) if longer.count(name) > 1 else name for i, name in enumerate(longer)
    ]


def _home(subject: Subject) -> str:
    """The folder in which a run's folders lie, or an image folder does."""
    path = subject.path.resolve()
    inside = subject.weights is not None and path.parent.name.startswith("checkpoints")
    return path.parent.parent.name if inside else path.parent.name


def read_folders(subjects: list[Subject], image_size: int, crop: str, limit: int) -> list[Subject]:
    """The same subjects, the folders among them with the first ``limit`` of their images. UserError if an image is
    broken, or alone."""
    return [each if each.weights else _read_folder(each, image_size, crop, limit) for each in subjects]


def _read_folder(subject: Subject, image_size: int, crop: str, limit: int) -> Subject:
    """With its images, sorted by name; no cache is made of them."""
    files = [subject.path / file.name for file in find_images(subject.path).files[:limit]]
    if len(files) < 2:
        raise UserError(f"{subject.path} has {len(files)} image: at least 2 are needed.")
    images, resized = torch.empty(len(files), 3, image_size, image_size, dtype=torch.uint8), 0
    for number, file in enumerate(files):
        try:
            pixels, size = read_image(file, image_size, crop)
            images[number] = torch.from_numpy(pixels.copy())
            resized += size != (image_size, image_size)
        except Exception as error:  # a broken file can raise nearly anything in a decoder
            raise UserError(f"The image {file} cannot be read ({first_line(error)}): mend or remove it.") from error
    return replace(subject, images=images, resized=resized)


@dataclass(frozen=True)
class RealImages:
    """``images``: the reference, uint8 (M, 3, S, S). ``others``: real images before and after it in the folder, perhaps
    none. ``reference``: which ones they are, by which a checkpoint tells whether it was trained on them."""

    images: Tensor
    others: tuple[Tensor, Tensor]
    reference: Reference
    description: dict[str, str | int]

    def floor(self, count: int) -> Tensor:
        """At most ``count`` of the others, spread evenly over them: what perfect samples would be."""
        before, after = self.others
        total = len(before) + len(after)
        places = torch.linspace(0, total - 1, min(count, total)).round().long()
        return torch.cat((before[places[places < len(before)]], after[places[places >= len(before)] - len(before)]))


def load_real(
    data_path: str,
    image_size: int,
    crop: str,
    places: tuple[int, int] | None,
    num_synthetic: int,
    trained_on: list[dict[str, Any] | None] | None = None,
    skip_bad_images: bool = False,
) -> RealImages:
    """The real images to compare with: those at ``places`` of the sorted folder, or synthetic ones. Without ``places``
    the first MOST_REAL of those that no model with the data fingerprints ``trained_on`` has seen, or of the whole
    folder if there are none.

    UserError if the folder does not reach that far.
    """
    if is_synthetic(data_path):
        if places:
            raise UserError("--eval-images chooses files of a folder; synthetic images are drawn anew. Leave it out.")
        drawn = synthetic_images(2 * num_synthetic, image_size, SYNTHETIC_SEED, data_path)
        images, others = drawn[:num_synthetic], (drawn[:0], drawn[num_synthetic:])
        reference = Reference("", (1, num_synthetic), data_path)
        chosen = "all"
    else:
        data = load_images(data_path, image_size, crop, 0, Ranks(), skip_bad_images)
        files = str(data.fingerprint["files"])
        first, last = places or rest_of(trained_on or [], files, len(data)) or (1, len(data))
        if last > len(data):
            raise UserError(f"--eval-images asks for file {last}, but {data_path} has {len(data)} images.")
        last = last if places else min(last, first + MOST_REAL - 1)
        reference = Reference(files, (first, last))
        images, others = data.images[first - 1 : last], (data.images[: first - 1], data.images[last:])
        chosen = "all" if len(images) == len(data) else f"{first}-{last}"
    description = {
        "data": data_path if is_synthetic(data_path) else Path(data_path).resolve().name,
        "eval_images": chosen,
        "reference_images": len(images),
        "reference_hash": image_hash(images),
        "image_size": image_size,
        "crop": "none" if is_synthetic(data_path) else crop,
        "resize": "none" if is_synthetic(data_path) else "Pillow bicubic, antialiased",
    }
    return RealImages(images, others, reference, description)


def image_hash(images: Tensor) -> str:
    """BLAKE2b of the pixels and their shape: two references are the same images if and only if it is equal."""
    digest = blake2b(str(tuple(images.shape)).encode(), digest_size=16)
    digest.update(images.contiguous().numpy())
    return digest.hexdigest()
