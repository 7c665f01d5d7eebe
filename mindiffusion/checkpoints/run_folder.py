"""The folders of a run: who may write there, and what is found there to continue."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from mindiffusion.checkpoints.checkpoint import Found, checkpoints_in, find_newest, load_checkpoint
from mindiffusion.checkpoints.foreign import check_checkpoint
from mindiffusion.config import RESUME_NEWEST, TrainConfig
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import (
    check_output,
    prepare_output,
    remove_files,
    remove_leftovers,
    write_atomically,
)
from mindiffusion.runtime.locks import hold
from mindiffusion.runtime.terminal import BOLD, fit, paint

# What a run writes, and so what --overwrite deletes: nothing else in the folders is touched.
GRID_PATTERN = "stage[0-9]*_epoch[0-9]*.png"
CONTENTS_PATTERNS = (
    GRID_PATTERN,
    *(f"{name}.csv{bad}" for name in ("metrics", "recovery", "bands") for bad in ("", ".bad*")),
    "config.json",
    *(f"figure_{name}.png" for name in ("loss", "bands", "speed", "channels", "norms")),
    "tensorboard/events.*",
)
CHECKPOINT_PATTERNS = tuple(f"{name}.pt{bad}" for name in ("latest", "previous", "stage[0-9]*") for bad in ("", ".bad"))

LOCK = ".lock"  # in the folder of checkpoints
LOCK_PATIENCE = 20.0  # seconds: a job that is requeued may meet its predecessor, which is still saving


@contextmanager
def opened_run(config: TrainConfig, ranks: Ranks) -> Iterator[Found | None]:
    """Make the folders of the run, let no other run write there while the block lasts, and yield, on every rank, the
    checkpoint to continue from; None for a run that starts anew.

    At the end folders that were made go, if nothing is in them. UserError, on every rank, if the folders cannot be
    written, if another run has them, or as ``find_start``.
    """

    def open_run() -> Found | None:
        _reserve(config, stack)
        return find_start(config, ranks.restarted)

    with ExitStack() as stack:
        yield ranks.from_main(open_run)


def _reserve(config: TrainConfig, stack: ExitStack) -> None:
    """On a file system without locks the run goes on unguarded."""
    folders = (config.contents_dir, config.checkpoints_dir)
    new = {each for folder in folders for each in (folder, *folder.parents) if not each.exists()}
    stack.callback(_remove_empty, sorted(new, reverse=True))  # after the lock, which lies in one of them
    for folder in folders:
        prepare_output(folder)
    busy = f"another run is writing in {config.checkpoints_dir}. Wait for its end, or choose another --output-dir."
    stack.enter_context(hold(config.checkpoints_dir / LOCK, busy, LOCK_PATIENCE))
    for folder in folders:
        prepare_output(folder)  # again: a run that failed before it wrote anything has just removed its own
        remove_leftovers(folder)


def _remove_empty(folders: list[Path]) -> None:
    """The innermost first."""
    for folder in folders:
        with suppress(OSError):  # it is not empty: the run has left something
            folder.rmdir()


def find_start(config: TrainConfig, restarted: bool = False) -> Found | None:
    """The checkpoint to continue from, None for a run that starts anew. A job that torchrun has ``restarted`` goes on
    with what it has done, or, if nothing of that is saved, as it was first told.

    UserError if an earlier run is there that neither --resume nor --overwrite speaks of, if its checkpoints are gone,
    if a folder has the name of a run's file, or if the checkpoint cannot be loaded or says what no run can be told.
    Call it on rank 0 alone. Deletes nothing: see ``clear_run``.
    """
    if restarted and config.overwrite:
        raise UserError("torchrun has restarted this job, and --overwrite would now delete what it did: use --resume.")
    check_output(_files_of_a_run(config))  # before --overwrite deletes anything
    grids = any(config.contents_dir.glob(GRID_PATTERN))
    path = Path(config.resume) if config.resume not in ("", RESUME_NEWEST) else None
    found = None
    if restarted or config.resume == RESUME_NEWEST:
        found = find_newest(config.checkpoints_dir)
        if grids and not found:  # a run's first checkpoint is older than its first grid
            raise UserError(
                f"a run has left grids in {config.contents_dir}, but {config.checkpoints_dir} has no checkpoint of it. "
                "Restore the checkpoints, start anew with --overwrite, or choose another --output-dir."
            )
        if not found and not path:
            _say_nothing_to_resume(config)
    else:
        here = path and path.parent.resolve() == config.checkpoints_dir.resolve()
        traces = grids or (config.contents_dir / "metrics.csv").exists() or checkpoints_in(config.checkpoints_dir)
        if traces and not (here or config.overwrite):
            raise UserError(
                f"an earlier run is in {config.contents_dir} and {config.checkpoints_dir}. Continue it with --resume, "
                "delete it with --overwrite, or choose another --output-dir."
            )
    if path and not found:
        found = Found(path, load_checkpoint(path))
    if found:
        check_checkpoint(found.path, found.content)
    return found


def _say_nothing_to_resume(config: TrainConfig) -> None:
    """A new run is what a restarted job wants, and what somebody who has mistyped a folder does not."""
    here, name = Path(config.output_dir), config.checkpoints_dir.name
    places = [found for home in (Path(), here, here.parent) for found in (home / name, *home.glob(f"*/{name}"))]
    runs: dict[str, None] = {}
    with suppress(OSError):  # what lies near may be another user's, and shut
        runs = dict.fromkeys(str(found.resolve().parent) for found in places if checkpoints_in(found))
    near = f" Runs of this script are in {', '.join(runs)}: name one with --output-dir." if runs else ""
    text = f"NOTHING TO RESUME: {config.checkpoints_dir} holds no checkpoint. A NEW run begins there.{near}"
    print(paint(fit(text, sys.stdout), BOLD, sys.stdout), flush=True)


def clear_run(config: TrainConfig) -> None:
    """Delete what an earlier run wrote. Call it on rank 0 alone, when all is ready to start. UserError if that cannot
    be done."""
    remove_files(_files_of_a_run(config))


def _files_of_a_run(config: TrainConfig) -> list[Path]:
    places = ((config.contents_dir, CONTENTS_PATTERNS), (config.checkpoints_dir, CHECKPOINT_PATTERNS))
    return [path for folder, patterns in places for pattern in patterns for path in folder.glob(pattern)]


def write_config(config: TrainConfig, data: dict[str, Any], extra: dict[str, Any]) -> None:
    """config.json beside the grids: every resolved option, the data's fingerprint and the machine's facts."""
    text = json.dumps({**config.to_dict(), "data": data, **extra}, indent=2) + "\n"
    write_atomically(config.contents_dir / "config.json", lambda temporary: temporary.write_text(text))
