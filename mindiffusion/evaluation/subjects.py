"""What evaluate.py is asked to look at: models, folders of PNGs that stand in for them, and real images."""

from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mindiffusion.checkpoints.find import WAYS, is_model
from mindiffusion.checkpoints.models import model_name
from mindiffusion.checkpoints.weights import Weights, read_weights
from mindiffusion.data.image_cache import decode
from mindiffusion.data.images import find_images, load_images
from mindiffusion.data.synthetic import is_synthetic, synthetic_images
from mindiffusion.evaluation.held_out import Reference, rest_of
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError

SYNTHETIC_SEED = 2**31 - 1  # of the held-out synthetic images: a seed that no training run has


@dataclass(frozen=True)
class Subject:
    """A row of the table: a model or a folder of images, exactly one of them not None. Each is read once: a model has
    its ``weights``, a folder the ``images`` that ``read_folders`` gives it, uint8 (N, 3, S, S)."""

    name: str
    model: Path | None = None
    folder: Path | None = None
    weights: Weights | None = None
    images: Tensor | None = None


def find_subjects(paths: list[Path], names: list[str] | None = None, taken: tuple[str, ...] = ()) -> list[Subject]:
    """What each path names: a model (see checkpoints/find.py) or a folder of images. Without ``names`` each is called
    what people call it, with the folder around it where two would be alike. UserError if a path names neither, or if
    two rows, those of the names ``taken`` included, would have one name."""
    found = [_find_subject(path) for path in paths]
    names = names or _short_names(paths, found)
    if len(set(names)) < len(names):
        raise UserError("two rows have the same name: name each model or folder once, or use --names.")
    if both := set(names) & set(taken):
        raise UserError(f"{both.pop()!r} is also the name of the row of --floor: use --names.")
    return [replace(subject, name=name) for subject, name in zip(found, names, strict=True)]


def _find_subject(path: Path) -> Subject:
    if is_model(path):
        weights = read_weights(path)
        checkpoint = weights.checkpoint and {k: v for k, v in weights.checkpoint.items() if k != "optimizer"}
        return Subject(model_name(weights), model=weights.path, weights=replace(weights, checkpoint=checkpoint))
    if not path.is_dir():
        raise UserError(f"{path} does not exist: name {WAYS}, or a folder of images.")
    find_images(path)  # UserError if there are none
    return Subject(path.resolve().name, folder=path)


def _short_names(paths: list[Path], subjects: list[Subject]) -> list[str]:
    """The subjects' own names; with the run's folder where two are alike; the whole path where that does not help."""
    plain = [subject.name for subject in subjects]
    homes = [f"{subject.name} in {_home(subject)}" for subject in subjects]
    longer = [homes[i] if plain.count(name) > 1 else name for i, name in enumerate(plain)]
    return [str(paths[i]) if longer.count(name) > 1 else name for i, name in enumerate(longer)]


def _home(subject: Subject) -> str:
    """The folder in which a run's folders lie, or an image folder does."""
    path = (subject.model or subject.folder).resolve()
    inside = subject.model is not None and path.parent.name.startswith("checkpoints")
    return path.parent.parent.name if inside else path.parent.name


def read_folders(subjects: list[Subject], image_size: int, crop: str, limit: int) -> list[Subject]:
    """The same subjects, the folders among them with the first ``limit`` of their images. UserError if an image is
    broken, or alone."""
    read = []
    for subject in subjects:
        if subject.folder:
            subject = replace(subject, images=read_folder(subject.folder, image_size, crop, limit))
            if len(subject.images) < 2:
                raise UserError(f"{subject.folder} has {len(subject.images)} image: at least 2 are needed.")
        read.append(subject)
    return read


def read_folder(folder: Path, image_size: int, crop: str, limit: int | None = None) -> Tensor:
    """The images of a folder, sorted by name, uint8 (N, 3, S, S); no cache is made of them."""
    pixels = []
    for file in find_images(folder)[:limit]:
        try:
            pixels.append(decode(str(folder / file.name), image_size, crop))
        except Exception as error:  # a broken file can raise nearly anything in a decoder
            raise UserError(f"The image {folder / file.name} cannot be read ({error}): mend or remove it.") from error
    return torch.from_numpy(np.stack(pixels))


@dataclass(frozen=True)
class RealImages:
    """``held_out``: the reference, uint8 (M, 3, S, S). ``others``: real images that are not in it, perhaps none.
    ``reference``: which ones they are, by which a checkpoint tells whether it was trained on them."""

    held_out: Tensor
    others: Tensor
    reference: Reference
    description: dict[str, str | int]


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
    those that no model with the data fingerprints ``trained_on`` has seen, or the whole folder if there are none.

    UserError if the folder does not reach that far.
    """
    if is_synthetic(data_path):
        if places:
            raise UserError("--eval-images chooses files of a folder; synthetic images are drawn anew. Leave it out.")
        drawn = synthetic_images(2 * num_synthetic, image_size, SYNTHETIC_SEED, data_path)
        held_out, others = drawn[:num_synthetic], drawn[num_synthetic:]
        reference = Reference("", (1, num_synthetic), data_path)
    else:
        data = load_images(data_path, image_size, crop, 0, Ranks(), skip_bad_images)
        files = str(data.fingerprint["files"])
        places = places or rest_of(trained_on or [], files, len(data))
        first, last = places or (1, len(data))
        reference = Reference(files, (first, last))
        if last > len(data):
            raise UserError(f"--eval-images asks for file {last}, but {data_path} has {len(data)} images.")
        held_out = data.images[first - 1 : last].clone()
        others = torch.cat((data.images[: first - 1], data.images[last:]))
    description = {
        "data_path": data_path,
        "eval_images": f"{places[0]}-{places[1]}" if places else "all",
        "reference_images": len(held_out),
        "reference_hash": image_hash(held_out),
        "image_size": image_size,
        "crop": "none" if is_synthetic(data_path) else crop,
        "resize": "none" if is_synthetic(data_path) else "Pillow bicubic, antialiased",
    }
    return RealImages(held_out, others, reference, description)


def image_hash(images: Tensor) -> str:
    """BLAKE2b of the pixels and their shape: two references are the same images if and only if it is equal."""
    digest = blake2b(str(tuple(images.shape)).encode(), digest_size=16)
    digest.update(images.contiguous().numpy().tobytes())
    return digest.hexdigest()
