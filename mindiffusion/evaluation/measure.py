"""Rows of the table: a model's samples and answers, a folder of images, and real images as the best that can be."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mindiffusion.checkpoints.models import Model, open_model
from mindiffusion.ddpm import DDPM
from mindiffusion.evaluation.held_out import UNKNOWN, Verdict, held_out
from mindiffusion.evaluation.likelihood import timestep_strata
from mindiffusion.evaluation.metrics import OF_NETWORKS, OF_SAMPLES, Row, Settings, network_row, sample_row, to_bytes
from mindiffusion.evaluation.subjects import RealImages, Subject, read_folder
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.precision import set_backend_flags
from mindiffusion.sampling import Sampler, draw_from_network, num_batches, num_evaluations

WEIGHTS = {"both": ("ema", "raw"), "ema": ("ema",), "raw": ("raw",)}
LOSS_BATCH = 500  # images at a time, of loss and bpd
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
        averaged = bool(model.weights.checkpoint and model.weights.checkpoint.get("ema"))
        both = self.weights == "both"
        names = [name for name in WEIGHTS[self.weights] if not (name == "ema" and both and not averaged)]
        return [(name, "raw_" if name == "raw" and both and averaged else "") for name in names]

    def questions(self, model: Model, reference: int) -> int:
        """How many images the network will be asked about: what the time of a row depends on."""
        steps = num_evaluations(self.sampler.process(model.net, model.betas, model.n_T))
        samples = self.n_samples * steps if self.wants_samples else 0
        asked = min(self.n_loss_images, reference) * len(timestep_strata(model.n_T)) * len(self.kinds(model))
        return samples + (asked if self.wants_answers else 0)


def measure_model(work: Work, subject: Subject, real: RealImages, tick: Tick) -> tuple[Row, dict[str, Any]]:
    """A model's row: its samples, and its network's answers about the reference."""
    model = open_model(subject.model, raw=work.raw_samples)
    about = model.weights.checkpoint
    verdict = held_out(about["data"] if about else None, real.reference)
    details: dict[str, Any] = {"kind": "checkpoint", "path": str(subject.model), **_shown(verdict), "terms": {}}
    if about and about["config"]:
        details |= {"step": about["next_step"], "images": about["next_step"] * about["config"]["global_batch_size"]}
        details |= {"seed": about["config"]["seed"], "crop": about["config"]["crop"]}
    row: Row = {}
    if work.wants_samples:
        samples = draw(work, model, tick)
        details["samples"] = len(samples)
        row |= sample_row(samples, real.held_out, work.settings, work.device)
    if work.wants_answers:
        for which, prefix in work.kinds(model):
            asked = open_model(subject.model, raw=which == "raw")
            process = DDPM(asked.net, asked.betas, asked.n_T).to(work.device)
            process.eps_model.register_forward_hook(lambda module, inputs, output: tick(len(output)))
            values, terms = network_row(process, real.held_out[: work.n_loss_images], work.settings, prefix)
            row |= values
            details["terms"][which] = terms
    return row, details


def draw(work: Work, model: Model, tick: Tick) -> Tensor:
    """What sample.py draws, down to t = 0, rounded to 8 bits as in its PNGs: uint8 (N, 3, S, S)."""
    share = work.n_samples / num_batches(work.n_samples, work.batch_size)
    images = draw_from_network(
        model.net,
        work.sampler,
        work.image_size,
        work.n_samples,
        seed=work.settings.seed,
        batch_size=work.batch_size,
        betas=model.betas,
        n_T=model.n_T,
        t_stop=model.t_stop,
        device=work.device,
        precision=work.precision,
        compiled=work.compiled,
        on_step=lambda _: tick(round(share)),
    )
    set_backend_flags("fp32", work.device)  # bf16 samples switch TF32 on; what is measured of them is fp32
    return to_bytes(images)


def measure_folder(work: Work, subject: Subject, real: RealImages) -> tuple[Row, dict[str, Any]]:
    """The row of a folder of images, which has no loss and no bound."""
    samples = read_folder(subject.folder, work.image_size, work.crop, work.n_samples)
    if len(samples) < 2:
        raise UserError(f"{subject.folder} has {len(samples)} image: at least 2 are needed.")
    verdict = Verdict(UNKNOWN, "a folder of images does not say what its model was trained on")
    details = {"kind": "folder", "path": str(subject.folder), "samples": len(samples), **_shown(verdict)}
    return sample_row(samples, real.held_out, work.settings, work.device), details


def measure_floor(work: Work, real: RealImages) -> tuple[Row, dict[str, Any]]:
    """The row that perfect samples would get: real images, drawn evenly from those that are not the reference."""
    count = min(work.n_samples, len(real.others))
    if count < 2:
        raise UserError("--floor needs real images outside the reference: hold some out with --eval-images.")
    places = torch.linspace(0, len(real.others) - 1, count).round().long()
    row = sample_row(real.others[places], real.held_out, work.settings, work.device)
    return row, {"kind": "real", "samples": count}


def _shown(verdict: Verdict) -> dict[str, str]:
    return {"reference": verdict.status, "reference_reason": verdict.reason}
