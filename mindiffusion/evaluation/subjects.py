"""What evaluate.py is asked to look at: models, and folders of PNGs that stand in for them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindiffusion.checkpoints.find import find_model, is_model
from mindiffusion.checkpoints.models import model_name, told_apart
from mindiffusion.checkpoints.weights import LAST_WEIGHT, Weights, read_weights
from mindiffusion.data.decode import read_image
from mindiffusion.data.image_files import find_images
from mindiffusion.runtime.errors import UserError, first_line


@dataclass(frozen=True)
class Subject:
    """A row of the table: a model, which has ``weights``, or a folder of images, which gets its ``images``, uint8
    (N, 3, S, S), from ``with_images``; ``resized`` of them had another size. Each is read once."""

    name: str
    path: Path
    weights: Weights | None = None
    images: Tensor | None = None
    resized: int = 0

    @property
    def about(self) -> dict[str, Any]:
        """What the file of the weights says beside them; nothing where there is none."""
        return (self.weights and self.weights.checkpoint) or {}


def find_subjects(paths: list[Path], names: list[str] | None = None, raw: bool = False) -> list[Subject]:
    """What each path names: a model (see checkpoints/find.py), with its averaged weights or with ``raw`` the last ones,
    or a folder of images. Without ``names`` each is called what people call it. UserError if a path names neither, if
    weights are no numbers, or if two rows would have one name."""
    found = [_find_subject(path, raw) for path in paths]
    names = names or told_apart([each.name for each in found], [each.path for each in found])
    if len(set(names)) < len(names):
        raise UserError(
            f"two rows have the same name, of {', '.join(names)}: name each model or folder once, or use --names."
        )
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
    if not path.is_dir() or path.resolve().name.startswith("checkpoints_"):
        find_model(path)  # says what is wrong
    find_images(path)  # UserError if there are none
    return Subject(path.resolve().name, path)


def choose_size(asked: int | None, subjects: list[Subject]) -> int:
    """The image size of the models, or that asked for if none says its own, or 32. UserError if they differ."""
    sizes = {each.name: each.about["config"]["image_size"] for each in subjects if each.about.get("config")}
    if len(set(sizes.values())) > 1:
        raise UserError(f"the models are of different image sizes ({sizes}): measure them apart.")
    size = next(iter(sizes.values()), asked or 32)
    if asked and asked != size:
        raise UserError(f"the models were trained on {size}x{size} images and know no others: drop --image-size.")
    return size


def with_images(subject: Subject, image_size: int, crop: str, limit: int) -> Subject:
    """A folder with the first ``limit`` of its images, sorted by name; no cache is made of them. A model as it is.
    UserError if an image is broken, or alone."""
    if subject.weights:
        return subject
    files = [subject.path / file.name for file in find_images(subject.path).files[:limit]]
    if len(files) < 2:
        raise UserError(f"{subject.path} has {len(files)} image: at least 2 are needed.")
    images, resized = torch.empty(len(files), 3, image_size, image_size, dtype=torch.uint8), 0
    for number, file in enumerate(files):
        try:
            pixels, size, _ = read_image(file, image_size, crop)
            images[number] = torch.from_numpy(pixels.copy())
            resized += size != (image_size, image_size)
        except Exception as error:  # a broken file can raise nearly anything in a decoder
            raise UserError(f"The image {file} cannot be read ({first_line(error)}): mend or remove it.") from error
    return replace(subject, images=images, resized=resized)
