"""The held-out images that a finished run of a study was evaluated on."""

import functools
import json
from pathlib import Path

from torch import Tensor

from mindiffusion.data.images import parse_range
from mindiffusion.evaluation.settings import to_float
from mindiffusion.evaluation.subjects import load_real
from mindiffusion.evaluation.table import read_report

IMAGES = 100


def held_out_images(run: Path) -> Tensor:
    """The first of them, (N, 3, S, S) in [-1, 1]."""
    where = json.loads(next(run.glob("contents_*/config.json")).read_text())["data_path"]  # a report names no place
    return _load(where, json.dumps(read_report(run / "evaluation")["settings"]))


@functools.cache
def _load(data_path: str, settings: str) -> Tensor:
    about = json.loads(settings)
    places = None if about["eval_images"] == "all" else parse_range(about["eval_images"])
    crop = "square" if about["crop"] == "none" else about["crop"]
    real = load_real(data_path, about["image_size"], crop, places, IMAGES)
    return to_float(real.images[:IMAGES])
