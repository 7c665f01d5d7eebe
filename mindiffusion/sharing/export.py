"""A trained network as a folder that can leave the house: model.safetensors, config.json and a model card.

config.json, format "mindiffusion-export" version 2, holds what a checkpoint says about its network, and nothing about
the machine it was trained on:
    network, args                        class of the network, and what its constructor wants
    t_stop                               the lowest timestep it was trained on, 0 for all
    weights                              "averaged", "raw", or "original" for a bare state dict of minDiffusion
    digest                               of the weights as they are stored, see weights_digest
    stored                               "float32" or "float16": half the size, read back as float32
    config, data, next_epoch, next_step  as in a checkpoint, config without paths and machine; {} and 0 for "original"
A SparseNaiveUnet's channel_mask and channel_birth_stage are buffers, so they lie in model.safetensors with the rest.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from mindiffusion.checkpoints.find import EXPORT_WEIGHTS
from mindiffusion.checkpoints.foreign import checked_config, checked_data
from mindiffusion.checkpoints.weights import (
    EXPORT_CONFIG,
    EXPORT_FORMAT,
    EXPORT_VERSION,
    ORIGINAL,
    Weights,
    build_network,
    weights_digest,
)
from mindiffusion.config import identity_fields
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import sync, write_errors_explained
from mindiffusion.runtime.locks import claim
from mindiffusion.runtime.packages import require
from mindiffusion.sharing.model_card import model_card

KEPT = (*identity_fields(), "title")  # of the configuration: what says nothing of a place


def export(weights: Weights, folder: Path, overwrite: bool = False, half: bool = False, licence: str = "") -> None:
    """Write ``folder``, whole or not at all; the weights as float16 if ``half``; ``licence``: for the card.

    UserError if it is there, unless ``overwrite`` and it is an export, if safetensors is not installed, if the weights
    are no numbers or fit no network, or if it cannot be written.
    """
    require("safetensors", "--export")
    from safetensors.torch import save

    if folder.exists() and not (overwrite and _replaceable(folder)):
        hint = "--overwrite replaces an export only" if overwrite else "choose another folder, or use --overwrite"
        raise UserError(f"{folder} is there already: {hint}.")
    net = build_network(weights)
    about = describe(weights) | {"stored": "float16" if half else "float32"}
    if half:
        net.half()
    temporary, replaced = (folder.with_name(f".{folder.name}.{end}") for end in ("tmp", "old"))
    with write_errors_explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with claim(folder, folder.parent), write_errors_explained(folder):
        shutil.rmtree(temporary, ignore_errors=True)  # of an export that was killed
        try:
            temporary.mkdir()
            state = {name: value.contiguous() for name, value in net.state_dict().items()}
            (temporary / EXPORT_WEIGHTS).write_bytes(save(state, metadata={"format": "pt"}))
            about["digest"] = weights_digest(state)
            (temporary / EXPORT_CONFIG).write_text(json.dumps(about, indent=2) + "\n")
            (temporary / "README.md").write_text(model_card(weights, about, net, licence), encoding="utf-8")
            for path in (*temporary.iterdir(), temporary):
                sync(path)
            if folder.exists():  # no folder is renamed over another that has files
                shutil.rmtree(replaced, ignore_errors=True)
                folder.rename(replaced)
            temporary.rename(folder)
            sync(folder.parent)
        finally:
            if replaced.exists() and not folder.exists():
                replaced.rename(folder)
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(replaced, ignore_errors=True)


def describe(weights: Weights) -> dict[str, Any]:
    """What config.json says."""
    about: dict[str, Any] = {"format": EXPORT_FORMAT, "format_version": EXPORT_VERSION}
    checkpoint = weights.checkpoint
    if checkpoint is None or not checkpoint["config"]:
        empty = {"config": {}, "data": {}, "next_epoch": 0, "next_step": 0}
        return {**about, "network": "NaiveUnet", "args": {}, "t_stop": 0, "weights": ORIGINAL, **empty}
    config = {k: v for k, v in checked_config(checkpoint["config"]).items() if k in KEPT}
    data = checked_data(checkpoint["data"])
    done = {name: checkpoint[name] for name in ("next_epoch", "next_step", "t_stop")}
    kind = {"network": checkpoint["network"], "args": checkpoint["args"], "weights": weights.kind}
    return {**about, **kind, "config": config, "data": data, **done}


def _replaceable(folder: Path) -> bool:
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= {EXPORT_WEIGHTS, EXPORT_CONFIG, "README.md"}
