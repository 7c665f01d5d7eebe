"""Rows of the table: a model's samples and answers, a folder of images, and real images as the best that can be."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mindiffusion.checkpoints.models import Model, model_of
from mindiffusion.checkpoints.weights import AVERAGED, RAW, Weights, weights_digest
from mindiffusion.ddpm import DDPM
from mindiffusion.evaluation.choose import kinds_of, note
from mindiffusion.evaluation.held_out import UNKNOWN, Verdict, held_out
from mindiffusion.evaluation.likelihood import timestep_strata
from mindiffusion.evaluation.metrics import OF_NETWORKS, OF_SAMPLES, Row, Settings, network_row, sample_row, to_bytes
from mindiffusion.evaluation.subjects import RealImages, Subject
from mindiffusion.runtime.precision import set_backend_flags
from mindiffusion.sampling import Sampler, num_batches, num_evaluations
from mindiffusion.sampling import draw as draw_images

WEIGHTS = {"both": ("ema", "raw"), "ema": ("ema",), "raw": ("raw",)}
Tick = Callable[[int], None]  # told how many images a network has just been asked about


@dataclass(frozen=True)
class Work:
    """What is done for every row, besides ``settings``. ``weights``: of loss and bpd, a key of WEIGHTS.
    ``precision`` and ``compiled``: of the samples; loss and bpd are asked for in fp32."""

    settings: Settings
    sampler: Sampler
    device: torch.device
    image_size: int
    crop: str
    n_samples: int
    n_loss_images: int
    batch_size: int
    weights: str = "both"
    raw_samples: bool = False
    precision: str = "fp32"
    compiled: bool = False

    @property
    def wants_samples(self) -> bool:
        """Whether a metric of samples is asked for."""
        return bool(set(self.settings.groups) & set(OF_SAMPLES))

    @property
    def wants_answers(self) -> bool:
        """Whether a metric of the network's own answers is asked for."""
        return bool(set(self.settings.groups) & set(OF_NETWORKS))

    def kinds(self, model: Model) -> list[tuple[str, str]]:
        """(which weights, prefix of their metrics) to ask for loss and bpd."""
        names = [name for name in WEIGHTS[self.weights] if name in kinds_of(model.weights)]
        return [(name, "raw_" if name == "raw" and "ema" in names else "") for name in names]

    def questions(self, model: Model, reference: int) -> int:
        """How many images the network will be asked about: what the time of a row depends on."""
        steps = num_evaluations(self.sampler.process(model.net, model.betas, model.n_T))
        samples = self.n_samples * steps if self.wants_samples else 0
        asked = min(self.n_loss_images, reference) * len(timestep_strata(model.n_T)) * len(self.kinds(model))
        return samples + (asked if self.wants_answers else 0)


def measure_model(work: Work, subject: Subject, real: RealImages, tick: Tick) -> tuple[Row, dict[str, Any]]:
    """A model's row: its samples, and its network's answers about the reference."""
    model = model_of(_named(subject.weights, "raw") if work.raw_samples else subject.weights)
    if model.t_stop:
        note(f"{subject.name} was trained on t >= {model.t_stop} only: its samples are estimates of the clean image.")
    about = model.weights.checkpoint
    verdict = held_out(about["data"] if about else None, real.reference)
    details: dict[str, Any] = {"kind": "checkpoint", "path": str(subject.model), **_shown(verdict), "terms": {}}
    details["weights_digest"] = weights_digest(model.weights.state)
    if about and about["config"]:
        details |= {"step": about["next_step"], "images": about["next_step"] * about["config"]["global_batch_size"]}
        details |= {"seed": about["config"]["seed"], "crop": about["config"]["crop"]}
    row: Row = {}
    if work.wants_samples:
        samples = draw(work, model, tick)
        details |= {"samples": len(samples), "sample_weights": "ema" if model.weights.kind == AVERAGED else "raw"}
        row |= sample_row(samples, real.held_out, work.settings, work.device)
    if work.wants_answers:
        for which, prefix in work.kinds(model):
            asked = model_of(_named(subject.weights, which))
            process = DDPM(asked.net, asked.betas, asked.n_T).to(work.device)
            process.eps_model.register_forward_hook(lambda module, inputs, output: tick(len(output)))
            values, terms = network_row(
                process, real.held_out[: work.n_loss_images], work.settings, prefix, work.batch_size
            )
            row |= values
            details["terms"][which] = terms
    return row, details


def draw(work: Work, model: Model, tick: Tick) -> Tensor:
    """What sample.py draws, down to t = 0, rounded to 8 bits as in its PNGs: uint8 (N, 3, S, S)."""
    share = work.n_samples / num_batches(work.n_samples, work.batch_size)
    images = draw_images(
        replace(model, image_size=work.image_size),
        work.sampler,
        work.n_samples,
        seed=work.settings.seed,
        batch_size=work.batch_size,
        device=work.device,
        precision=work.precision,
        compiled=work.compiled,
        on_step=lambda: tick(round(share)),
    )
    set_backend_flags("fp32", work.device)  # bf16 samples switch TF32 on; what is measured of them is fp32
    return to_bytes(images)


def measure_folder(work: Work, subject: Subject, real: RealImages) -> tuple[Row, dict[str, Any]]:
    """The row of a folder of images, which has no loss and no bound."""
    samples = subject.images
    if len(samples) < work.n_samples:
        note(f"{subject.name} has {len(samples):,} images, not {work.n_samples:,}: compare it with rows of as many.")
    verdict = Verdict(UNKNOWN, "a folder of images does not say what its model was trained on")
    details = {"kind": "folder", "path": str(subject.folder), "samples": len(samples), **_shown(verdict)}
    return sample_row(samples, real.held_out, work.settings, work.device), details


def measure_floor(work: Work, real: RealImages) -> tuple[Row, dict[str, Any]]:
    """The row that perfect samples would get: real images, drawn evenly from those that are not the reference."""
    count = min(work.n_samples, len(real.others))
    places = torch.linspace(0, len(real.others) - 1, count).round().long()
    row = sample_row(real.others[places], real.held_out, work.settings, work.device)
    return row, {"kind": "real", "samples": count}


def _named(weights: Weights, name: str) -> Weights:
    """Those that WEIGHTS calls ``name``. A bare state dict has one kind, whatever it is called."""
    kind = AVERAGED if name == "ema" else RAW
    return weights.of_kind(kind) if kind in weights.kinds else weights


def _shown(verdict: Verdict) -> dict[str, str]:
    return {"reference": verdict.status, "reference_reason": verdict.reason}
