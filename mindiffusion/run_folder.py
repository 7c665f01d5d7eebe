"""The folders of a run: who may write there, and what is found there to continue."""

import json
from pathlib import Path
from typing import Any

from mindiffusion.checkpoint import Found, find_newest, has_run, load_checkpoint
from mindiffusion.config import RESUME_NEWEST, TrainConfig
from mindiffusion.errors import UserError
from mindiffusion.files import write_atomically

# What a run writes, and so what --overwrite deletes: nothing else in the folders is touched.
CONTENTS_PATTERNS = (
    "stage*_epoch*.png",
    "metrics.csv",
    "recovery.csv",
    "bands.csv",
    "config.json",
    "figure_*.png",
    "tensorboard/events.*",
)
CHECKPOINT_PATTERNS = ("*.pt",)


def open_run(config: TrainConfig) -> Found | None:
    """Make the folders and return the checkpoint to continue from, None for a run that starts anew.

    UserError if an earlier run is there and neither --resume nor --overwrite was given, if ``--resume PATH`` cannot be
    loaded, or if the folders cannot be written. Call it on rank 0 alone. Deletes nothing: see ``clear_run``.
    """
    for folder in (config.contents_dir, config.checkpoints_dir):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(f"cannot write in {folder}: {error.strerror}. Choose another --output-dir.") from error
    if config.resume and config.resume != RESUME_NEWEST:
        return Found(Path(config.resume), load_checkpoint(Path(config.resume)))
    if config.resume:
        return find_newest(config.checkpoints_dir)
    if not config.overwrite and (has_run(config.checkpoints_dir) or (config.contents_dir / "metrics.csv").exists()):
        raise UserError(
            f"an earlier run is in {config.contents_dir} and {config.checkpoints_dir}. Continue it with --resume, "
            "delete it with --overwrite, or choose another --output-dir."
        )
    return None


def clear_run(config: TrainConfig) -> None:
    """Delete what an earlier run wrote. Call it on rank 0 alone, when all is ready to start."""
    for folder, patterns in (
        (config.contents_dir, CONTENTS_PATTERNS),
        (config.checkpoints_dir, CHECKPOINT_PATTERNS),
    ):
        for pattern in patterns:
            for path in folder.glob(pattern):
                path.unlink()


def write_config(config: TrainConfig, data: dict[str, Any], extra: dict[str, Any]) -> None:
    """config.json beside the grids: every resolved option, the data's fingerprint and the machine's facts."""
    text = json.dumps({**config.to_dict(), "data": data, **extra}, indent=2) + "\n"
    write_atomically(config.contents_dir / "config.json", lambda temporary: temporary.write_text(text))
