"""Networks out of files: checkpoints of this program, exported folders, bare state dicts of minDiffusion."""

import json
import re
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mindiffusion.checkpoints import v1
from mindiffusion.checkpoints.checkpoint import FORMAT, BadCheckpoint, load_plain, verified
from mindiffusion.checkpoints.find import EXPORT_WEIGHTS, find_model
from mindiffusion.checkpoints.foreign import check_checkpoint, check_model
from mindiffusion.config import TrainConfig
from mindiffusion.networks import REGISTRY
from mindiffusion.runtime.errors import first_line
from mindiffusion.runtime.files import open_regular, read_text
from mindiffusion.runtime.plain_text import plain
from mindiffusion.unet import NaiveUnet

# minDiffusion saves the state dict of its DDPM, or of DDP around it; here only the network's part is of use.
PREFIXES = re.compile(r"((module|eps_model|_orig_mod)\.)*")  # the last is that of torch.compile
FIRST_WEIGHT, LAST_WEIGHT = "init_conv.main.0.weight", "out.weight"

# What export.py writes into a folder.
EXPORT_FORMAT, EXPORT_VERSION = "mindiffusion-export", 2
EXPORT_CONFIG = "config.json"  # beside find.EXPORT_WEIGHTS
AVERAGED, RAW, ORIGINAL = "averaged", "raw", "original"  # the moving average, the last step's, a bare state dict


@dataclass(frozen=True)
class Weights:
    """A network's state dict and the checkpoint it came from (None for a bare state dict). Of an export ``checkpoint``
    is its config.json, which has the fields that say how to sample. ``kind``: AVERAGED, RAW or ORIGINAL.

    BadCheckpoint if a weight is no number (NaN) or infinite: images of such weights would be black."""

    path: Path
    state: dict[str, Tensor]
    checkpoint: dict[str, Any] | None
    kind: str = ORIGINAL

    def __post_init__(self) -> None:
        for name, value in self.state.items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                wrong = f"holds {self.kind} weights that are NaN or infinite, in {name}"
                raise BadCheckpoint(f"{self.path} {wrong}: the run has diverged. Name an earlier checkpoint of it.")


def weights_digest(state: dict[str, Tensor]) -> str:
    """BLAKE2b of a state dict, in any order of its names: by this a measured result knows its model again."""
    digest = blake2b(digest_size=16)
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def read_weights(path: Path, raw: bool = False) -> Weights:
    """Weights of the model that ``path`` names, see find.py. Of a checkpoint the averaged ones, unless ``raw`` or none
    are kept. BadCheckpoint if there is none, or if the file is damaged or holds something else."""
    path = find_model(path)
    if path.is_dir():
        return _read_export(path, raw)
    content = load_plain(path)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        checkpoint = verified(path, content)
        check_checkpoint(path, checkpoint)
        averaged = bool(checkpoint["ema"]) and not raw
        state = checkpoint["ema" if averaged else "model"]
        return Weights(path, state, _with_defaults(checkpoint), AVERAGED if averaged else RAW)
    named = content if isinstance(content, dict) else {}
    state = {PREFIXES.sub("", str(name), 1): value for name, value in named.items()}
    state = {name: state[name] for name in NaiveUnet(3, 3, 8).state_dict() if isinstance(state.get(name), Tensor)}
    if FIRST_WEIGHT not in state or LAST_WEIGHT not in state:
        raise BadCheckpoint(f"{path} holds neither a checkpoint of this program nor the state dict of a NaiveUnet.")
    return Weights(path, state, None)


def build_network(weights: Weights) -> NaiveUnet:
    """The network that the weights are of, with the weights in it, on the CPU, in eval mode."""
    kind = network_class(weights)
    try:
        n_feat, in_channels = weights.state[FIRST_WEIGHT].shape[:2]
        shape = {"in_channels": in_channels, "out_channels": len(weights.state[LAST_WEIGHT]), "n_feat": n_feat}
        with torch.device("meta"):  # which takes no memory: one large weight may ask for a network that is larger
            needed = sum(value.numel() for value in NaiveUnet(**shape).state_dict().values())
        if needed > 2 * sum(value.numel() for value in weights.state.values()):
            raise ValueError(f"weights are missing for {n_feat} features")
        net = kind(**{**(weights.checkpoint or {}).get("args", {}), **shape})  # the weights know best
        load_state(net, weights.state)
    except (RuntimeError, TypeError, ValueError, LookupError) as error:
        raise BadCheckpoint(f"{weights.path} does not fit {kind.__name__}: {error}") from error
    return net.eval()


def load_state(net: nn.Module, state: dict[str, Tensor]) -> None:
    """Put the weights into the network. RuntimeError or ValueError, naming a weight, if they do not fit; PyTorch itself
    takes whole numbers for fractions and the reverse."""
    net.load_state_dict(state)
    for name, value in net.state_dict().items():
        if value.is_floating_point() != state[name].is_floating_point():
            raise ValueError(f"{name} has numbers of another kind")


def network_class(weights: Weights) -> type[NaiveUnet]:
    """The class of the network that the weights are of. BadCheckpoint if this program does not have it."""
    name = (weights.checkpoint or {}).get("network", NaiveUnet.__name__)
    if name not in REGISTRY:
        raise BadCheckpoint(f"{weights.path} holds a {plain(name)}, which this program lacks: is it an older one?")
    return REGISTRY[name]


@torch.no_grad()
def init_parameters(net: NaiveUnet, weights: Weights) -> None:
    """Copy the weights into the parameters of ``net``; its buffers (a channel mask) stay as they are.

    BadCheckpoint, with nothing copied, if a parameter is missing or of another shape, or if the two networks have
    another parametrization: their parameters have the same shapes and another meaning.
    """
    theirs = network_class(weights)
    if theirs.parametrization != net.parametrization:
        answers = f"{theirs.__name__} answers {theirs.parametrization}, {type(net).__name__} {net.parametrization}"
        raise BadCheckpoint(f"{weights.path} does not fit this network: {answers}.")
    parameters = dict(net.named_parameters())
    for name, parameter in parameters.items():
        shape = tuple(weights.state[name].shape) if name in weights.state else "absent"
        if shape != tuple(parameter.shape):
            misfit = f"{name} is {shape} there and {tuple(parameter.shape)} here"
            raise BadCheckpoint(f"{weights.path}: {misfit}. Check --n-feat, and that both draw images in colour.")
    for name, parameter in parameters.items():
        parameter.copy_(weights.state[name])


def _read_export(folder: Path, raw: bool) -> Weights:
    from safetensors.torch import load_file

    try:
        about = json.loads(read_text(folder / EXPORT_CONFIG))
        if about["format"] != EXPORT_FORMAT or about["format_version"] > EXPORT_VERSION:
            raise ValueError(f"its format is {about['format']} {about['format_version']}")
        open_regular(folder / EXPORT_WEIGHTS).close()  # a pipe would be waited for
        state = load_file(folder / EXPORT_WEIGHTS)  # maps the file: no tensor reaches beyond its end
        if missing := {FIRST_WEIGHT, LAST_WEIGHT} - set(state):
            raise ValueError(f"it has no {missing.pop()}")
        about = about if about["format_version"] > 1 else v1.new_content(about, state)
        check_model(about)
        if about.get("digest", weights_digest(state)) != weights_digest(state):
            raise ValueError("its weights are not those that were exported")
        if about["weights"] not in (AVERAGED, RAW, ORIGINAL):
            raise ValueError(f"its weights are {plain(about['weights'])}")
    except Exception as error:  # missing, damaged, of another kind: safetensors has errors of its own
        raise BadCheckpoint(f"{folder} cannot be read as an export of this program: {first_line(error)}") from error
    if raw and about["weights"] == AVERAGED:
        raise BadCheckpoint(f"{folder} holds the averaged weights only: leave --raw-weights out.")
    return Weights(folder, state, _with_defaults(about) if about["config"] else None, about["weights"])


def _with_defaults(about: dict[str, Any]) -> dict[str, Any]:
    """What a file says of its model, with the settings that it leaves out."""
    return {**about, "config": about["config"] and {**TrainConfig.defaults(), **about["config"]}}
