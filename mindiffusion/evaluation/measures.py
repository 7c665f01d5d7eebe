"""The table of measures: what --metrics chooses from, and which numbers terminal, plot, page and card show of each.

A new measure is a file with a function like those called here, and a row of this table.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mindiffusion.data.synthetic import is_synthetic
from mindiffusion.evaluation import inception
from mindiffusion.evaluation.color import color_row
from mindiffusion.evaluation.faces import can_find_faces, face_row
from mindiffusion.evaluation.inception import LEAST, inception_row
from mindiffusion.evaluation.likelihood import network_row
from mindiffusion.evaluation.recovery import recovery_row
from mindiffusion.evaluation.spectrum import spectrum_row
from mindiffusion.evaluation.swd import swd_row

SAMPLES, NETWORK = "samples", "network"  # what a measure is of: images, or the answers of a network
LOWER, HIGHER, ZERO = "lower is better", "higher is better", "nearer to 0 is better"


@dataclass(frozen=True)
class Given:
    """What decides whether a measure can be had: pixels per side, the real images, the smallest number of images on
    either side, and why there is no Inception network ("" if there is)."""

    image_size: int
    data_path: str
    images: int
    no_inception: str = ""


@dataclass(frozen=True)
class Metric:
    """A number that tables show. ``label``: in words, of those that matter most: plot and model card show these."""

    name: str
    direction: str
    label: str = ""


@dataclass(frozen=True)
class Measure:
    """``names``: what --metrics calls it, or its parts. ``row``: measures them. ``lacks(name, given)``: why it cannot
    be had, or "". ``by_default``: whether it is measured against these real images (a data path) unless asked for."""

    names: tuple[str, ...]
    of: str
    row: Callable
    shown: tuple[Metric, ...]
    lacks: Callable[[str, Given], str] = lambda name, given: ""
    by_default: Callable[[str], bool] = lambda data_path: True


def _no_swd(name: str, given: Given) -> str:
    size = given.image_size
    return f"it needs a power of two of pixels per side, and these are {size}" if size & (size - 1) else ""


def _no_faces(name: str, given: Given) -> str:
    return "" if can_find_faces() else "OpenCV is not installed (pip install -r requirements-eval.txt)"


def _no_recovery(name: str, given: Given) -> str:
    return "" if is_synthetic(given.data_path) else "it needs --data-path synthetic, whose features are known"


def _no_inception(name: str, given: Given) -> str:
    few = f"it needs {LEAST[name]} images on each side, and there are {given.images}"
    return given.no_inception or (few if given.images < LEAST[name] else "")


MEASURES = (
    Measure(
        ("swd",),
        SAMPLES,
        swd_row,
        (
            Metric("swd", LOWER, "swd (x 1000)"),
            *(Metric(f"swd_{size}", LOWER) for size in (32, 16, 8)),
        ),
        _no_swd,
    ),
    Measure(("spectrum",), SAMPLES, spectrum_row, (Metric("spectrum_db", ZERO),)),
    Measure(
        ("color",),
        SAMPLES,
        color_row,
        (Metric("color_error", LOWER, "error of the mean colour"), Metric("saturation_error", ZERO)),
    ),
    Measure(
        ("face_rate",),
        SAMPLES,
        face_row,
        (Metric("face_rate", HIGHER, "share with a face"),),
        _no_faces,
        lambda data_path: not is_synthetic(data_path),  # there are no faces in the synthetic images
    ),
    Measure(
        ("recovery",),
        SAMPLES,
        recovery_row,
        (Metric("recovery_coarse", HIGHER), Metric("recovery_fine", HIGHER), Metric("recovery_outside", ZERO)),
        _no_recovery,
        is_synthetic,
    ),
    Measure(
        inception.METRICS,
        SAMPLES,
        inception_row,
        (
            Metric("fid", LOWER, "FID"),
            Metric("kid", LOWER, "KID"),
            Metric("precision", HIGHER),
            Metric("recall", HIGHER),
        ),
        _no_inception,
    ),
    Measure(
        ("loss", "bpd"),
        NETWORK,
        network_row,
        (Metric("loss", LOWER, "denoising loss"), Metric("bpd", LOWER, "bits/dim")),
    ),
)
NAMES = tuple(name for measure in MEASURES for name in measure.names)
SHOWN = {metric.name: metric for measure in MEASURES for metric in measure.shown}
