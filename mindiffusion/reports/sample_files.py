"""Samples as files: one PNG with a caption, or a folder with one PNG per image, which a later call goes on filling.

Image i is a function of what was asked for and of i, so a folder needs to know no more than what was asked for, which
stands in samples.json: the numbers that are missing are those still to be drawn.
"""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import (
    check_output,
    prepare_output,
    read_text,
    remove_files,
    remove_leftovers,
    write_atomically,
)
from mindiffusion.runtime.locks import claim

MOST, MOST_OF_GRID = 10**6, 4096  # images of a folder, whose names have six digits, and of a picture
NUMBERED = "[0-9]" * 6 + ".png"  # what save_images writes, and so what --overwrite deletes
RECORD = "samples.json"


def is_grid(output: Path) -> bool:
    """Whether ``output`` is a picture, and not a folder. UserError if it is the name of neither."""
    if output.suffix not in ("", ".png"):
        raise UserError(f"--output is {output}; name a .png file for a grid, or a folder for single images.")
    return output.suffix == ".png"


@contextmanager
def claimed(output: Path, overwrite: bool = False) -> Iterator[None]:
    """Make the folder that ``output`` is or lies in; in the block no other process can claim ``output``. UserError if
    one has, if nothing can be written there, if it is a picture that is a folder, or one that is there already, unless
    ``overwrite``."""
    folder, files = (output.parent, [output]) if is_grid(output) else (output, [])
    prepare_output(folder, files, overwrite)
    with claim(output, folder):
        yield


def prepare_folder(folder: Path, asked: dict[str, Any], count: int, overwrite: bool) -> list[int]:
    """Which of the images 0 .. ``count - 1`` of what is ``asked`` for are still to be drawn.

    With ``overwrite`` all of them: images that are there are deleted. UserError, before that, if a folder is in the way
    or, saying where they differ, if the images are of something else.
    """
    remove_leftovers(folder)
    there = {path.name for path in folder.glob("*.png")}
    if there and not overwrite:
        _check_alike(folder, asked)
    mine = [*folder.glob(NUMBERED)] if overwrite else []
    check_output([folder / RECORD, *mine])
    remove_files(mine)
    there -= {path.name for path in mine}
    write_atomically(folder / RECORD, lambda temporary: temporary.write_text(json.dumps(asked, indent=2) + "\n"))
    return [number for number in range(count) if _name(number) not in there]


def save_images(folder: Path, images: Tensor, first: int) -> None:
    """Write images (N, C, S, S) in [-1, 1], numbered from ``first``, as 000000.png, 000001.png, ..."""
    from torchvision.utils import save_image  # a second of loading that --help should not wait for

    for index, image in enumerate(images, start=first):
        path = folder / _name(index)
        write_atomically(path, lambda temporary, image=image: save_image(image.clamp(-1, 1) / 2 + 0.5, temporary))


def ranges(numbers: list[int], longest: int) -> list[tuple[int, int]]:
    """Rising numbers as (first, count) of stretches without a gap, of ``longest`` at most."""
    groups = itertools.groupby(enumerate(numbers), lambda each: (each[1] - each[0], each[1] // longest))
    stretches = [[number for _, number in group] for _, group in groups]
    return [(stretch[0], len(stretch)) for stretch in stretches]


def _check_alike(folder: Path, asked: dict[str, Any]) -> None:
    advice = "choose another --output, or replace them with --overwrite."
    try:
        record = json.loads(read_text(folder / RECORD))
        differing = [name for name in asked if record.get(name) != asked[name]]
    except (OSError, ValueError, AttributeError):
        raise UserError(f"{folder} holds images already, and no {RECORD} that tells of what: {advice}") from None
    if differing:
        what = ", ".join(f"{name} {record.get(name)!r} there and {asked[name]!r} now" for name in differing)
        raise UserError(f"{folder} holds images of something else ({what}): {advice}")


def _name(number: int) -> str:
    return f"{number:06d}.png"
