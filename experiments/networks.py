"""A trained network on this machine's device, which draws, and the real images it is compared with."""

import math
import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from mindiffusion.checkpoints.models import Model, open_model
from mindiffusion.data.images import parse_range
from mindiffusion.evaluation.reference import RealImages, load_real
from mindiffusion.runtime.env_file import read_env_file
from mindiffusion.runtime.errors import UserError
from mindiffusion.sampling import Sampler, draw, num_evaluations, to_bytes


class Network(NamedTuple):
    """A model, and how it is asked: in ``precision``, perhaps compiled."""

    model: Model
    device: torch.device
    precision: str
    compiled: bool

    def draw(self, sampler: Sampler, count: int, seed: int = 0, batch_size: int = 250) -> Tensor:
        """Images 0 .. ``count - 1`` of a seed, uint8 (count, C, S, S), as a PNG would hold them."""
        steps = math.ceil(count / batch_size) * num_evaluations(self.model, sampler)
        how = {"device": self.device, "precision": self.precision, "compiled": self.compiled}
        with tqdm(total=steps, unit="step", disable=None) as bar:
            images = draw(self.model, sampler, count, seed=seed, batch_size=batch_size, on_step=bar.update, **how)
        return to_bytes(images)


def load_network(path: Path, precision: str = "fp32", compiled: bool = False) -> Network:
    """The averaged network of a checkpoint or an export. UserError if it has not seen all noise levels."""
    model = open_model(path)
    if model.t_stop:
        raise UserError(f"{path} has been trained on t >= {model.t_stop} only: name the last checkpoint of its run.")
    return Network(model, torch.device("cuda" if torch.cuda.is_available() else "cpu"), precision, compiled)


def real_images(data_path: str | None, places: str | None, size: int, count: int = 2) -> RealImages:
    """Those at the ``places`` "A-B" of a sorted folder, and the others; of synthetic data ``count``."""
    read_env_file()
    data_path = data_path or os.environ.get("CELEBA_PATH", "")
    if not data_path:
        raise UserError("no real images: give --data-path, or set CELEBA_PATH in .env.")
    try:
        numbers = parse_range(places) if places else None
    except ValueError:
        raise UserError(f"{places!r} names no images; write them like 8001-9000.") from None
    return load_real(data_path, size, "square", numbers, max(count, 2))
