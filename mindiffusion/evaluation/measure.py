"""Rows of the table: a model's samples and answers, a folder of images, and real images as the best that can be."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mindiffusion.checkpoints.models import Model, model_of
from mindiffusion.checkpoints.weights import weights_digest
from mindiffusion.ddpm import DDPM
from mindiffusion.evaluation.bootstrap import Row
from mindiffusion.evaluation.likelihood import timestep_strata
from mindiffusion.evaluation.measures import NETWORK, SAMPLES, wanted
from mindiffusion.evaluation.reference import DRAWN_ALIKE, TRAINED_ON, UNKNOWN, RealImages, verdict
from mindiffusion.evaluation.results import Result
from mindiffusion.evaluation.settings import Settings, note
from mindiffusion.evaluation.subjects import Subject
from mindiffusion.runtime.precision import set_backend_flags, widest
from mindiffusion.sampling import check_samples, draw, num_evaluations, to_bytes

Tick = Callable[[int], object]  # told how many images a network has just been asked about


def questions(settings: Settings, model: Model, reference: int) -> int:
    """How many images the network will be asked about: what the time of a row depends on."""
    drawn = settings.num_samples * num_evaluations(model, settings.sampler)
    asked = min(settings.num_loss_images, reference) * len(timestep_strata(model.n_T))
    return drawn * bool(wanted(settings, SAMPLES)) + asked * bool(wanted(settings, NETWORK))


def measure_model(settings: Settings, subject: Subject, real: RealImages, tick: Tick) -> Result:
    """A model's row: its samples, and its network's answers about the reference."""
    model = model_of(subject.weights)
    if model.t_stop:
        note(f"{subject.name} was trained on t >= {model.t_stop} only: its samples are estimates of the clean image.")
    step, config, data = (subject.about.get(name) for name in ("next_step", "config", "data"))
    about: dict[str, Any] = {"kind": "model", "path": subject.path.name, "weights": subject.weights.kind}
    about |= {"weights_digest": weights_digest(subject.weights.state), "step": step}
    if config:
        about |= {"images": step * config["global_batch_size"], "seed": config["seed"], "crop": config["crop"]}
        if config["crop"] != settings.crop and data.get("kind") == "folder":
            note(f"{subject.name} was trained with --crop {config['crop']}, the reference has {settings.crop}.")
    about["reference"], about["reference_reason"] = verdict(data, real)
    if about["reference"] in (TRAINED_ON, DRAWN_ALIKE):
        note(f"{subject.name} was not measured on held-out images: {about['reference_reason']}.")
    row: Row = {}
    if wanted(settings, SAMPLES):
        samples = samples_of(settings, model, subject.name, tick)
        about["samples"] = len(samples)
        row |= sample_row(samples, real.images, settings)
    for measure in wanted(settings, NETWORK):
        process = DDPM(model.net, model.betas, model.n_T).to(settings.device)
        process.eps_model.register_forward_hook(lambda module, inputs, output: tick(len(output)))
        values, about["terms"] = measure.row(process, real.images[: settings.num_loss_images], settings)
        row |= values
    return _result(subject.name, row, about)


def sample_row(samples: Tensor, reference: Tensor, settings: Settings) -> Row:
    """All measures of uint8 samples (N, 3, S, S) against uint8 reference images (M, 3, S, S)."""
    if widest(settings.device) != torch.float64:  # which these need
        settings = replace(settings, device=torch.device("cpu"))
    row: Row = {}
    for measure in wanted(settings, SAMPLES):
        row |= measure.row(samples, reference, settings)
    return row


def samples_of(settings: Settings, model: Model, name: str, tick: Tick) -> Tensor:
    """What sample.py draws, rounded to 8 bits as in its PNGs: uint8 (N, 3, S, S). One batch at a time is
    in float. UserError if a pixel is no number."""
    model = replace(model, image_size=settings.image_size)
    how = {"device": settings.device, "precision": settings.precision, "compiled": settings.compile}
    images = []
    for first in range(0, settings.num_samples, settings.batch_size):
        count = min(settings.batch_size, settings.num_samples - first)
        on_step = partial(tick, count)
        drawn = draw(model, settings.sampler, count, first, settings.seed, count, **how, on_step=on_step)
        check_samples(drawn, name, settings.precision)
        images.append(to_bytes(drawn))
    set_backend_flags("fp32", settings.device)  # bf16 samples switch TF32 on; what is measured of them is fp32
    return torch.cat(images)


def measure_folder(settings: Settings, subject: Subject, real: RealImages) -> Result:
    """The row of a folder of images, which has no loss and no bound."""
    count, size = len(subject.images), settings.image_size
    if count < settings.num_samples:
        note(f"{subject.name} has {count:,} images, not {settings.num_samples:,}: compare it with rows of as many.")
    if subject.resized:
        note(f"{subject.resized:,} of {count:,} images of {subject.name} are not {size}x{size}: cropped and resized.")
    about = {"kind": "folder", "path": subject.path.resolve().name, "samples": count, "resized": subject.resized}
    about |= {"reference": UNKNOWN, "reference_reason": "a folder does not say what its model was trained on"}
    return _result(subject.name, sample_row(subject.images, real.images, settings), about)


def measure_floor(settings: Settings, name: str, real: RealImages) -> Result:
    """The row that perfect samples would get: real images that are not the reference."""
    images = real.floor(settings.num_samples)
    return _result(name, sample_row(images, real.images, settings), {"kind": "real", "samples": len(images)})


def _result(name: str, row: Row, about: dict[str, Any]) -> Result:
    if bad := [metric for metric, estimate in row.items() if not math.isfinite(estimate.value)]:
        note(f"{', '.join(bad)} of {name} are not numbers: null in the file.")
    return Result(name, row, about)
