"""What all rows of a table share: one frozen object, from the command line to every measure."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mindiffusion.data.synthetic import SYNTHETIC
from mindiffusion.sampling import Sampler

CHUNK = 256  # images that a measure of samples looks at together: its memory does not grow with their number
RESAMPLES = 200


@dataclass(frozen=True)
class Settings:
    """``measures``: what --metrics chose. ``fewest``: the smallest number of images on either side. ``resamples``: of
    the intervals, 0 for none. ``data_path``: of the real images. ``inception_weights``: a file, if the user named one.
    ``precision`` and ``compile``: of drawing; everything is measured in fp32."""

    measures: tuple[str, ...] = ()
    image_size: int = 32
    crop: str = "square"
    sampler: Sampler = field(default_factory=Sampler)
    num_samples: int = 1000
    num_loss_images: int = 1000
    fewest: int = 1000
    batch_size: int = 250
    seed: int = 0
    resamples: int = RESAMPLES
    swd_normalization: str = "reference"
    data_path: str = SYNTHETIC
    inception_weights: Path | None = None
    device: torch.device = torch.device("cpu")  # noqa: RUF009  # it cannot change
    precision: str = "fp32"
    compile: bool = False

    def wanted(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of ``names`` that are to be measured."""
        return tuple(name for name in names if name in self.measures)


def note(text: str) -> None:
    """A line beside the results."""
    print(f"note: {text}", file=sys.stderr, flush=True)


def to_float(images: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1]; float images as they are."""
    return images if images.is_floating_point() else images.float() / 127.5 - 1.0


def per_image(function: Callable[[Tensor], Tensor], images: Tensor, device: torch.device) -> Tensor:
    """``function`` (N, ...) -> (N, ...) of float images, a chunk at a time, gathered on the CPU."""
    return torch.cat([function(to_float(part.to(device))).cpu() for part in images.split(CHUNK)])
