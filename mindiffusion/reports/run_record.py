"""What a run left in its contents folder, read back for figures, comparison pages and model cards."""

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mindiffusion.reports.bands import COLUMNS as BAND_COLUMNS
from mindiffusion.reports.bands import band_names, read_bands
from mindiffusion.reports.metrics_log import read_metrics
from mindiffusion.reports.recovery_log import read_recovery
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import read_text

GRID_NAME = re.compile(r"stage(\d+)_epoch(\d+)\.png")
EVALUATIONS = ("evaluation.json", "evaluation.csv")  # the first that is there is read: it has the intervals


@dataclass(frozen=True)
class RunRecord:
    """The files of one run. ``metrics`` and ``bands`` hold one list of numbers per column, in order of ``images``."""

    folder: Path
    config: dict[str, Any]
    metrics: dict[str, list[float]]
    bands: dict[str, list[float]]

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
        borders = [0]
        for stage in self.config["stages"]:
            borders.append(borders[-1] + stage["epochs"] * self.images_per_epoch)
        return borders

    @property
    def stages_begun(self) -> int:
        """How many stages have a row in metrics.csv."""
        return int(max(self.metrics["stage"], default=0))

    def grids(self) -> list[tuple[int, int, Path]]:
        """(stage, epoch, file) of each sample grid, both counted from 1, in order of epochs."""
        found = ((GRID_NAME.fullmatch(path.name), path) for path in self.folder.iterdir())
        return sorted(((int(m[1]), int(m[2]), path) for m, path in found if m), key=lambda grid: grid[1])

    def recovery(self) -> list[dict[str, str]]:
        """The rows of recovery.csv, one per finished stage; none unless the run was on synthetic data."""
        return read_recovery(self.folder / "recovery.csv")

    def band_loss(self) -> list[float]:
        """The mean over all bands of timesteps, at each row of ``bands``."""
        names = band_names()
        return [sum(self.bands[name][i] for name in names) / len(names) for i in range(len(self.bands["step"]))]


def read_record(folder: Path) -> RunRecord:
    """Read a contents folder. UserError if it is not one."""
    try:
        config = json.loads(read_text(folder / "config.json"))
        config["variant"], config["stages"], config["data"]["images"], config["global_batch_size"]  # as used above
        metrics = _columns(read_metrics(folder / "metrics.csv"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder} is not the contents folder of a run: {type(error).__name__}: {error}. Name a contents_*_32 "
            "folder, with the config.json and metrics.csv that the run wrote."
        ) from error
    try:
        bands = read_bands(folder / "bands.csv")
        bands = {name: [float(row[name]) for row in bands] for name in BAND_COLUMNS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder / 'bands.csv'} is damaged: {type(error).__name__}: {error}. Move it away to go on without it."
        ) from error
    return RunRecord(folder, config, metrics, bands)


def find_contents(path: Path) -> Path:
    """The contents folder of the run that ``path`` names: itself, its folder of checkpoints, a checkpoint in that, or
    the output folder of a single run. UserError if it holds several runs; ``path`` as it is if it holds none."""
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


def evaluation_file(folder: Path) -> Path | None:
    """The evaluation table in a folder, if there is one."""
    return next((folder / name for name in EVALUATIONS if (folder / name).is_file()), None)


def read_evaluation(path: Path) -> list[dict[str, Any]]:
    """The rows of an evaluation table: what evaluate.py wrote, or any CSV or JSON list of rows with a ``name``. Values
    are plain, or of evaluation.json {"value", "low", "high"}. UserError if the file is neither."""
    try:
        if path.suffix == ".json":
            rows = json.loads(read_text(path))
            rows = [_flat(row) for row in rows["results"]] if isinstance(rows, dict) else rows
        else:
            rows = list(csv.DictReader(read_text(path).splitlines()))
        if not all(isinstance(row, dict) and "name" in row for row in rows):
            raise ValueError("there are rows without a name")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is no evaluation table: {error}. Name what evaluate.py wrote.") from error
    return rows


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A result of evaluation.json as one level: its name, what the reference was to it, and its metrics."""
    return {"name": row["name"], **({"reference": row["reference"]} if "reference" in row else {}), **row["metrics"]}


def _columns(rows: list[dict[str, str]]) -> dict[str, list[float]]:
    names = rows[0] if rows else ("stage",)
    return {name: [float(row[name]) for row in rows] for name in names}
