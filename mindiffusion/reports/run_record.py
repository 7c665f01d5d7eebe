"""What a run left in its contents folder, read back for figures, comparison pages and model cards."""

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mindiffusion.checkpoints.foreign import checked_config, checked_data
from mindiffusion.reports.row_file import BANDS, COLUMNS, read_rows
from mindiffusion.runtime.errors import UserError, first_line
from mindiffusion.runtime.files import read_errors_explained, read_text

GRID_NAME = re.compile(r"stage(\d{1,4})_epoch(\d{1,9})\.png", re.ASCII)


@dataclass(frozen=True)
class RunRecord:
    """The files of one run. ``metrics``, ``bands`` and ``recovery`` hold one list of numbers per column; the last is
    empty unless the run was on synthetic data. ``notes``: what is wrong with the files."""

    folder: Path
    config: dict[str, Any]
    metrics: dict[str, list[float]]
    bands: dict[str, list[float]]
    recovery: dict[str, list[float]]
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The variant as people call it."""
        variant = self.config["variant"]
        return variant.upper() if variant else "control"

    @property
    def checkpoints_dir(self) -> Path:
        """Where the run's checkpoints are, as long as nobody moved them."""
        folder = self.folder.resolve()
        return folder.with_name(folder.name.replace("contents", "checkpoints", 1))

    @property
    def images_per_epoch(self) -> int:
        """Images seen in an epoch: full batches only."""
        batch = self.config["global_batch_size"]
        return (self.config.get("images_per_epoch") or self.config["data"]["images"]) // batch * batch

    @property
    def stage_borders(self) -> list[int]:
        """Images seen at the beginning of each stage, and at the end of the run."""
        images = (stage["epochs"] * self.images_per_epoch for stage in self.config["stages"])
        return list(itertools.accumulate(images, initial=0))

    @property
    def stages_begun(self) -> int:
        """How many stages have a row in metrics.csv."""
        return min(int(max(self.metrics["stage"], default=0)), len(self.config["stages"]))

    @read_errors_explained()
    def grids(self) -> list[tuple[int, int, Path]]:
        """(stage, epoch, file) of each sample grid, both counted from 1, in order of epochs; those alone that are of a
        stage and an epoch that the run has. UserError if the folder cannot be read."""
        named = [(GRID_NAME.fullmatch(path.name), path) for path in self.folder.iterdir()]
        grids = [(int(match[1]), int(match[2]), path) for match, path in named if match]
        stages, epochs = len(self.config["stages"]), sum(stage["epochs"] for stage in self.config["stages"])
        return sorted((g for g in grids if 1 <= g[0] <= stages and 1 <= g[1] <= epochs), key=lambda grid: grid[1])

    @property
    def is_weighted(self) -> bool:
        """Whether what is trained is another loss than the mean squared error and a penalty."""
        parts = zip(*(self.metrics[name] for name in ("loss", "mse", "penalty")), strict=True)
        return any(abs(loss - mse - penalty) > 1e-3 * abs(loss) for loss, mse, penalty in parts)

    def band_loss(self) -> list[float]:
        """The mean over all bands of timesteps, at each row of ``bands``."""
        return [sum(losses) / len(BANDS) for losses in zip(*(self.bands[name] for name in BANDS), strict=True)]


def read_record(folder: Path) -> RunRecord:
    """Read a contents folder. UserError if it is not one."""
    try:
        config = json.loads(read_text(folder / "config.json"))
        config = {**checked_config(config), "data": checked_data(config.get("data"))}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{folder} is not the contents folder of a run: config.json: {first_line(error)}. Name a contents_*_32 "
            "folder, with the config.json and metrics.csv that the run wrote."
        ) from error
    tables, notes = [], []
    for name, columns in COLUMNS.items():
        rows, good = read_rows(folder / name)
        tables.append({column: [float(row[column]) for row in rows] for column in (rows[0] if rows else columns)})
        if not good:
            notes.append(f"{name} is not as the run wrote it: what cannot be read of it is left out.")
    return RunRecord(folder, config, *tables, tuple(notes))


@read_errors_explained()
def find_contents(path: Path) -> Path:
    """The contents folder of the run that ``path`` names: itself, its folder of checkpoints, a checkpoint in that, or
    the output folder of a single run. UserError if it holds several runs, or cannot be read; ``path`` as it is if it
    holds none."""
    folder = path.parent if path.is_file() else path
    here = folder.resolve()
    sibling = here.with_name(here.name.replace("checkpoints", "contents", 1))
    for found in (folder, sibling):
        if (found / "metrics.csv").is_file():
            return found
    inside = sorted(each.parent for each in path.glob("contents_*/metrics.csv"))
    if len(inside) > 1:
        raise UserError(f"{path} holds several runs: name one of {', '.join(map(str, inside))}.")
    return inside[0] if inside else path
