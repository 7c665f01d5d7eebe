"""What a configuration out of a file may say. Whoever wrote the file chose it: it is checked here, once, before use."""

from pathlib import Path
from typing import Any

from torch import Tensor

from mindiffusion.checkpoints import v1
from mindiffusion.checkpoints.checkpoint import BadCheckpoint
from mindiffusion.data.images import parse_range
from mindiffusion.data.synthetic import SYNTHETIC
from mindiffusion.ddpm import ddpm_schedules
from mindiffusion.limits import beyond_limits
from mindiffusion.runtime.errors import first_line
from mindiffusion.runtime.plain_text import plain, plain_values
from mindiffusion.stages import Stage

NEEDED = {"variant": str, "stages": list, "seed": int, "global_batch_size": int}


def checked_config(config: Any) -> dict[str, Any]:
    """The configuration of a run as it would be saved now, its words made plain. ValueError, naming the field, if no
    run can be told so."""
    try:
        config = v1.new_config(plain_values(config))
        for name, kind in NEEDED.items():
            _check(isinstance(config.get(name), kind), name, config.get(name))
        _check_limits(config)
        for stage in config["stages"]:
            Stage(**stage)  # which takes numbers alone
        ddpm_schedules(*config.get("betas", (1e-4, 0.02)), 1)
        if places := config.get("train_images"):
            parse_range(str(places))
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{error}, which no run has") from error
    return config


def checked_data(data: Any) -> dict[str, Any]:
    """The fingerprint of a run's data, alike."""
    data = plain_values(data)
    _check(not beyond_limits("constants", data), "data", data)
    _check_limits({"images": None, **data})
    _check(isinstance(data.get("kind"), str), "kind of the data", data.get("kind"))
    _check(data["kind"] != SYNTHETIC or type(data.get("seed")) is int, "seed of the data", data.get("seed"))
    if places := data.get("places"):
        parse_range(str(places))
    return data


def _check_limits(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if wrong := beyond_limits(name, value):
            raise ValueError(f"{name} is {wrong}")


def check_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """BadCheckpoint unless the checkpoint that was read from ``path`` can be of a run: before it is used, not when it
    is read."""
    try:
        check_model(content)
        _check_state(content)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise BadCheckpoint(f"{path} is refused for what it says of its run: {first_line(error)}.") from error


def check_model(about: dict[str, Any]) -> None:
    """ValueError, naming the field, unless what a checkpoint or an export says of its network and of where its run
    stands can be so, and fits together. An export of minDiffusion's weights says nothing: it has no config."""
    for name, kind in {"network": str, "args": dict, "config": dict, "t_stop": int}.items():
        _check(isinstance(about.get(name), kind), name, about.get(name))
    if not about["config"]:
        return
    config, data = checked_config(about["config"]), checked_data(about["data"])
    for name, value in plain_values(about["args"]).items():
        _check(name not in config or value == config[name], f"{name} of the network", value)
    _check(0 <= about["t_stop"] <= config.get("n_T", 1000), "t_stop", about["t_stop"])
    steps = (config.get("images_per_epoch") or data["images"]) // config["global_batch_size"]
    _check(steps > 0, "global_batch_size", config["global_batch_size"])
    last = steps * sum(stage["epochs"] for stage in config["stages"])
    step, epoch = about.get("next_step"), about.get("next_epoch")
    _check(type(step) is int and 0 <= step <= last, "next_step", step)
    _check(type(epoch) is int and epoch == step // steps, "next_epoch", epoch)


def _check_state(content: dict[str, Any]) -> None:
    """The same for the tensors of a checkpoint, and the sums of its interval."""
    for name in ("model", "ema", "training_state"):
        for key, value in (content[name] or {}).items():
            _check(isinstance(key, str) and isinstance(value, Tensor), f"{key} of {name}", type(value).__name__)
    averaged = content["config"].get("ema_decay", 0.999) != 0
    _check((content["ema"] is not None) == averaged, "ema", type(content["ema"]).__name__)
    _check_optimizer(content["optimizer"])
    for name, value in content["interval"].items():
        _check(isinstance(name, str) and isinstance(value, float), f"{name} of the interval", value)


def _check_optimizer(state: dict[str, Any]) -> None:
    """Groups of numbered weights, and the same moments for each that ever had a gradient: finite fractions."""
    groups, moments = state["param_groups"], state["state"]
    count = sum(len(group["params"]) for group in groups)
    kinds = [{name: type(value) for name, value in each.items()} for each in moments.values()]
    _check(len(kinds) <= count and all(each == kinds[0] for each in kinds), "optimizer", f"{len(kinds)} moments")
    for value in (value for each in moments.values() for value in each.values() if isinstance(value, Tensor)):
        good = value.is_floating_point() and bool(value.isfinite().all())
        _check(good, "a moment of the optimizer", value.dtype)


def _check(good: bool, name: str, value: Any) -> None:
    if not good:
        raise ValueError(f"{name} is {plain(value, 60)}, which no run has")
