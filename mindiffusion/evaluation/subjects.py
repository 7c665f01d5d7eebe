"""What evaluate.py is asked to look at: checkpoints, folders of PNGs that stand in for them, and real images."""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mindiffusion.checkpoints.checkpoint import LATEST, find_newest
from mindiffusion.data.image_cache import decode
from mindiffusion.data.images import find_images, load_images
from mindiffusion.data.synthetic import is_synthetic, synthetic_images
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError

SYNTHETIC_SEED = 2**31 - 1  # of the held-out synthetic images: a seed that no training run has


@dataclass(frozen=True)
class Subject:
    """A line of the table: a checkpoint file or a folder of images, exactly one of them not None."""

    name: str
    checkpoint: Path | None = None
    folder: Path | None = None


def find_subject(path: Path, name: str | None = None) -> Subject:
    """The file or folder that ``path`` names: weights, a folder of checkpoints (its newest good one), or of images."""
    label = name or str(path)
    if path.is_file():
        return Subject(label, checkpoint=path)
    if not path.is_dir():
        raise UserError(f"{path} does not exist: name a checkpoint, a folder of checkpoints, or a folder of images.")
    if (path / LATEST).exists() or any(path.glob("stage*.pt")):
        return Subject(label, checkpoint=find_newest(path).path)
    find_images(path)  # UserError if there are none
    return Subject(label, folder=path)


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
    ``files``: the digest by which a checkpoint tells what it was trained on ("" for synthetic data)."""

    held_out: Tensor
    others: Tensor
    files: str
    description: dict[str, str | int]


def load_real(
    data_path: str, image_size: int, crop: str, places: tuple[int, int] | None, num_synthetic: int
) -> RealImages:
    """The real images to compare with: those at ``places`` of the sorted folder, all of it for None, or synthetic ones.

    UserError if the folder does not reach that far.
    """
    if is_synthetic(data_path):
        if places:
            raise UserError("--eval-images chooses files of a folder; synthetic images are drawn anew. Leave it out.")
        drawn = synthetic_images(2 * num_synthetic, image_size, SYNTHETIC_SEED, data_path)
        held_out, others, files = drawn[:num_synthetic], drawn[num_synthetic:], ""
    else:
        data = load_images(data_path, image_size, crop, 0, Ranks())
        files = str(data.fingerprint["files"])
        first, last = places or (1, len(data))
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
    return RealImages(held_out, others, files, description)


def image_hash(images: Tensor) -> str:
    """BLAKE2b of the pixels and their shape: two references are the same images if and only if it is equal."""
    digest = blake2b(str(tuple(images.shape)).encode(), digest_size=16)
    digest.update(images.contiguous().numpy().tobytes())
    return digest.hexdigest()
