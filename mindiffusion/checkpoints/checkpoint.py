"""Checkpoints: one file of plain types and tensors, written atomically, verified when read.

Schema, format version 2 (a dict, saved by torch.save, loaded with weights_only=True):
    format          "mindiffusion-checkpoint"
    format_version  2; older ones are read through v1.py
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
    checksum        BLAKE2b over all of the above

Random states are absent on purpose: every draw is a function of (seed, purpose, step), see rng.py.
"""

import hashlib
import io
import json
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
FORMAT_VERSION = 2
LATEST, PREVIOUS = "latest.pt", "previous.pt"
FIELDS = {
    "format": str,
    "format_version": int,
    "network": str,
    "args": dict,
    "model": dict,
    "ema": dict | None,
    "optimizer": dict,
    "training_state": dict,
    "interval": dict,
    "t_stop": int,
    "next_stage": int,
    "next_epoch": int,
    "next_step": int,
    "config": dict,
    "data": dict,
    "checksum": str,
}


class BadCheckpoint(UserError):
    """A file that is not a whole, unaltered checkpoint of a version that is known here."""


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` (the schema's fields from ``network`` to ``data``) to ``path``, atomically. A latest.pt that
    was there becomes previous.pt: one of the two is whole at every moment.

    UserError if it cannot be written; the file that was there before is then still there.
    """
    image = _file_image(content)

    def keep_previous() -> None:
        if path.name == LATEST and path.exists():
            path.replace(path.with_name(PREVIOUS))

    write_atomically(path, lambda temporary: temporary.write_bytes(image), keep_previous)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read and verify a checkpoint; tensors arrive on the CPU. Nothing in the file is ever executed.

    BadCheckpoint, naming the file, if it is missing, damaged, of another kind or of a newer version.
    """
    checkpoint = load_plain(path)
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != FORMAT:
        raise BadCheckpoint(f"{path} is not a checkpoint of this program.")
    version = checkpoint.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise BadCheckpoint(
            f"{path} has checkpoint format {version}, but this program knows formats up to {FORMAT_VERSION}: "
            "update the program."
        )
    fields = FIELDS if version > 1 else {**{k: v for k, v in FIELDS.items() if k not in v1.NEW_FIELDS}, **v1.FIELDS}
    wrong = [name for name, kind in fields.items() if name not in checkpoint or not isinstance(checkpoint[name], kind)]
    if wrong:
        raise BadCheckpoint(f"{path} is damaged: {', '.join(wrong)} missing or of the wrong type.")
    try:
        checksum = _checksum({name: value for name, value in checkpoint.items() if name != "checksum"})
    except Exception as error:  # of a type that the schema does not have
        raise BadCheckpoint(f"{path} is damaged: {error}.") from error
    if checksum != checkpoint["checksum"]:
        raise BadCheckpoint(f"{path} is damaged: its checksum does not match its content.")
    try:
        return checkpoint if version > 1 else v1.new_content(checkpoint, checkpoint["model"])
    except (LookupError, ValueError, TypeError, AttributeError, StopIteration, ArithmeticError) as error:
        raise BadCheckpoint(f"{path} is refused for what it says of its run: {first_line(error)}.") from error


def load_plain(path: Path) -> Any:
    """Read a file of tensors and plain types, without executing anything. BadCheckpoint if that is not possible."""
    try:
        _refuse_inflating(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, where one clear error follows
            content = torch.load(path, map_location="cpu", weights_only=True)
        _refuse_hollow(path, content)
        return content
    except BadCheckpoint:
        raise
    except PermissionError as error:
        raise BadCheckpoint(f"{path} cannot be read: {error.strerror}. Its owner can allow it.") from error
    except Exception as error:  # a damaged file fails in many places of the zip reader and the unpickler
        raise BadCheckpoint(
            f"{path} cannot be read as a checkpoint: {_reason(path, error)}. Name the .pt file of a run, or the run's "
            "folder."
        ) from error


def _refuse_inflating(path: Path) -> None:
    """torch.save stores tensors as they are: a file with more in it than its own size was made to fill the memory. A
    pipe would be waited for."""
    if not path.is_file():
        raise BadCheckpoint(f"{path} does not exist or is not a file.")
    if zipfile.is_zipfile(path):  # those of before PyTorch 1.6 are none, and hold what they hold
        with zipfile.ZipFile(path) as archive:
            size, inside = path.stat().st_size, sum(member.file_size for member in archive.infolist())
        if inside > size:
            raise BadCheckpoint(
                f"{path} is refused: {inside / 1e6:,.1f} MB are packed into its {size / 1e6:,.1f} MB, and torch.save "
                "packs nothing. Do not trust where it comes from."
            )


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


def _reason(path: Path, error: Exception) -> str:
    """In plain words. PyTorch's own go on with advice that nobody should follow here: to load the file unsafely."""
    with path.open("rb") as file:
        head = file.read(2)
    if head not in (b"PK", b"\x80\x02"):  # a zip archive; the pickle of older versions
        return "it was not saved by PyTorch" if head else "it is empty"
    return "it holds more than tensors and plain values" if "eights" in str(error) else "it is damaged or cut off"


@dataclass(frozen=True)
class Found:
    """A good checkpoint and where it was. ``bad`` are newer ones that are damaged."""

    path: Path
    content: dict[str, Any]
    bad: tuple[Path, ...] = ()


def find_newest(folder: Path) -> Found | None:
    """The newest good checkpoint by its step, of latest.pt, previous.pt and the stages'.

    Each bad one on the way is named in a warning. None if there is no checkpoint at all; UserError if all are bad:
    to start over must then be the user's decision.
    """
    candidates = sorted(checkpoints_in(folder), key=_step_of, reverse=True)
    bad: list[Path] = []
    for path in candidates:
        try:
            return Found(path, load_checkpoint(path), tuple(bad))
        except BadCheckpoint as error:
            print(f"warning: {error} Trying an older one.", file=sys.stderr)
            bad.append(path)
    if candidates:
        raise UserError(
            f"none of the {len(candidates)} checkpoints in {folder} is good. Use --overwrite to start anew."
        )
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
        _refuse_inflating(path)
        step = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["next_step"]
    except Exception:  # load_checkpoint will say why
        return sys.maxsize
    return step if isinstance(step, int) else sys.maxsize


def set_aside(bad: Iterable[Path]) -> None:
    """Rename damaged or overtaken checkpoints to NAME.pt.bad: kept for a look, and never in the place of a good one."""
    for path in bad:
        path.replace(path.with_name(path.name + ".bad"))


def _file_image(content: dict[str, Any]) -> memoryview:
    """The bytes of a checkpoint file. Made in memory: a plain write reports a full disk, torch.save's does so badly."""
    checkpoint = {"format": FORMAT, "format_version": FORMAT_VERSION, **content}
    buffer = io.BytesIO()
    torch.save({**checkpoint, "checksum": _checksum(checkpoint)}, buffer)
    return buffer.getbuffer()


def _checksum(content: dict[str, Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest, content)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    """Add a value of any type the schema allows to the digest, with its type and its length."""
    if isinstance(value, dict):
        digest.update(f"dict {len(value)};".encode())
        for key, item in value.items():
            _feed(digest, key)
            _feed(digest, item)
    elif isinstance(value, list | tuple):
        digest.update(f"list {len(value)};".encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, Tensor):
        digest.update(f"tensor {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif value is None or isinstance(value, str | bool | int | float):
        text = json.dumps(value)
        digest.update(f"{type(value).__name__} {len(text)};{text}".encode())
    else:
        raise TypeError(f"a checkpoint holds plain types and tensors only, not {type(value).__name__}")
