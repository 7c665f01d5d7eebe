"""The measures: what --metrics chooses from, and the numbers that terminal, plot, page and card show of them.

A new one is a function like those called here, a row of MEASURES, and one of SHOWN for each number to be shown.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mindiffusion.data.synthetic import is_synthetic
from mindiffusion.evaluation import inception
from mindiffusion.evaluation.image_statistics import color_row, face_row, recovery_row, spectrum_row
from mindiffusion.evaluation.inception import inception_row, no_inception
from mindiffusion.evaluation.likelihood import network_row
from mindiffusion.evaluation.settings import Settings, note
from mindiffusion.evaluation.swd import swd_row
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.packages import installed

SAMPLES, NETWORK = "samples", "network"  # what a measure is of: images, or the answers of a network
LOWER, HIGHER, ZERO = "lower is better", "higher is better", "nearer to 0 is better"


@dataclass(frozen=True)
class Metric:
    """A number that tables show. ``label``: in words, of those that matter most: plot and model card show these."""

    direction: str
    label: str = ""


@dataclass(frozen=True)
class Measure:
    """``names``: what --metrics calls it, or its parts. ``row``: measures them. ``lacks(settings)``: why it cannot be
    had, or "". ``by_default``: whether it is measured against these real images (a data path) unless asked for."""

    names: tuple[str, ...]
    of: str
    row: Callable
    lacks: Callable[[Settings], str] = lambda settings: ""
    by_default: Callable[[str], bool] = lambda data_path: True


def _no_swd(settings: Settings) -> str:
    size = settings.image_size
    return f"it needs a power of two of pixels per side, and these are {size}" if size & (size - 1) else ""


def _no_faces(settings: Settings) -> str:
    return "" if installed("cv2") else "OpenCV is not installed (pip install -r requirements-eval.txt)"


def _no_recovery(settings: Settings) -> str:
    known = is_synthetic(settings.data_path)
    return "" if known else "it needs --data-path synthetic, whose features are known"


MEASURES = (
    Measure(("swd",), SAMPLES, swd_row, _no_swd),
    Measure(("spectrum",), SAMPLES, spectrum_row),
    Measure(("color",), SAMPLES, color_row),
    Measure(("face_rate",), SAMPLES, face_row, _no_faces, lambda data_path: not is_synthetic(data_path)),
    Measure(("recovery",), SAMPLES, recovery_row, _no_recovery, is_synthetic),
    Measure(inception.METRICS, SAMPLES, inception_row, no_inception),
    Measure(("loss", "bpd"), NETWORK, network_row),
)
NAMES = tuple(name for measure in MEASURES for name in measure.names)
SHOWN = {
    "swd": Metric(LOWER, "swd (x 1000)"),
    **{f"swd_{size}": Metric(LOWER) for size in (32, 16, 8)},
    "spectrum_db": Metric(ZERO),
    "color_error": Metric(LOWER, "error of the mean colour"),
    "saturation_error": Metric(ZERO),
    "face_rate": Metric(HIGHER, "share with a face"),
    "recovery_coarse": Metric(HIGHER),
    "recovery_fine": Metric(HIGHER),
    "recovery_outside": Metric(ZERO),
    "fid": Metric(LOWER, "FID"),
    "kid": Metric(LOWER, "KID"),
    "precision": Metric(HIGHER),
    "recall": Metric(HIGHER),
    "loss": Metric(LOWER, "denoising loss"),
    "bpd": Metric(LOWER, "bits/dim"),
}


def choose_measures(asked: list[str] | None, settings: Settings) -> tuple[str, ...]:
    """Which of NAMES to measure, those asked for or all that suit the real images. What cannot be had is told in a
    line; UserError if nothing is left."""
    names = asked or [name for each in MEASURES if each.by_default(settings.data_path) for name in each.names]
    left = []
    for measure in MEASURES:
        mine = [name for name in measure.names if name in names]
        if mine and (reason := measure.lacks(settings)):
            note(f"no {', '.join(mine)}: {reason}. All other measures go on.")
        else:
            left += mine
    if not left:
        raise UserError(f"none of the metrics asked for ({', '.join(names)}) can be had here.")
    if "fid" in left and settings.fewest < inception.MEANT_FOR:
        note(f"fid of {settings.fewest:,} images says little: it is meant for {inception.MEANT_FOR:,} on each side.")
    return tuple(left)


def wanted(settings: Settings, of: str) -> list[Measure]:
    """The measures of SAMPLES, or of a NETWORK, that are asked for."""
    return [each for each in MEASURES if each.of == of and settings.wanted(each.names)]
