"""What a run says while it goes on: a line per stage, a bar, rows of metrics.csv, and TensorBoard if it is wanted."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from mindiffusion.reports.row_file import RowFile
from mindiffusion.reports.tensorboard_log import add_row, open_writer
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.terminal import BOLD, human_time, progress_bar
from mindiffusion.stages import describe_values
from mindiffusion.training.run import Run

LOG_EVERY = 50  # steps between two rows of metrics.csv; the end of an epoch has one too


class Log:
    """The log of ``run``. All ranks call every method; rank 0 writes and prints."""

    def __init__(self, run: Run):
        self.run = run
        self.metrics_file = RowFile(run.config.contents_dir / "metrics.csv")
        self.tensorboard: Any = None  # a SummaryWriter, if it is wanted

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Open the files, and forget what they say of steps from the run's next one on: those will be done again. While
        the block runs, rank 0 shows a bar, with a line per epoch above it; in a log file the lines alone."""
        run, size = self.run, self.run.schedule.batch_size
        run.ranks.from_main(self._open)
        total = run.schedule.total_steps * size
        self.bar = progress_bar(total, shown=run.ranks.is_main, initial=run.next_step * size, unit=" img")
        run.meter.reset_clock()
        try:
            yield
        finally:
            self.bar.close()
            if self.tensorboard:
                self.tensorboard.close()

    def _open(self) -> None:
        self.metrics_file.keep_up_to(self.run.next_step)
        if self.run.config.tensorboard:
            self.tensorboard = open_writer(self.run.config.contents_dir / "tensorboard", self.run.next_step)

    def announce(self, stage: int) -> None:
        """One line that says what this stage changes."""
        stages = self.run.schedule.stages
        here = stages[stage]
        parts = [
            f"{here.epochs} epoch{'s' * (here.epochs > 1)}",
            describe_values({**here.values, **self.run.net.readings()}),
            self.run.process.describe_loss(),
        ]
        self.run.print_line(f"stage {stage + 1}/{len(stages)} {here.name}: {', '.join(filter(None, parts))}", BOLD)

    def finish_step(self, done: int, measured: dict[str, Tensor]) -> None:
        """Take in what step number ``done``, counted from 1, has measured. UserError if the loss is no number."""
        run, schedule = self.run, self.run.schedule
        ends_epoch = done % schedule.steps_per_epoch == 0
        self.bar.set_description(schedule.describe(done - 1), refresh=False)
        self.bar.update(schedule.batch_size)
        run.meter.add(measured)
        if done % LOG_EVERY == 0 or ends_epoch:
            means = self.means(done)
            speed = run.meter.steps_per_second() * schedule.batch_size
            run.ranks.from_main(lambda: self._write_row(done, means, speed, ends_epoch))
            run.meter.reset()

    def means(self, done: int) -> dict[str, float]:
        """What was measured since the last row, per step. UserError if it is no number."""
        means = self.run.meter.means()
        if not math.isfinite(means["loss"] + means["grad_norm"]):
            saved = self.run.saved_path
            good = f"{saved}, of step {self.run.saved_step}" if saved else "none, it is too early"
            keep = f" To go on from it instead: --init-from {saved} and another --output-dir." if saved else ""
            slower = "" if self.run.config.precision == "fp32" else ", or use --precision fp32"
            where = self.run.schedule.describe(done - 1)
            raise UserError(
                f"the loss is {means['loss']} and the gradient norm {means['grad_norm']} by step {done}, {where} "
                f"(looked at every {LOG_EVERY} steps). The last good checkpoint: {good}. Lower --lr{slower}, and start "
                f"anew with --overwrite.{keep}"
            )
        return means

    def _write_row(self, done: int, means: dict[str, float], speed: float, ends_epoch: bool) -> None:
        schedule = self.run.schedule
        stage, epoch = schedule.position(done - 1)
        row = {
            "stage": stage + 1,
            "epoch": epoch + 1,
            "step": done,
            "images": done * schedule.batch_size,
            **means,
            "lr": schedule.lr(done - 1),
            "images_per_s": speed,
            **self.run.net.readings(),
        }
        self.metrics_file.append(row)
        if self.tensorboard:
            add_row(self.tensorboard, row, done)
        loss = f"loss {means['loss']:.4f}"
        self.bar.set_postfix_str(loss, refresh=False)
        if ends_epoch:
            left = human_time((schedule.total_steps - done) * schedule.batch_size / speed)
            self.run.print_line(f"{schedule.describe(done - 1)}: {loss}, {speed:.0f} images/s, {left} left")
