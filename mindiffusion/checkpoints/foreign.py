"""What a configuration out of a file may say. Whoever wrote the file chose it: it is checked here, once, before use."""

from typing import Any

from mindiffusion.checkpoints import v1
from mindiffusion.runtime.plain_text import plain_values

WHOLE = {  # whole numbers: smallest, largest
    "global_batch_size": (1, 10**7),
    "images_per_epoch": (0, 10**12),
    "n_T": (1, 10**5),
    "n_feat": (8, 4096),
    "image_size": (32, 1024),
    "seed": (0, 2**63 - 1),
    "epochs": (1, 10**6),
    "images": (1, 10**12),
}
NUMBERS = {"t_min": (0, 1), "t_max": (0, 1), "lr": (0, 1e3), "ema_decay": (0, 1)}
LARGEST = 1e9  # of what a stage or a schedule says
MOST_STAGES = 100
NEEDED = ("variant", "stages", "seed", "global_batch_size")


def checked_config(config: Any) -> dict[str, Any]:
    """The configuration of a run as it would be saved now, its words made plain. ValueError, naming the field, if no
    run can be told so."""
    config = plain_values(config)
    if not isinstance(config, dict):
        raise ValueError("it is no table of settings")
    if missing := [name for name in NEEDED if name not in config]:
        raise ValueError(f"{', '.join(missing)} missing")
    _check(isinstance(config["variant"], str), "variant", config["variant"])
    _check_numbers(config)
    stages = config["stages"]
    _check(isinstance(stages, list) and 1 <= len(stages) <= MOST_STAGES, "stages", stages)
    for stage in stages:
        _check(isinstance(stage, dict) and isinstance(stage.get("name"), str) and "epochs" in stage, "a stage", stage)
        _check_numbers(stage)
        for name, value in stage.items():
            _check(name == "name" or _is_number(value, -LARGEST, LARGEST), f"{name} of a stage", value)
    for name in v1.SCHEDULES:
        values = config.get(name) or []
        good = isinstance(values, list) and len(values) in (0, len(stages))
        _check(good and all(_is_number(value, -LARGEST, LARGEST) for value in values), name, values)
    betas = config.get("betas", [1e-4, 0.02])
    _check(isinstance(betas, list) and len(betas) == 2 and all(_is_number(b, 0, 1) for b in betas), "betas", betas)
    constants = config.get("constants", {})
    _check(isinstance(constants, dict), "constants", constants)
    for name, value in constants.items():
        _check(isinstance(value, str | int | float | bool | None), f"{name} of the constants", value)
    try:
        return v1.new_config(config)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{error} is missing in a stage") from error


def checked_data(data: Any) -> dict[str, Any]:
    """The fingerprint of a run's data, alike."""
    data = plain_values(data)
    _check(isinstance(data, dict) and "images" in data, "data", data)
    _check_numbers(data)
    for name, value in data.items():
        _check(isinstance(value, str | int | float | bool | None), f"{name} of the data", value)
    return data


def _check_numbers(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if name in WHOLE:
            _check(type(value) is int and _is_number(value, *WHOLE[name]), name, value)
        elif name in NUMBERS:
            _check(_is_number(value, *NUMBERS[name]), name, value)


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _check(good: bool, name: str, value: Any) -> None:
    if not good:
        shown = str(value)
        raise ValueError(f"{name} is {shown if len(shown) < 60 else shown[:60] + '...'}, which no run has")
