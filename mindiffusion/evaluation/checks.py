"""What is checked before anything is measured: image size, data, which measures can be had. Each limit is one line."""

import os
import sys
from pathlib import Path
from typing import Any

from mindiffusion.data.synthetic import SYNTHETIC
from mindiffusion.evaluation import inception
from mindiffusion.evaluation.inception import Unavailable, find_inception
from mindiffusion.evaluation.measures import MEASURES, Given
from mindiffusion.evaluation.subjects import MOST_REAL, RealImages, Subject
from mindiffusion.runtime.errors import UserError


def note(text: str) -> None:
    """A line beside the results."""
    print(f"note: {text}", file=sys.stderr, flush=True)


def choose_size(asked: int | None, subjects: list[Subject]) -> int:
    """The image size asked for, or that of the models, or 32. UserError if they differ."""
    sizes = {}
    for subject in subjects:
        about = subject.weights.checkpoint if subject.weights else None
        if about and about["config"]:
            sizes[subject.name] = about["config"]["image_size"]
    if asked is None and len(set(sizes.values())) > 1:
        raise UserError(f"the models are of different image sizes ({sizes}): measure them apart.")
    return next(iter(sizes.values()), 32) if asked is None else asked


def trained_on(subjects: list[Subject]) -> list[dict[str, Any] | None]:
    """The data fingerprints of the models among the subjects; None for one that does not tell."""
    abouts = [subject.weights.checkpoint for subject in subjects if subject.weights]
    return [about["data"] if about else None for about in abouts]


def choose_data_path(asked: str | None, seen: list[dict[str, Any] | None]) -> str:
    """The path asked for; else the synthetic set that all models were trained on, whose fingerprints are ``seen``; else
    CELEBA_PATH, "" if there is none."""
    sets = {data.get("set", SYNTHETIC) if data and data.get("kind") == SYNTHETIC else "" for data in seen}
    own = sets.pop() if len(sets) == 1 else ""
    return asked or own or os.environ.get("CELEBA_PATH", "")


def choose_measures(
    asked: list[str] | None, weights: Path | None, size: int, data_path: str, images: int
) -> tuple[tuple[str, ...], Path | None]:
    """Which of NAMES to measure, those asked for or all that suit the real images at ``data_path``; and the file of
    Inception weights that they need. ``images``: the smallest number of them on either side. What cannot be had is told
    in a line, once for each reason; UserError if none of those asked for is left."""
    names = asked or [name for each in MEASURES if each.by_default(data_path) for name in each.names]
    file, missing = None, ""
    if set(names) & set(inception.METRICS):
        try:
            file = find_inception(weights)
        except Unavailable as reason:
            missing = str(reason)
    given = Given(size, data_path, images, missing)
    lacks = {name: each.lacks(name, given) for each in MEASURES for name in each.names if name in names}
    for reason in dict.fromkeys(filter(None, lacks.values())):
        left_out = [name for name in lacks if lacks[name] == reason]
        note(f"no {', '.join(left_out)}: {reason}. All other measures go on.")
    left = tuple(name for name in lacks if not lacks[name])
    if not left:
        raise UserError(f"none of the metrics asked for ({', '.join(names)}) can be had here.")
    if "fid" in left and images < inception.MEANT_FOR:
        note(f"fid of {images:,} images says little: it is meant for {inception.MEANT_FOR:,} or more on each side.")
    return left, file


def check_floor(real: RealImages) -> None:
    """UserError if there are no real images for the row of --floor."""
    if sum(map(len, real.others)) < 2:
        raise UserError(
            "--floor needs real images outside the reference, and that is the whole folder: choose a part of it with "
            "--eval-images, or leave --floor out (of make compare with FLOOR=)."
        )


def note_reference(real: RealImages, chosen: bool, n_samples: int, n_loss_images: int) -> None:
    """Say which images are compared with, and where there are fewer than asked for: few are less sure. ``chosen``: by
    --eval-images."""
    there = len(real.images)
    most = f"the first {MOST_REAL:,} not trained on; --eval-images chooses others"
    which = f" ({most})" if there == MOST_REAL and real.reference.files and not chosen else ""
    where = f"{real.description['eval_images']} of {real.description['data']}"
    note(f"the reference is {there:,} real images: {where}{which}.")
    if there < n_samples:
        note(
            f"there are {there:,} reference images for {n_samples:,} samples, and swd takes as many of both: it is "
            f"larger and less sure than with {n_samples:,}. Compare only tables of equal numbers."
        )
    if there < n_loss_images:
        note(f"loss and bpd are over {there:,} images, not over the {n_loss_images:,} of --n-loss-images.")
