"""The held-out images that a finished run of a study was evaluated on."""

import functools
import json
from pathlib import Path

from torch import Tensor

from mindiffusion.data.images import parse_range
from mindiffusion.evaluation.metrics import to_float
from mindiffusion.evaluation.subjects import load_real
from mindiffusion.evaluation.table import read_report

IMAGES = 100


def held_out_images(run: Path) -> Tensor:
    """The first of them, (N, 3, S, S) in [-1, 1]."""
    return _load(json.dumps(read_report(run / "evaluation")["settings"]))


@functools.cache
def _load(settings: str) -> Tensor:
    about = json.loads(settings)
    places = None if about["eval_images"] == "all" else parse_range(about["eval_images"])
    crop = about["crop"] if about["data_path"] != "synthetic" else "square"
    real = load_real(about["data_path"], about["image_size"], crop, places, IMAGES)
    return to_float(real.held_out[:IMAGES])
