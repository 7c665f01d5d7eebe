"""What rank 0 reports about a run besides metrics and grids: losses per band, figures, TensorBoard.

None of it touches what training computes, and none of it may end a run except a disk that takes no more files.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from mindiffusion.config import TrainConfig
from mindiffusion.data.images import ImageData
from mindiffusion.ddpm import DDPM
from mindiffusion.reports.bands import BandFile
from mindiffusion.reports.tensorboard_log import TensorBoardLog
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.optional import advice, installed


class Reports:
    """Call everything on rank 0 alone; ``say`` prints a line."""

    def __init__(self, config: TrainConfig, data: ImageData, say: Callable[[str], None]):
        self.config = config
        self.say = say
        self.band_file = BandFile(config.contents_dir / "bands.csv", data.images, config.global_batch_size, config.seed)
        self.tensorboard: TensorBoardLog | None = None

    def begin(self, next_step: int) -> None:
        """Forget what was reported of later steps."""
        self.band_file.keep_up_to(next_step)
        if self.config.tensorboard:
            self.tensorboard = TensorBoardLog(self.config.contents_dir / "tensorboard", next_step)
        if self.config.figures and not installed("matplotlib"):
            self.say(
                f"no figures: {advice('matplotlib')} Later: python -m mindiffusion.reports.figures {self._contents}"
            )

    def log(self, row: dict[str, Any]) -> None:
        """Pass on a row of metrics.csv."""
        if self.tensorboard:
            self.tensorboard.add_scalars(row, row["step"])

    def finish_epoch(
        self, net: nn.Module, diffusion: DDPM, position: dict[str, int], grid: Path, last_of_stage: bool
    ) -> None:
        """Measure the bands with ``net`` and pass on the grid, unless that is done; at a stage's end draw the figures.

        ``position`` has what is done so far, under the names of bands.POSITION.
        """
        step = position["step"]
        new = not self.band_file.has(step)
        if new:
            self.band_file.add(position, self.band_file.measure(net, diffusion))
            if self.tensorboard and grid.exists():
                self.tensorboard.add_picture("samples", grid, step)
        if last_of_stage and (new or not (self._contents / "figure_loss.png").exists()):
            self._draw_figures()

    def close(self) -> None:
        """Write out what is buffered."""
        if self.tensorboard:
            self.tensorboard.close()

    @property
    def _contents(self) -> Path:
        return self.config.contents_dir

    def _draw_figures(self) -> None:
        if not (self.config.figures and installed("matplotlib")):
            return
        from mindiffusion.reports.figures import draw_figures  # half a second of matplotlib, if anybody wants it

        try:
            draw_figures(self._contents)
        except UserError:
            raise
        except Exception as error:  # a picture is not worth a run
            self.say(f"no figures this time: {type(error).__name__}: {error}")
