"""One way to name a trained model, wherever a command asks for one. A name is the path of

- a run's folder of checkpoints or of contents (``checkpoints_c_32``, ``contents_c_32``): its newest good checkpoint;
- the output folder of a single run, which holds those two: the same;
- a checkpoint file, or a bare state dict of the original minDiffusion;
- a folder that ``sample.py --export`` made, or the model.safetensors in it.
"""

from pathlib import Path

from mindiffusion.checkpoints.checkpoint import BadCheckpoint, checkpoints_in, find_newest
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import read_errors_explained

EXPORT_WEIGHTS = "model.safetensors"  # in an exported folder
WAYS = "a run's folder, a checkpoint file, or a folder that sample.py --export made (pretrained/c_32, say)"


def find_model(path: Path) -> Path:
    """The file, or the exported folder, that ``path`` names. BadCheckpoint, saying what can be named, if there
    is none."""
    with read_errors_explained():
        if path.name == EXPORT_WEIGHTS and path.is_file():
            return path.parent
        if path.is_file() or (path / EXPORT_WEIGHTS).exists():
            return path
        folder = _checkpoints_of(path) if path.is_dir() else None
        if found := find_newest(folder) if folder else None:
            return found.path
        what = "holds no model: train one, or" if path.is_dir() else "does not exist:"
    raise BadCheckpoint(f"{path} {what} name {WAYS}.")


def is_model(path: Path) -> bool:
    """Whether ``path`` names a model, good or damaged; a folder of images, say, does not."""
    try:
        if path.is_file() or (path / EXPORT_WEIGHTS).exists():
            return True
        return path.is_dir() and _checkpoints_of(path) is not None
    except PermissionError:
        return True  # find_model says what is wrong


def _checkpoints_of(path: Path) -> Path | None:
    """The folder of checkpoints that a folder is, belongs to, or holds. UserError if it holds those of several runs."""
    if checkpoints_in(path):
        return path
    here = path.resolve()
    sibling = here.with_name(here.name.replace("contents", "checkpoints", 1))
    if here.name.startswith("contents") and checkpoints_in(sibling):
        return sibling
    inside = sorted(each for each in path.glob("checkpoints_*") if checkpoints_in(each))
    if len(inside) > 1:
        raise UserError(f"{path} holds several runs: name one of {', '.join(map(str, inside))}.")
    return inside[0] if inside else None
