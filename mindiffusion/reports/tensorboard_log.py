"""Scalars and grids for TensorBoard, in a folder beside metrics.csv."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mindiffusion.reports.row_file import BANDS

NOT_SCALARS = ("stage", "epoch", "step")  # steps are the x axis, the others are drawn as scalars of little use


def open_writer(folder: Path, next_step: int) -> Any:
    """PyTorch's SummaryWriter of an event file in ``folder``. On a resume at ``next_step``, viewers drop what earlier
    files have of later steps."""
    from torch.utils.tensorboard import SummaryWriter  # optional

    return SummaryWriter(str(folder), purge_step=next_step + 1 if next_step else None)


def add_row(writer: Any, row: dict[str, Any], step: int) -> None:
    """The columns of a row of metrics.csv, each as a scalar of its own."""
    for name, value in row.items():
        if name not in NOT_SCALARS:
            writer.add_scalar(f"train/{name}", value, step)


def add_epoch(writer: Any, losses: list[float], grid: Path, step: int) -> None:
    """The loss per band of timesteps as in bands.csv; their mean, the loss over all timesteps; the grid, if there is
    one."""
    writer.add_scalar("loss over all timesteps", sum(losses) / len(losses), step)
    for name, loss in zip(BANDS, losses, strict=True):
        writer.add_scalar(f"bands/{name.replace(' ', '_')}", loss, step)
    if grid.exists():
        with Image.open(grid, formats=("PNG",)) as image:
            writer.add_image("samples", np.asarray(image.convert("RGB")), step, dataformats="HWC")
    writer.flush()
