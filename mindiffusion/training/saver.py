"""When and where a run is saved: latest.pt every few minutes, epochs and signals; stageK.pt at the end of a stage."""

import math
import sys
import time
from pathlib import Path
from typing import NoReturn

import torch

from mindiffusion.checkpoints.checkpoint import LATEST, later_than, save_checkpoint, set_aside
from mindiffusion.checkpoints.run_folder import clear_run, write_config
from mindiffusion.runtime.gpu import describe
from mindiffusion.runtime.signals import Stopped, StopSignals, signal_name
from mindiffusion.runtime.terminal import command_to_resume
from mindiffusion.training.log import Log
from mindiffusion.training.run import Run
from mindiffusion.training.schedule import Epoch

SAVE_SHARE = 0.01  # of the time: where saving every epoch costs more, the ends of some epochs go unsaved
CHECKPOINT_DUE = 1  # a wish; a signal's is larger by its number
MOST_STEPS = 16  # that several ranks do without asking whether one of them is to stop


class Saver:
    """Saves ``run``. All ranks call every method; rank 0 writes. A checkpoint is never newer than ``log``."""

    def __init__(self, run: Run, log: Log):
        self.run = run
        self.log = log
        self.folder = run.config.checkpoints_dir
        self.saved_at = time.monotonic()
        self.ask_at = 0  # the step after which ranks ask again; one rank alone asks itself at each
        self.save_seconds = 0.0  # what the latest save took

    def begin(self) -> None:
        """Make room: an earlier run goes if --overwrite says so, broken checkpoints are set aside, and config.json
        says what begins here. A run that goes on from another file than latest.pt has its state there at once: a kill
        before the next save would leave a latest.pt of other steps than metrics.csv. Where it was sent back, later ones
        are set aside: they would be resumed instead."""
        run, step = self.run, self.run.saved_step
        run.ranks.from_main(self._make_room)
        if run.found:
            self._save(step)
            run.ranks.from_main(lambda: set_aside(later_than(step, self.folder)))

    def _make_room(self) -> None:
        run = self.run
        if run.config.overwrite:
            clear_run(run.config)
        set_aside(run.found.bad if run.found else ())
        facts = {"network": type(run.net).__name__, "torch": torch.__version__}
        facts |= {"device": describe(run.ranks.device), "world_size": run.ranks.world_size}
        write_config(run.config, run.data.fingerprint, facts)

    def finish_step(self, done: int, stop: StopSignals) -> None:
        """Save after ``done`` steps if it is time. Raises Stopped, with all saved, if a signal came to any rank.

        Several ranks ask each other about once a second, after the same step, and at the end of each epoch."""
        run, ranks = self.run, self.run.ranks
        if done < self.ask_at and done % run.schedule.steps_per_epoch:
            return
        due = time.monotonic() - self.saved_at > 60 * run.config.checkpoint_minutes
        wish = ranks.all_reduce_max(CHECKPOINT_DUE + stop.received if stop.received or due else 0)
        if ranks.world_size > 1:
            self.ask_at = done + ranks.all_reduce_max(int(min(max(run.meter.steps_per_second(), 1), MOST_STEPS)))
        if wish > CHECKPOINT_DUE:
            self.stop(done, wish - CHECKPOINT_DUE)
        if wish:
            self._save(done)

    def finish_epoch(self, here: Epoch) -> None:
        """Save, unless that would take too much of the time; at the end of a stage keep a checkpoint of it, unless
        there is one."""
        ranks, path = self.run.ranks, self.folder / f"stage{here.stage + 1}.pt"
        # Rank 0 alone knows what saving takes.
        due = ranks.is_main and time.monotonic() - self.saved_at > self.save_seconds / SAVE_SHARE
        if ranks.all_reduce_max(int(here.ends_stage or due)):
            self._save(here.done)
        if here.ends_stage and not ranks.from_main(path.exists):
            self._save(here.done, path)

    def stop(self, done: int, number: int) -> NoReturn:
        """Save, and raise Stopped for the signal of this number."""
        self._save(done)
        several = " the same command and --resume" + " in the place of --overwrite" * self.run.config.overwrite + "."
        how = several if self.run.ranks.world_size > 1 else f": {command_to_resume(sys.argv)}"
        raise Stopped(
            f"stopped by {signal_name(number)}; step {done:,} is saved in {self.folder}. Continue with{how}",
            128 + number,
        )

    def _save(self, done: int, path: Path | None = None) -> None:
        """Save the state before step ``done`` to latest.pt, unless it is there already, or to ``path``."""
        run, latest = self.run, self.folder / LATEST
        there = run.saved_step == done and run.saved_path and run.saved_path.resolve() == latest.resolve()
        if there and not path:
            return
        interval = run.meter.state()  # waits for the steps that a GPU has still to do: their time counts
        with run.meter.paused():
            if not all(math.isfinite(value) for value in interval.values()):
                self.log.means(done)  # raises: a broken state must not replace a good one
            run.ranks.from_main(lambda: self._write(done, interval, path or latest))
        run.saved_step, self.saved_at = done, time.monotonic()
        run.saved_path = latest  # which is always saved before a stage's checkpoint

    def _write(self, done: int, interval: dict[str, float], path: Path) -> None:
        began = time.monotonic()
        self.log.metrics_file.sync()
        save_checkpoint(path, self.run.content(done, interval))
        self.save_seconds = time.monotonic() - began
