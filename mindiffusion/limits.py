"""Between which numbers a setting may lie, whoever sets it: a script, a flag, or a file that somebody wrote."""

from typing import Any

from mindiffusion.unet import NORM_GROUPS, SIZE_MULTIPLE

LIMITS = {  # smallest and largest; whole numbers where these are
    "seed": (0, 2**63 - 1),
    "image_size": (SIZE_MULTIPLE, 1024),
    "n_feat": (NORM_GROUPS, 4096),
    "n_T": (1, 10**5),
    "global_batch_size": (1, 10**7),
    "images_per_epoch": (0, 10**12),
    "micro_batch_size": (0, 10**7),
    "num_samples": (0, 10**6),
    "grid_every": (0, 10**6),
    "sample_steps": (1, 10**5),
    "lr": (1e-30, 1e30),
    "ema_decay": (0.0, 1 - 1e-9),
    "sample_eta": (0.0, 1.0),
    "checkpoint_minutes": (1e-12, 1e12),
    "epochs": (1, 10**6),  # of a stage
    "images": (1, 10**12),  # of a data set
}
MOST_STAGES = 100
MULTIPLES = {"image_size": SIZE_MULTIPLE, "n_feat": NORM_GROUPS}


def beyond_limits(name: str, value: Any) -> str:
    """ "0; it must lie in 8..4096, a multiple of 8", if ``value`` is none for the setting ``name``; "" if it is, or if
    there are no limits to it."""
    if name == "stages":
        good = isinstance(value, list | tuple) and 1 <= len(value) <= MOST_STAGES
        return "" if good else f"{str(value)[:60]}; there must be 1 to {MOST_STAGES} of them"
    if name == "constants":
        good = isinstance(value, dict) and all(map(_kept, value.values()))
        return "" if good else f"{str(value)[:60]}; they must be numbers, words or lists of such, by name"
    if name not in LIMITS:
        return ""
    (low, high), multiple = LIMITS[name], MULTIPLES.get(name)
    good = isinstance(value, int if isinstance(low, int) else int | float) and not isinstance(value, bool)
    if good and low <= value <= high and not (multiple and value % multiple):
        return ""
    return f"{str(value)[:60]}; it must lie in {low}..{high}{f', a multiple of {multiple}' if multiple else ''}"


def _kept(value: Any) -> bool:
    """Whether a checkpoint can keep it."""
    values = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(each, str | int | float | bool | None) for each in values)
