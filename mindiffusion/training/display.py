"""What a run shows at the end of an epoch: a grid of samples, the loss per band of timesteps, and figures.

Nothing here touches what training computes, and nothing ends a run but a signal and a disk that takes no more files.
"""

import time
from pathlib import Path

from torch import Tensor

from mindiffusion.config import TrainConfig
from mindiffusion.data.synthetic import is_synthetic
from mindiffusion.reports.bands import NUM_BANDS, BandFile
from mindiffusion.reports.grid_picture import average_blocks, readable_block, save_grid
from mindiffusion.reports.row_file import RecoveryFile
from mindiffusion.reports.tensorboard_log import add_epoch
from mindiffusion.runtime.files import CannotWrite
from mindiffusion.runtime.packages import advice, installed
from mindiffusion.runtime.signals import StopSignals
from mindiffusion.runtime.terminal import command
from mindiffusion.sampling import Drawable, draw_together
from mindiffusion.training.log import Log
from mindiffusion.training.run import Run
from mindiffusion.training.saver import Saver
from mindiffusion.training.schedule import Epoch

BATCH = 64  # samples of a grid that a rank draws at a time
GRID_SHARE = 0.05  # of the time: where a grid every epoch costs more (short epochs on a fast GPU), some are left out


def grid_caption(config: TrainConfig, here: Epoch, t_stop: int, block: int) -> list[str]:
    """The lines above a grid: the run and where it stands, what the network has been trained on, how it was drawn.
    ``block``: over how many pixels a side the samples were averaged."""
    variant = config.variant.upper() or "control"
    where = f"stage {here.stage + 1} of {len(config.stages)} ({config.stages[here.stage].name})"
    size = config.image_size // block
    coarse = f", at {size}x{size} pixels: finer is noise" if size > 1 else ", one colour for the whole image"
    coarse = coarse if block > 1 else ""
    trained = f"trained on t >= {t_stop} of {config.n_T}: the estimate of the clean image there{coarse}"
    trained = trained if t_stop else f"trained on all {config.n_T} timesteps"
    return [
        f"{variant}, {where}, epoch {here.number + 1} of {config.total_epochs}",
        f"{trained} | {config.grid_sampler.describe()}",
    ]


class Display:
    """Shows ``run``. All ranks call every method: they share the sampling, and rank 0 does the rest."""

    def __init__(self, run: Run, log: Log, saver: Saver):
        """What was measured after steps that will be done again is forgotten."""
        config = run.config
        self.run = run
        self.log = log
        self.saver = saver
        self.folder = config.contents_dir
        self.drawn_at, self.grid_seconds = time.monotonic(), 0.0  # of the latest grid
        self.recovery_file = RecoveryFile(self.folder / "recovery.csv", config.data_path)
        self.band_file = BandFile(self.folder / "bands.csv", run.data.images, config.global_batch_size, config.seed)
        run.ranks.from_main(lambda: self.band_file.keep_up_to(run.next_step))
        self.figures = config.figures and installed("matplotlib")
        if config.figures and not self.figures:
            later = command("python", "-m", "mindiffusion.reports.figures", self.folder)
            run.print_line(f"no figures: {advice('matplotlib')} Later: {later}")

    def finish_epoch(self, here: Epoch, stop: StopSignals) -> None:
        """Draw, measure and show what is not there yet. Raises Stopped, with all saved, if a signal came to any rank
        while samples were drawn."""
        ranks, began = self.run.ranks, time.monotonic()
        grid = self.folder / f"stage{here.stage + 1}_epoch{here.number + 1:03d}.png"
        with self.run.meter.paused():
            new, due = ranks.from_main(lambda: (self._measure_bands(here), self._grid_due(grid, here)))
            if due:
                samples = self._draw(stop)
                if samples is None:
                    self.saver.stop(here.done, ranks.all_reduce_max(stop.received))
                ranks.from_main(lambda: self._write_grid(grid, samples, here))
                self.drawn_at, self.grid_seconds = time.monotonic(), time.monotonic() - began
            ranks.from_main(lambda: self._show(here, grid, new))

    def _measure_bands(self, here: Epoch) -> bool:
        """A row of bands.csv, unless it is there. Returns whether it is new."""
        new = self.band_file.losses(here.done) is None
        if new:
            images = here.done * self.run.config.global_batch_size
            position = {"stage": here.stage + 1, "epoch": here.number + 1, "step": here.done, "images": images}
            self.band_file.add(position, self.band_file.measure(self.run.sampling_net, self.run.process))
        return new

    def _grid_due(self, grid: Path, here: Epoch) -> bool:
        """Whether this epoch gets a grid: at a stage's end always. On a CPU that is a function of the epoch alone, so
        that a resumed run has the grids of an uninterrupted one."""
        every = self.run.config.grid_every
        if not self.run.config.num_samples or grid.exists():
            return False
        if here.ends_stage:
            return True
        if every or self.run.ranks.device.type == "cpu":
            return (here.number + 1) % max(every, 1) == 0
        return self.grid_seconds <= GRID_SHARE * (time.monotonic() - self.drawn_at)

    def _draw(self, stop: StopSignals) -> Tensor | None:
        """The samples of a grid: images 0, 1, ... of the run's seed, which sample.py draws again from a checkpoint."""
        run, config = self.run, self.run.config
        model = Drawable(run.sampling_net, config.image_size, config.betas, config.n_T, run.process.t_stop)
        how = {"seed": config.seed, "batch_size": BATCH, "precision": config.precision}
        return draw_together(run.ranks, model, config.grid_sampler, config.num_samples, stop, **how)

    def _write_grid(self, path: Path, samples: Tensor, here: Epoch) -> None:
        """The grid, at the resolution that can be read where the network has not been trained down to t = 0."""
        config, t_stop, block = self.run.config, self.run.process.t_stop, 1
        if here.ends_stage and is_synthetic(config.data_path):
            self.run.print_line(self.recovery_file.add(here.stage, samples))
        if t_stop:
            loss = self.band_file.losses(here.done)[min(t_stop * NUM_BANDS // config.n_T, NUM_BANDS - 1)]
            block = readable_block(self.run.process, t_stop, loss, config.image_size)
        caption = grid_caption(config, here, t_stop, block)
        save_grid(path, average_blocks(samples, block), self.run.data, caption)

    def _show(self, here: Epoch, grid: Path, new: bool) -> None:
        """TensorBoard, if what was measured is ``new``, and at a stage's end the figures."""
        if new and self.log.tensorboard:
            add_epoch(self.log.tensorboard, self.band_file.losses(here.done), grid, here.done)
        if not (self.figures and here.ends_stage):
            return
        from mindiffusion.reports.figures import draw_figures  # half a second of matplotlib, if anybody wants it

        try:
            draw_figures(self.folder)
        except CannotWrite:
            raise
        except Exception as error:  # a picture is not worth a run
            self.run.print_line(f"no figures this time: {type(error).__name__}: {error}")
