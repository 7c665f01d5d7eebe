"""A trained model out of whatever names it: with what must be known to sample from it, and its name for people."""

from dataclasses import dataclass
from pathlib import Path

from mindiffusion.checkpoints.checkpoint import LATEST, PREVIOUS, BadCheckpoint
from mindiffusion.checkpoints.weights import LAST_WEIGHT, Weights, build_network, read_weights
from mindiffusion.config import TrainConfig
from mindiffusion.runtime.plain_text import plain
from mindiffusion.sampling import Drawable


@dataclass(frozen=True, kw_only=True)
class Model(Drawable):
    """A network out of a file, on the CPU, in eval mode. What a bare state dict does not say is minDiffusion's."""

    weights: Weights


def open_model(path: Path, raw: bool = False) -> Model:
    """The model that ``path`` names, with its averaged weights, or with ``raw`` the last ones. UserError as
    ``read_weights``."""
    return model_of(read_weights(path, raw=raw))


def model_of(weights: Weights) -> Model:
    """The model that these weights are of. BadCheckpoint if they are of no network for images."""
    checkpoint = weights.checkpoint or {}
    config = {**TrainConfig.defaults(), **checkpoint.get("config", {})}
    net = build_network(weights)
    channels, out = net.in_channels, len(weights.state[LAST_WEIGHT])
    if channels != out or channels not in (1, 3):
        raise BadCheckpoint(f"{weights.path} has {channels} channels in and {out} out: images have 1 or 3.")
    betas = tuple(config["betas"])
    t_stop = checkpoint.get("t_stop", 0)
    return Model(net, config["image_size"], betas, config["n_T"], t_stop, weights=weights)


def model_name(weights: Weights) -> str:
    """What people call it: "control", "C", "CS after stage 4"; of a bare file or an export its own name."""
    config = weights.checkpoint["config"] if weights.checkpoint else {}
    file = weights.path
    if file.is_dir() or "variant" not in config:
        return plain(file.name if file.is_dir() else file.stem)
    variant = plain(config["variant"]).upper() or "control"
    if file.name in (LATEST, PREVIOUS):
        return variant
    if file.stem.removeprefix("stage").isdigit():
        return f"{variant} after stage {file.stem.removeprefix('stage')}"
    return plain(file.stem)


def told_apart(names: list[str], paths: list[Path]) -> list[str]:
    """The names; those that several of ``paths`` share with the folder in which these part: "C in seed1"."""
    found = []
    for name, path in zip(names, paths, strict=True):
        mine = path.resolve().parts
        alike = [other.resolve().parts for each, other in zip(names, paths, strict=True) if each == name]
        home = next((part for part, *others in zip(mine, *alike, strict=False) if set(others) != {part}), mine[-1])
        found.append(f"{name} in {plain(home, 40)}" if len(alike) > 1 else name)
    return found
