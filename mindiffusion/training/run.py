"""What a run owns (weights, average, optimizer, logs) and what is done with it between steps."""

import math
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mindiffusion.checkpoints.checkpoint import LATEST, Found, check_same_run, save_checkpoint, save_latest, set_aside
from mindiffusion.checkpoints.run_folder import clear_run, write_config
from mindiffusion.checkpoints.weights import init_parameters, read_weights
from mindiffusion.config import TrainConfig
from mindiffusion.data.images import ImageData
from mindiffusion.data.synthetic import is_synthetic
from mindiffusion.ddpm import DDPM
from mindiffusion.reports.grids import draw_samples, save_grid
from mindiffusion.reports.metrics_log import IntervalMeter, MetricsFile
from mindiffusion.reports.recovery_log import RecoveryFile
from mindiffusion.reports.reports import Reports
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import Stopped, UserError
from mindiffusion.runtime.signals import StopSignals
from mindiffusion.runtime.terminal import BOLD, TrainingBar, fit, human_time, paint
from mindiffusion.sampling import denoiser
from mindiffusion.training.acceleration import load_optimizer, make_optimizer
from mindiffusion.training.ema import Ema
from mindiffusion.training.schedule import Schedule

LOG_EVERY = 50  # steps between two rows of metrics.csv; the end of an epoch has one too
SAVE_SHARE = 0.01  # of the time: where saving every epoch costs more, the ends of some epochs go unsaved
CHECKPOINT_DUE = 1  # a wish, like the numbers of the signals, which are larger


class Run:
    """A run in progress. ``net`` is the raw network; ``diffusion`` is asked for its time range."""

    def __init__(
        self, config: TrainConfig, ranks: Ranks, schedule: Schedule, data: ImageData, net: nn.Module, diffusion: DDPM
    ):
        self.config = config
        self.ranks = ranks
        self.schedule = schedule
        self.data = data
        self.net = net
        self.diffusion = diffusion
        self.ema: Ema | None = None
        self.optimizer = make_optimizer(net, config.lr, ranks.device)
        self.meter = IntervalMeter(ranks)
        self.metrics_file = MetricsFile(config.contents_dir / "metrics.csv")
        self.recovery_file = RecoveryFile(config.contents_dir / "recovery.csv", config.image_size, config.data_path)
        self.denoiser: Callable[[Tensor, Tensor], Tensor] | None = None
        self.reports = Reports(config, data, self.say)
        self.saved_step = -1
        self.saved_path: Path | None = None
        self.saved_at = time.monotonic()
        self.save_seconds = 0.0  # what the latest save took
        self.bar = tqdm(disable=True)

    # --- begin ----------------------------------------------------------------------------------------------------

    def begin(self, found: Found | None) -> int:
        """Take the state from a checkpoint, or start anew; then write what the folders must hold from the first step.

        Returns the step to do next. UserError, with nothing changed, if the checkpoint is of another run.
        """
        next_step = 0
        if found:
            check_same_run(found, self.config.identity(), self.data.fingerprint, TrainConfig.defaults())
            if found.content["network"] != type(self.net).__name__:
                raise UserError(f"{found.path} holds a {found.content['network']}, to be sampled from, not resumed.")
            next_step = found.content["next_step"]
            self.net.load_state_dict(found.content["model"])
        elif self.config.init_from:
            init_parameters(self.net, read_weights(Path(self.config.init_from)))
        if self.config.ema_decay:
            self.ema = Ema(self.net, self.config.ema_decay)
        if found:
            self._restore_rest(found)
            self.say(f"continuing {found.path} at step {next_step:,} of {self.schedule.total_steps:,}")
        self.ranks.from_main(lambda: self._prepare_folders(next_step, found))
        return next_step

    def _prepare_folders(self, next_step: int, found: Found | None) -> None:
        if self.config.overwrite:
            clear_run(self.config)
        set_aside(found.bad if found else ())
        machine = {"torch": torch.__version__, "device": self._device_name(), "world_size": self.ranks.world_size}
        write_config(self.config, self.data.fingerprint, machine)
        self.metrics_file.keep_up_to(next_step)
        self.reports.begin(next_step)

    def _restore_rest(self, found: Found) -> None:
        if self.ema:
            self.ema.net.load_state_dict(found.content["ema"])
        load_optimizer(self.optimizer, found.content["optimizer"])
        self.meter.load_state(found.content["interval"])
        for name, value in (found.content["regrowth"] or {}).items():
            self.net.get_buffer(name).copy_(value)
        self.saved_step, self.saved_path = found.content["next_step"], found.path

    @contextmanager
    def progress(self, next_step: int) -> Iterator[None]:
        """Show a bar on rank 0 while the block runs; in a log file, where a bar is noise, a line per epoch instead."""
        size = self.config.global_batch_size
        self.bar = TrainingBar(self.schedule.total_steps * size, next_step * size, shown=self.ranks.is_main)
        self.meter.reset_clock()
        try:
            yield
        finally:
            self.bar.close()
            self.reports.close()

    # --- in the loop ----------------------------------------------------------------------------------------------

    def announce(self, stage: int) -> None:
        """One line that says what this stage changes."""
        here = self.config.stages[stage]
        parts = [f"t/T {here.t_min:g} to {here.t_max:g}", f"{here.epochs} epoch{'s' * (here.epochs > 1)}"]
        if self.config.sparsity_schedule:
            born = int((self.net.channel_birth_stage == stage + 1).sum())
            parts.append(f"{self.net.num_active}/{2 * self.config.n_feat} channels ({born} new)")
        if self.config.lambda_schedule:
            parts.append(f"lambda {self.config.lambda_schedule[stage]:.3g}")
        self.say(f"stage {stage + 1}/{len(self.config.stages)} {here.name}: {', '.join(parts)}", BOLD)
        self.stage = stage
        self.bar.set_description(self._progress(self.bar.n // self.config.global_batch_size), refresh=False)

    def optimizer_step(self, lr: float | Tensor) -> Tensor:
        """Step Adam at this learning rate and clear the gradients; returns the L2 norm of the whole gradient, a scalar
        on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        gradients = [p.grad for p in self.net.parameters()]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def ema_weight(self, step: int) -> float:
        """How far the moving average goes towards the weights in optimizer step ``step``."""
        return self.ema.weight(step) if self.ema else 0.0

    def finish_step(self, step: int, mse: Tensor, penalty: Tensor, grad_norm: Tensor, stop: StopSignals) -> None:
        """Average, log and save after optimizer step ``step``. Raises Stopped, with all saved, if a signal came."""
        self.meter.add(mse, penalty, grad_norm)
        self.bar.update(self.config.global_batch_size)
        done = step + 1
        if done % LOG_EVERY == 0 or done % self.schedule.steps_per_epoch == 0:
            self._log(done)
        due = time.monotonic() - self.saved_at > 60 * self.config.checkpoint_minutes
        wish = self.ranks.any(stop.received or (CHECKPOINT_DUE if due else 0))
        if wish > CHECKPOINT_DUE:
            self._stop(done, wish)
        if wish:
            self._save(done)

    def finish_epoch(self, stage: int, epoch: int, stop: StopSignals) -> None:
        """Save, and draw the grid; at the end of a stage keep a checkpoint of it. What is there already stays."""
        done = self.schedule.steps_of(epoch)[-1] + 1
        last_of_stage = epoch == self.schedule.epochs_of(stage)[-1]
        if self.ranks.any(int(last_of_stage or time.monotonic() - self.saved_at > self.save_seconds / SAVE_SHARE)):
            self._save(done)
        stage_path = self.config.checkpoints_dir / f"stage{stage + 1}.pt"
        if last_of_stage and not self.ranks.from_main(stage_path.exists):
            self._save(done, stage_path)
        grid_path = self.config.contents_dir / f"stage{stage + 1}_epoch{epoch + 1:03d}.png"
        if self.config.num_samples and not self.ranks.from_main(grid_path.exists):
            with self.meter.paused():
                samples = draw_samples(self.config, self.ranks, self._denoiser(), self.diffusion.t_stop, stop)
                if samples is None:
                    self._stop(done, self.ranks.any(stop.received))
                self.ranks.from_main(lambda: self._write_grid(grid_path, samples, stage if last_of_stage else None))
        with self.meter.paused():
            position = {"stage": stage + 1, "epoch": epoch + 1, "step": done}
            position["images"] = done * self.config.global_batch_size
            net = self.ema.net if self.ema else self.net
            self.ranks.from_main(
                lambda: self.reports.finish_epoch(net, self.diffusion, position, grid_path, last_of_stage)
            )
        self.bar.set_description(self._progress(done), refresh=False)

    def say(self, text: str, style: str = "") -> None:
        """Print a line on rank 0, above the bar."""
        if self.ranks.is_main:
            text = fit(text, sys.stdout)
            tqdm.write(paint(text, style, sys.stdout) if style else text)

    # --- details --------------------------------------------------------------------------------------------------

    def _denoiser(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The averaged network, where there is one, for sampling; kept, so that its CUDA graph is recorded once."""
        if self.denoiser is None:
            net = self.ema.net if self.ema else self.net
            self.denoiser = denoiser(net, self.config.precision, self.ranks.device, compiled=False)
        return self.denoiser

    def _write_grid(self, path: Path, samples: Tensor, finished_stage: int | None) -> None:
        if finished_stage is not None and is_synthetic(self.config.data_path):
            self.say(self.recovery_file.add(finished_stage, samples))
        save_grid(path, samples, self.data)

    def _progress(self, step: int) -> str:
        """Where ``step`` lies, for people."""
        here = self.schedule.position(min(step, self.schedule.total_steps - 1))
        return f"stage {here.stage + 1}/{len(self.config.stages)}, epoch {here.epoch + 1}/{self.config.total_epochs}"

    def _log(self, done: int) -> None:
        means = self.meter.means()
        speed = self.meter.steps_per_second() * self.config.global_batch_size
        epoch = (done - 1) // self.schedule.steps_per_epoch
        loss = means["mse"] + means["penalty"]
        if not math.isfinite(loss + means["grad_norm"]):
            good = f"{self.saved_path}, of step {self.saved_step}" if self.saved_path else "none, it is too early"
            raise UserError(
                f"the loss is {loss} and the gradient norm {means['grad_norm']} by step {done} of stage "
                f"{self.stage + 1}, epoch {epoch + 1} (looked at every {LOG_EVERY} steps). The last good checkpoint: "
                f"{good}. Lower --lr, or use --precision fp32."
            )
        self.ranks.from_main(lambda: self._write_row(done, epoch, loss, means, speed))
        self.meter.reset()

    def _write_row(self, done: int, epoch: int, loss: float, means: dict[str, float], speed: float) -> None:
        row = {
            "stage": self.stage + 1,
            "epoch": epoch + 1,
            "step": done,
            "images": done * self.config.global_batch_size,
            "loss": loss,
            **means,
            "lr": self.schedule.lr(done - 1),
            "images_per_s": speed,
            "active_channels": getattr(self.net, "num_active", 2 * self.config.n_feat),
        }
        self.metrics_file.append(row)
        self.reports.log(row)
        self.bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        if self.bar.disable and done % self.schedule.steps_per_epoch == 0:
            left = (self.schedule.total_steps - done) * self.config.global_batch_size / speed
            self.say(f"{self._progress(done - 1)}: loss {loss:.4f}, {speed:.0f} images/s, {human_time(left)} left")

    def _save(self, done: int, path: Path | None = None) -> None:
        """Save the state before step ``done`` to latest.pt, unless it is there, or to ``path``. All ranks take part."""
        if path is None and self.saved_step == done:
            return
        with self.meter.paused():
            interval = self.meter.state()
            if not all(math.isfinite(value) for value in interval.values()):
                self._log(done)  # raises: a broken state must not replace a good one
            self.ranks.from_main(lambda: self._write_checkpoint(done, interval, path))
        self.saved_step, self.saved_at = done, time.monotonic()
        self.saved_path = path or self.config.checkpoints_dir / LATEST

    def _write_checkpoint(self, done: int, interval: dict[str, float], path: Path | None) -> None:
        began = time.monotonic()
        self.metrics_file.sync()
        content = self._content(done, interval)
        save_checkpoint(path, content) if path else save_latest(self.config.checkpoints_dir, content)
        self.save_seconds = time.monotonic() - began

    def _content(self, done: int, interval: dict[str, float]) -> dict[str, Any]:
        position = self.schedule.position(done)
        regrowth = None
        if self.config.sparsity_schedule:
            regrowth = {name: self.net.get_buffer(name).clone() for name in ("gradient_sum", "gradient_steps")}
        return {
            "network": type(self.net).__name__,
            "model": dict(self.net.state_dict()),
            "ema": dict(self.ema.net.state_dict()) if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "regrowth": regrowth,
            "interval": interval,
            "next_stage": position.stage,
            "next_epoch": position.epoch,
            "next_step": position.step,
            "config": self.config.to_dict(),
            "data": self.data.fingerprint,
        }

    def _stop(self, done: int, number: int) -> None:
        self._save(done)
        raise Stopped(
            f"stopped by signal {number}; step {done:,} is saved in {self.config.checkpoints_dir}. "
            "Continue with --resume.",
            128 + number,
        )

    def _device_name(self) -> str:
        if self.ranks.device.type == "cuda":
            return torch.cuda.get_device_name(self.ranks.device)
        return platform.processor() or platform.machine()
