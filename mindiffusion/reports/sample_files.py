"""Samples as files: one PNG with a caption, or a folder with one PNG per image."""

from pathlib import Path

from torch import Tensor

from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import prepare_output, write_atomically, write_errors_explained

NUMBERED = "[0-9]" * 6 + ".png"  # what save_images writes, and so what --overwrite deletes


def prepare_samples(output: Path, overwrite: bool) -> None:
    """Make the folder that ``output`` is or lies in. UserError if samples are there already, unless ``overwrite``, if
    ``output`` is neither a .png nor a folder, or if it cannot be written."""
    if output.suffix not in ("", ".png"):
        raise UserError(f"--output is {output}; name a .png file for a grid, or a folder for single images.")
    if output.suffix == ".png":
        if output.is_dir():
            raise UserError(f"--output is {output}, a folder with the name of a grid: name another file, or rename it.")
        prepare_output(output.parent, [output], overwrite)
        return
    old = sorted(output.glob("*.png")) if output.is_dir() else []
    if old and not overwrite:
        raise UserError(f"{output} holds images already: choose another --output, or replace them with --overwrite.")
    prepare_output(output, [], overwrite)
    with write_errors_explained(output):
        for path in output.glob(NUMBERED):
            path.unlink()


def save_images(folder: Path, images: Tensor, first: int) -> None:
    """Write images (N, C, S, S) in [-1, 1], numbered from ``first``, as 000000.png, 000001.png, ..."""
    from torchvision.utils import save_image  # a second of loading that --help should not wait for

    for index, image in enumerate(images, start=first):
        path = folder / f"{index:06d}.png"
        write_atomically(path, lambda temporary, image=image: save_image(image.clamp(-1, 1) / 2 + 0.5, temporary))
