"""Checkpoints: one file of plain types and tensors, written atomically, verified when read.

Schema, format version 3 (a dict, saved by torch.save, loaded with weights_only=True):
    format          "mindiffusion-checkpoint"
    format_version  3; 2 had a checksum of its own beside the zip archive's; 1 is read through v1.py
    network, args   class of the network, as in networks.REGISTRY, and what its constructor wants
    model           state dict of the network
    ema             state dict of the averaged network, or None when it is off
    optimizer       its state dict, and the "name" of its class
    training_state  what the network goes on from beside its weights: see training_state() of networks
    interval        {name: float}, the sums behind the row of metrics.csv that is being gathered
    t_stop          the lowest timestep that the network has been trained on, 0 for all
    next_stage, next_epoch, next_step    what to do next, counted from 0 over the whole run
    config          TrainConfig.to_dict()
    data            fingerprint of the data set

Random states are absent on purpose: every draw is a function of (seed, purpose, step), see rng.py.
"""

import io
import sys
import warnings
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindiffusion.checkpoints import v1
from mindiffusion.runtime.errors import UserError, first_line
from mindiffusion.runtime.files import write_atomically

FORMAT = "mindiffusion-checkpoint"
FORMAT_VERSION = 3
LATEST, PREVIOUS = "latest.pt", "previous.pt"
FIELDS = {
    "network": str,
    "ema": dict | None,
    **dict.fromkeys(("args", "model", "optimizer", "training_state", "interval", "config", "data"), dict),
    **dict.fromkeys(("t_stop", "next_stage", "next_epoch", "next_step"), int),
}


class BadCheckpoint(UserError):
    """A file that is not a whole, unaltered checkpoint of a version that is known here."""


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` (the schema's fields from ``network`` to ``data``) to ``path``, atomically. A latest.pt that
    was there becomes previous.pt: one of the two is whole at every moment. UserError if it cannot be written."""
    buffer = io.BytesIO()  # made in memory: a plain write reports a full disk, torch.save's does so badly
    torch.save({"format": FORMAT, "format_version": FORMAT_VERSION, **content}, buffer)
    buffer.seek(0)
    if foreign := torch.serialization.get_unsafe_globals_in_checkpoint(buffer):
        raise TypeError(f"a checkpoint holds plain types and tensors only, not {', '.join(foreign)}")

    def keep_previous() -> None:
        if path.name == LATEST and path.exists():
            path.replace(path.with_name(PREVIOUS))

    write_atomically(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()), keep_previous)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read and verify a checkpoint: the schema's fields from ``network`` to ``data``, with tensors on the CPU.
    BadCheckpoint, naming the file, if it is missing, damaged, of another kind or of a newer version."""
    return verified(path, load_plain(path))


def verified(path: Path, content: Any) -> dict[str, Any]:
    """What ``load_plain`` read of ``path``, as ``load_checkpoint`` gives it."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise BadCheckpoint(f"{path} is not a checkpoint of this program.")
    version = content.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        known = f"but this program knows 1 to {FORMAT_VERSION}"
        raise BadCheckpoint(f"{path} has checkpoint format {version}, {known}: update the program.")
    try:
        content = content if version > 1 else v1.new_content(content, content["model"])
    except (LookupError, ValueError, TypeError, AttributeError, StopIteration, ArithmeticError) as error:
        raise BadCheckpoint(f"{path} is refused for what it says of its run: {first_line(error)}.") from error
    wrong = [name for name, kind in FIELDS.items() if name not in content or not isinstance(content[name], kind)]
    if wrong:
        raise BadCheckpoint(f"{path} is damaged: {', '.join(wrong)} missing or of the wrong type.")
    return {name: content[name] for name in FIELDS}


def load_plain(path: Path) -> Any:
    """Read a file of tensors and plain types, without executing anything. BadCheckpoint if that is not possible."""
    try:
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, where one clear error follows
            content = torch.load(path, map_location="cpu", weights_only=True)
        _refuse_hollow(path, content)
        return content
    except BadCheckpoint:
        raise
    except Exception as error:  # a damaged file fails in many places of the zip reader and the unpickler
        # PyTorch's own words go on with advice that nobody should follow here: to load the file unsafely.
        reason = "it is damaged or cut off, or holds more than tensors and plain values"
        reason = error.strerror if isinstance(error, PermissionError) else reason
        raise BadCheckpoint(
            f"{path} cannot be read as a checkpoint: {reason}. Name the .pt file of a run, or the run's folder."
        ) from error


def _check_archive(path: Path, content: bool = True) -> None:
    """torch.save stores tensors as they are: a file with more in it than its own size was made to fill the memory. A
    pipe would be waited for. It writes checksums, one for each part; torch.load does not look at them."""
    if not path.is_file():
        wrong = "is a folder: name a .pt file in it" if path.is_dir() else "does not exist or is not a file"
        raise BadCheckpoint(f"{path} {wrong}.")
    if not zipfile.is_zipfile(path):  # those of before PyTorch 1.6 are none, and hold what they hold
        return
    with zipfile.ZipFile(path) as archive:
        size, inside = path.stat().st_size, sum(member.file_size for member in archive.infolist())
        if inside > size:
            packed = f"{inside / 1e6:,.1f} MB are packed into its {size / 1e6:,.1f} MB"
            raise BadCheckpoint(f"{path} is refused: {packed}. Do not trust where it comes from.")
        if content and (part := archive.testzip()):
            raise BadCheckpoint(f"{path} is damaged: the checksum of {part} does not match.")


def _refuse_hollow(path: Path, value: Any) -> None:
    """A tensor may claim a shape far beyond the values that the file holds for it; a copy of it fills the memory. And
    weights are plain numbers, one beside the other."""
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            _refuse_hollow(path, item)
    elif isinstance(value, Tensor):
        plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
        if not plain or value.is_complex() or value.nbytes > value.untyped_storage().nbytes():
            raise BadCheckpoint(f"{path} is damaged: a tensor of shape {tuple(value.shape)} is not all there.")


@dataclass(frozen=True)
class Found:
    """A good checkpoint and where it was. ``bad`` are newer ones that are damaged."""

    path: Path
    content: dict[str, Any]
    bad: tuple[Path, ...] = ()


def find_newest(folder: Path) -> Found | None:
    """The newest good checkpoint by its step, of latest.pt, previous.pt and the stages'; each bad one on the way is
    named in a warning. None if there is none at all; UserError if all are bad: to start over is the user's decision."""
    bad: list[Path] = []
    for path in sorted(checkpoints_in(folder), key=_step_of, reverse=True):
        try:
            return Found(path, load_checkpoint(path), tuple(bad))
        except BadCheckpoint as error:
            print(f"warning: {error} Trying an older one.", file=sys.stderr)
            bad.append(path)
    if bad:
        raise UserError(f"none of the {len(bad)} checkpoints in {folder} is good. Use --overwrite to start anew.")
    return None


def later_than(step: int, folder: Path) -> list[Path]:
    """The checkpoints of a run that was sent back to ``step``, and goes there otherwise than it did."""
    return [path for path in checkpoints_in(folder) if _step_of(path) > step]


def checkpoints_in(folder: Path) -> list[Path]:
    """What a run has saved in ``folder``. Of the same step the first counts."""
    stages = sorted(folder.glob("stage*.pt"), key=lambda path: (len(path.name), path.name), reverse=True)
    return [path for path in (folder / LATEST, folder / PREVIOUS, *stages) if path.exists()]


def _step_of(path: Path) -> int:
    """The step that a checkpoint would do next, without reading its tensors. One that does not tell counts as newest,
    so that it is looked at, and named."""
    try:
        _check_archive(path, content=False)
        return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["next_step"])
    except Exception:  # load_checkpoint will say why
        return sys.maxsize


def set_aside(bad: Iterable[Path]) -> None:
    """Rename damaged or overtaken checkpoints to NAME.pt.bad: kept for a look, and never in the place of a good one."""
    for path in bad:
        path.replace(path.with_name(path.name + ".bad"))
