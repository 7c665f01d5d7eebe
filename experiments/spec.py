"""What a study is: cells (variants of training), seeds, and one budget for all. Specs in specs/ are such studies."""

import importlib.util
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mindiffusion.runtime.errors import UserError

Stages = tuple[tuple[float, float, int], ...]  # t_min, t_max as fractions of n_T, epochs

# The brief's 5, 10, 15, 20, 30 epochs in their smallest whole numbers: 16 epochs.
BRIEF: Stages = ((0.8, 1, 1), (0.6, 1, 2), (0.4, 1, 3), (0.2, 1, 4), (0, 1, 6))


def uniform(stages: Stages = BRIEF) -> Stages:
    """The control in stages of the same length, so that its checkpoints lie at the same images as the curriculum's.
    Every draw depends on the step alone: it trains exactly as in one stage."""
    return tuple((0, 1, epochs) for _, _, epochs in stages)


@dataclass(frozen=True)
class Cell:
    """One variant: a training script, its stages, constants of the script that are replaced (name: value, in types that
    JSON has), and flags of its own."""

    name: str
    script: str
    stages: Stages = BRIEF
    constants: dict[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """Cells x seeds at equal images seen.

    ``images``: seen by each run. ``train_images`` and ``eval_images``: places "A-B" in the sorted folder, from 1, or ""
    for all (synthetic data). ``flags``: of training, all cells alike. ``evaluate``: flags of evaluate.py.
    """

    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    images: int
    data_path: str = ""  # "" = CELEBA_PATH
    train_images: str = ""
    eval_images: str = ""
    flags: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [cell.name for cell in self.cells]
        if len(set(names)) < len(names):
            raise UserError(f"two cells have one name: {sorted(names)}.")
        epochs = {cell.name: sum(stage[2] for stage in cell.stages) for cell in self.cells}
        if len(set(epochs.values())) > 1:
            raise UserError(f"cells of one study need equally many epochs, else they see unequal images: {epochs}.")

    @property
    def epochs(self) -> int:
        """Epochs of every run."""
        return sum(stage[2] for stage in self.cells[0].stages)


def stretched(study: Study, num_images: int) -> Study:
    """The study with as many epochs as its images need, each stage's share as it was, where ``num_images`` are trained
    on and no epoch can have more."""
    times = -(-study.images // (study.epochs * num_images))
    cells = (replace(c, stages=tuple((low, high, times * n) for low, high, n in c.stages)) for c in study.cells)
    return replace(study, cells=tuple(cells))


def all_constants(cell: Cell) -> dict[str, Any]:
    """The constants of its script that a cell replaces, STAGES among them."""
    stages = [[low, high, f"stage{k + 1}", epochs] for k, (low, high, epochs) in enumerate(cell.stages)]
    return {"STAGES": stages, **cell.constants}


def plan_text(study: Study) -> str:
    """A line per cell."""
    lines = [f"{len(study.cells)} cells x seeds {list(study.seeds)}, {study.images:,} images each, {study.data_path}"]
    for cell in study.cells:
        stages = " ".join(f"[{low:g},{high:g}]x{epochs}" for low, high, epochs in cell.stages)
        own = " ".join([*(f"{k}={v}" for k, v in cell.constants.items()), *cell.flags])
        lines.append(f"  {cell.name:<24}{cell.script:<22}{stages}  {own}")
    return "\n".join(lines)


def load_spec(path: Path) -> Study:
    """The STUDY of a spec, which is a Python file, of the tree or not."""
    if not path.is_file():
        raise UserError(f"there is no spec {path}: name a file of experiments/specs.")
    found = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    if not isinstance(getattr(module, "STUDY", None), Study):
        raise UserError(f"{path} defines no STUDY = Study(...).")
    return module.STUDY
