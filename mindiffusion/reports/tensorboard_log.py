"""Scalars and grids for TensorBoard, in a folder beside metrics.csv."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mindiffusion.reports.row_file import BANDS

NOT_SCALARS = ("stage", "epoch", "step")  # steps are the x axis, the others are drawn as scalars of little use


class TensorBoardLog:
    """Writes an event file into ``folder``. On a resume at ``next_step``, viewers drop what earlier files have of
    later steps."""

    def __init__(self, folder: Path, next_step: int):
        from torch.utils.tensorboard import SummaryWriter  # optional

        self.writer = SummaryWriter(str(folder), purge_step=next_step + 1 if next_step else None)

    def add_scalars(self, row: dict[str, Any], step: int) -> None:
        """The columns of a row of metrics.csv, each as a scalar of its own."""
        for name, value in row.items():
            if name not in NOT_SCALARS:
                self.writer.add_scalar(f"train/{name}", value, step)

    def add_bands(self, losses: list[float], step: int) -> None:
        """The loss per band of timesteps as in bands.csv, and their mean, the loss over all timesteps."""
        self.writer.add_scalar("loss over all timesteps", sum(losses) / len(losses), step)
        for name, loss in zip(BANDS, losses, strict=True):
            self.writer.add_scalar(f"bands/{name.replace(' ', '_')}", loss, step)

    def add_picture(self, name: str, path: Path, step: int) -> None:
        """A PNG; the scalars so far are flushed with it."""
        with Image.open(path, formats=("PNG",)) as image:
            self.writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        """Write out what is buffered."""
        self.writer.close()
