"""What all rows of a table share: one frozen object, from the command line to every measure."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindiffusion.data.synthetic import SYNTHETIC
from mindiffusion.evaluation.bootstrap import RESAMPLES, Estimate
from mindiffusion.sampling import Sampler

CPU = torch.device("cpu")
CHUNK = 256  # images that a measure of samples looks at together: its memory does not grow with their number
Row = dict[str, Estimate]


@dataclass(frozen=True)
class Settings:
    """``measures``: what --metrics chose. ``resamples``: of the intervals, 0 for none. ``inception_weights``: a file,
    if those measures are wanted. ``precision`` and ``compiled``: of drawing; everything is measured in fp32."""

    measures: tuple[str, ...]
    image_size: int = 32
    crop: str = "square"
    sampler: Sampler = field(default_factory=Sampler)
    n_samples: int = 1000
    n_loss_images: int = 1000
    batch_size: int = 250
    seed: int = 0
    resamples: int = RESAMPLES
    swd_normalization: str = "reference"
    synthetic_set: str = SYNTHETIC  # whose features "recovery" looks for
    inception_weights: Path | None = None
    device: torch.device = CPU
    precision: str = "fp32"
    compiled: bool = False

    def wanted(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of ``names`` that are to be measured."""
        return tuple(name for name in names if name in self.measures)


@dataclass(frozen=True)
class Result:
    """A row: its name, its metrics, and what must be known about it (kind, samples, whether the reference was held out,
    digest of the weights, ...). Of one that was read from a file also where it stood, and the settings there."""

    name: str
    metrics: Row
    about: dict[str, Any] = field(default_factory=dict)
    source: Path = Path()
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of the weights that were measured, "" if that is not known."""
        return str(self.about.get("weights_digest") or "")

    @property
    def place(self) -> str:
        """Of these weights in their run."""
        step = self.about.get("step")
        return f"step {step:,}" if type(step) is int else "an unknown step"


def to_float(images: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1]; float images as they are."""
    return images if images.is_floating_point() else images.float() / 127.5 - 1.0


def to_bytes(images: Tensor) -> Tensor:
    """Float images in [-1, 1] to uint8, rounded exactly as torchvision's save_image writes them to a PNG."""
    return ((images.clamp(-1, 1) / 2 + 0.5) * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def per_image(function: Any, images: Tensor, device: torch.device) -> Tensor:
    """``function`` (N, ...) -> (N, ...) of float images, a chunk at a time, gathered on the CPU."""
    return torch.cat([function(to_float(part.to(device))).cpu() for part in images.split(CHUNK)])
