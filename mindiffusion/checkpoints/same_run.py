"""Whether a checkpoint may be continued: is it of the run that is asked for?"""

from shlex import quote
from typing import Any

from mindiffusion.checkpoints.checkpoint import Found
from mindiffusion.config import TrainConfig
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.terminal import warn

OF_THE_MACHINE = ("foreach", "fused", "capturable", "differentiable")  # options of optimizers that change no result


def check_same_run(found: Found, identity: dict[str, Any], data: dict[str, Any]) -> None:
    """UserError, listing the fields that differ, unless the checkpoint is of this configuration and this data.
    ``identity`` has the fields of a configuration, and "network" and "optimizer": class with args, and
    ``optimizer_options``. A field that an older checkpoint lacks counts as its default."""
    their_data = found.content["data"]
    if "pixels" in data and "pixels" not in their_data and their_data.get("kind") == data["kind"]:
        data = {name: value for name, value in data.items() if name != "pixels"}
        warn(f"{found.path} is of a version that did not note the pixels: names and sizes alone are compared.")
    options = {**identity.get("optimizer", {}), **optimizer_options(found.content["optimizer"])}
    network = {"class": found.content["network"], **found.content["args"]}
    more = {"network": network, "optimizer": options, "data": their_data}
    theirs = flat_settings({**TrainConfig.defaults(), **found.content["config"], **more})
    ours = flat_settings({**identity, "data": data})
    of_script = (name for name in theirs if name.startswith(("stages.", "constants.")))  # none may be there alone
    differing = [
        f"  {name}: {_shown(theirs.get(name))} in the checkpoint, {_shown(value)} now"
        for name, value in {**dict.fromkeys(of_script), **ours}.items()
        if theirs.get(name) != value
    ]
    scripts = [each.get("variant") or "control" for each in (theirs, ours)]
    if scripts[0] != scripts[1]:  # the rest follows from it
        differing = [f"  script: of {scripts[0]} the checkpoint, of {scripts[1]} this one"]
    if differing:
        longer = f"\nTo train longer, begin one with --init-from {quote(str(found.path))} in another --output-dir."
        longer *= all(line.startswith("  stages.") for line in differing)
        pixels = len(differing) == 1 and differing[0].startswith("  data.pixels:")
        why = "\nThe files have their names and sizes, but other content; or another version of Pillow reads them."
        raise UserError(
            f"{found.path} is of another run:\n" + "\n".join(differing) + why * pixels + "\nUse the same script, "
            "settings and data, or --output-dir for a run of its own, or --overwrite to start anew." + longer
        )


def optimizer_options(state: dict[str, Any]) -> dict[str, Any]:
    """What decides the steps of an optimizer, of its state dict with its "name"; the learning rate is the config's."""
    options = {}
    for number, group in enumerate(state.get("param_groups") or ()):
        kept = {name: value for name, value in group.items() if name not in ("params", "lr", *OF_THE_MACHINE)}
        options |= {f"{name} of group {number + 1}" if number else name: value for name, value in kept.items()}
    return {"name": state.get("name", "Adam"), **options}


def flat_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """One level: what a setting holds by name gets names like "data.images", and stages a list per value."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            keys = dict.fromkeys(key for each in value for key in each)
            flat |= {f"{name}.{key}": [each.get(key) for each in value] for key in keys}
        elif isinstance(value, dict):
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            flat[name] = value
    return flat


def _shown(value: Any) -> str:
    """A setting, short enough for a line of a message."""
    if isinstance(value, list):
        return " ".join(map(str, value)) or "nothing"
    return "nothing" if value in ("", [], None) else repr(value)
