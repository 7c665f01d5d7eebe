"""All metrics of one set of samples, or of one network, as named numbers with intervals.

Samples and reference are uint8 images, as a PNG holds them: samples of a checkpoint are rounded like those in files.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mindiffusion.data.feature_recovery import feature_recovery
from mindiffusion.data.synthetic import SYNTHETIC, two_feature_model
from mindiffusion.ddpm import DDPM
from mindiffusion.evaluation.bootstrap import RESAMPLES, Estimate, bootstrap
from mindiffusion.evaluation.color import NAMES as COLOR_NAMES
from mindiffusion.evaluation.color import color_error, color_statistics
from mindiffusion.evaluation.faces import found_faces
from mindiffusion.evaluation.inception import Inception, inception_metrics
from mindiffusion.evaluation.likelihood import NUM_BANDS, HeldOutErrors, held_out_errors
from mindiffusion.evaluation.spectrum import band_power, frequency_bands, spectrum_error
from mindiffusion.evaluation.swd import swd_per_level

OF_SAMPLES = ("swd", "spectrum", "color", "face_rate", "recovery", "fid", "kid", "precision", "recall")
OF_NETWORKS = ("loss", "bpd")
GROUPS = OF_SAMPLES + OF_NETWORKS  # what --metrics chooses from
SWD_RESAMPLES = 20
Row = dict[str, Estimate]


@dataclass(frozen=True)
class Settings:
    """What all rows of a table share. ``resamples`` 0 leaves the intervals out."""

    groups: tuple[str, ...]
    seed: int = 0
    normalization: str = "reference"
    clip_x0: bool = True
    resamples: int = RESAMPLES
    inception: Inception | None = None
    synthetic_set: str = SYNTHETIC  # whose features "recovery" looks for


def to_float(images: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1.0


def to_bytes(images: Tensor) -> Tensor:
    """Float images in [-1, 1] to uint8, rounded exactly as torchvision's save_image writes them to a PNG."""
    return ((images.clamp(-1, 1) / 2 + 0.5) * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def sample_row(samples: Tensor, reference: Tensor, settings: Settings, device: torch.device) -> Row:
    """Metrics of uint8 samples (N, 3, S, S) against uint8 reference images (M, 3, S, S)."""
    row: Row = {}
    groups = settings.groups
    x, real = to_float(samples).to(device), to_float(reference).to(device)
    if "swd" in groups:
        row |= _swd(x, real, settings)
    if "spectrum" in groups:
        row |= _spectrum(x, real, settings)
    if "color" in groups:
        row |= _color(x, real, settings)
    if "face_rate" in groups:
        row["face_rate"] = _face_rate(samples, settings)
    if "recovery" in groups:
        recovery = feature_recovery(two_feature_model(x.shape[-1], settings.synthetic_set), x)
        row |= {f"recovery_{name}": Estimate(getattr(recovery, name)) for name in ("coarse", "fine", "outside")}
    wanted = [name for name in ("fid", "kid", "precision", "recall") if name in groups]
    if wanted and settings.inception:
        row |= inception_metrics(settings.inception, samples, reference, wanted, device, settings.seed)
    return row


def _swd(x: Tensor, real: Tensor, settings: Settings) -> Row:
    resamples = SWD_RESAMPLES if settings.resamples else 0
    levels = swd_per_level(x, real, settings.seed, settings.normalization, resamples)
    row = {f"swd_{size}": Estimate.from_error(*level) for size, level in levels.items()}
    mean = sum(distance for distance, _ in levels.values()) / len(levels)
    error = sum(error for _, error in levels.values()) / len(levels)  # levels vary together: no gain from averaging
    return row | {"swd": Estimate.from_error(mean, error)}


def _spectrum(x: Tensor, real: Tensor, settings: Settings) -> Row:
    def statistic(samples: Tensor, reference: Tensor) -> Tensor:
        error = spectrum_error(samples, reference)
        return torch.cat((error, error.abs().mean()[None]))

    names = [f"spectrum_db_{low}" for low, _ in frequency_bands(x.shape[-1])]
    sets = band_power(x), band_power(real)
    return _named(
        [*names, "spectrum_db"], bootstrap(statistic, *sets, seed=settings.seed, resamples=settings.resamples)
    )


def _color(x: Tensor, real: Tensor, settings: Settings) -> Row:
    def statistic(samples: Tensor, reference: Tensor) -> Tensor:
        here, there = samples.mean(0), reference.mean(0)
        return torch.cat((color_error(samples, reference)[None], here, (here - there)[3:4]))

    names = ["color_error", *COLOR_NAMES, "saturation_error"]
    sets = color_statistics(x), color_statistics(real)
    return _named(names, bootstrap(statistic, *sets, seed=settings.seed, resamples=settings.resamples))


def _face_rate(samples: Tensor, settings: Settings) -> Estimate:
    found = found_faces(samples)
    return bootstrap(lambda each: each.mean(), found, seed=settings.seed, resamples=settings.resamples)[0]


def network_row(
    process: DDPM, images: Tensor, settings: Settings, prefix: str = "", batch_size: int = 500
) -> tuple[Row, list[dict[str, float]]]:
    """Held-out loss and bound of the network in ``process`` on uint8 images (N, 3, S, S), ``batch_size`` of them at a
    time, and the terms per stratum.

    Names begin with ``prefix``, by which the rows of raw weights differ from those of averaged ones.
    """
    errors = held_out_errors(process, to_float(images), settings.seed, settings.clip_x0, batch_size)
    columns: dict[str, Tensor] = {}
    if "loss" in settings.groups:
        for name, values in (("loss", errors.noise), ("loss_dc", errors.dc), ("loss_rest", errors.noise - errors.dc)):
            columns[name] = errors.mean_loss(values)
            columns |= {f"{name}_band{k + 1}": band for k, band in enumerate(errors.band_losses(values).T)}
    if "bpd" in settings.groups:
        columns["bpd"] = errors.bits_per_dim()
        bits = torch.stack((errors.nats[:, 0], errors.prior_nats)) / torch.log(torch.tensor(2.0, dtype=torch.float64))
        columns |= {"bpd_L0": bits[0], "bpd_LT": bits[1]}
    values = torch.stack(list(columns.values()), 1)
    estimates = bootstrap(lambda rows: rows.mean(0), values, seed=settings.seed, resamples=settings.resamples)
    return _named([prefix + name for name in columns], estimates), terms(errors)


def terms(errors: HeldOutErrors) -> list[dict[str, float]]:
    """Per stratum: its timesteps, the mean losses, and the mean term of the bound of one timestep, in bits/dim."""
    means = (each.mean(0).tolist() for each in (errors.noise, errors.dc, errors.nats / torch.tensor(2.0).log()))
    names = ("loss", "loss_dc", "bits_per_dim")
    return [
        {"t_first": first, "t_last": last, **dict(zip(names, values, strict=True))}
        for (first, last), *values in zip(errors.strata, *means, strict=True)
    ]


def bands(n_T: int) -> list[tuple[int, int]]:
    """The timesteps (first, last) of loss_band1 ... loss_band10."""
    return [(1 + n_T * k // NUM_BANDS, n_T * (k + 1) // NUM_BANDS) for k in range(NUM_BANDS)]


def _named(names: list[str], estimates: list[Estimate]) -> Row:
    return dict(zip(names, estimates, strict=True))
