"""What can be measured here: image size, groups of metrics; each limit is told in one line."""

import os
import sys
from pathlib import Path
from typing import Any

from mindiffusion.checkpoints.weights import AVERAGED, Weights
from mindiffusion.data.synthetic import SYNTHETIC, is_synthetic
from mindiffusion.evaluation.faces import can_find_faces
from mindiffusion.evaluation.inception import METRICS as INCEPTION_METRICS
from mindiffusion.evaluation.inception import Inception, Unavailable, find_inception
from mindiffusion.evaluation.metrics import GROUPS, OF_NETWORKS, OF_SAMPLES
from mindiffusion.evaluation.subjects import RealImages, Subject
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


def choose_inception(metrics: list[str] | None, weights: Path | None) -> Inception | None:
    """The Inception weights if they are wanted and can be had; else None, after one message that says why."""
    if metrics and not set(metrics) & set(INCEPTION_METRICS):
        return None
    try:
        return find_inception(weights)
    except Unavailable as reason:
        note(f"no FID, KID, precision and recall: {reason}. All other metrics go on.")
        return None


def choose_groups(metrics: list[str] | None, data_path: str, inception: Inception | None, size: int) -> tuple[str, ...]:
    """The groups of metrics to measure of images of ``size`` pixels. UserError if none of those asked for is left."""
    impossible = set() if inception else set(INCEPTION_METRICS)
    if "swd" in (metrics or GROUPS) and size & (size - 1):
        impossible.add("swd")
        note(f"no swd: it needs a power of two of pixels per side, and these are {size}. All other metrics go on.")
    if not is_synthetic(data_path):
        impossible.add("recovery")
        if "recovery" in (metrics or ()):
            note("no recovery: it needs --data-path synthetic, whose features are known.")
    elif not metrics:
        impossible.add("face_rate")  # there are no faces in the synthetic images; whoever asks for it gets it
    if "face_rate" in (metrics or GROUPS) and "face_rate" not in impossible and not can_find_faces():
        impossible.add("face_rate")
        note("no face_rate: OpenCV is not installed (pip install -r requirements-eval.txt).")
    groups = tuple(group for group in metrics or GROUPS if group not in impossible)
    if not groups:
        raise UserError(f"none of the metrics asked for ({', '.join(metrics)}) can be had here.")
    return groups


def kinds_of(weights: Weights) -> tuple[str, ...]:
    """Which of "ema", the averaged weights, and "raw" the file of these weights holds."""
    return tuple("ema" if kind == AVERAGED else "raw" for kind in weights.kinds)


def check_weights(subjects: list[Subject], groups: tuple[str, ...], weights: str, raw_samples: bool) -> None:
    """UserError if a model does not hold the weights that --weights or --raw-samples asks for."""
    asked = {}
    if weights != "both" and set(groups) & set(OF_NETWORKS):
        asked[f"--weights {weights}"] = weights
    if raw_samples and set(groups) & set(OF_SAMPLES):
        asked["--raw-samples"] = "raw"
    for flag, kind in asked.items():
        for subject in subjects:
            if subject.weights and kind not in kinds_of(subject.weights):
                there = "the last weights" if kind == "ema" else "the averaged weights"
                raise UserError(f"{subject.name} holds {there} only: leave {flag} out.")


def check_floor(real: RealImages) -> None:
    """UserError if there are no real images for the row of --floor."""
    if len(real.others) < 2:
        raise UserError(
            "--floor needs real images outside the reference, and that is the whole folder: choose a part of it with "
            "--eval-images, or leave --floor out (of make compare with FLOOR=)."
        )


def note_reference(real: RealImages, n_samples: int, n_loss_images: int) -> None:
    """Say which images are compared with, and where there are fewer than asked for: few are less sure."""
    there = len(real.held_out)
    note(
        f"the reference is {there:,} real images: {real.description['eval_images']} of {real.description['data_path']}."
    )
    if there < n_samples:
        note(
            f"there are {there:,} reference images for {n_samples:,} samples, and swd takes as many of both: it is "
            f"larger and less sure than with {n_samples:,}. Compare only tables of equal numbers."
        )
    if there < n_loss_images:
        note(f"loss and bpd are over {there:,} images, not over the {n_loss_images:,} of --n-loss-images.")
