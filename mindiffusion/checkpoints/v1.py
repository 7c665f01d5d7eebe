"""Files of format 1, turned into what this version writes: a stage had schedules beside it, and a network no args."""

from itertools import accumulate
from typing import Any

from torch import Tensor

SCHEDULES = {"sparsity_schedule": "sparsity", "lambda_schedule": "lam", "weight_schedule": "power"}
CONSTANTS = {"sparsity_schedule": {"regrowth_method": "regrowth", "mask_scope": "mask_scope"}}
CONSTANTS["lambda_schedule"] = {"penalty_method": "penalty_method"}
GONE = (*SCHEDULES, *(name for names in CONSTANTS.values() for name in names), "cuda_graph")


def new_config(old: dict[str, Any]) -> dict[str, Any]:
    """A configuration as it is written now; itself, if it is."""
    if "constants" in old:
        return old
    stages = [{"name": stage["name"], "epochs": stage["epochs"], **stage} for stage in old["stages"]]
    for schedule in filter(old.get, SCHEDULES):
        for stage, value in zip(stages, old[schedule], strict=True):
            stage[SCHEDULES[schedule]] = value
    for stage in stages if old.get("weight_schedule") else []:
        for name in ("t_min", "t_max"):
            stage.pop(name, None)  # were written, and meant nothing
    renamed = {new: old[name] for key, names in CONSTANTS.items() if old.get(key) for name, new in names.items()}
    kept = {name: value for name, value in old.items() if name not in GONE}
    return {**kept, "stages": stages, "constants": renamed}


def new_content(old: dict[str, Any], weights: dict[str, Tensor]) -> dict[str, Any]:
    """A checkpoint, or the config.json of an export, as it is written now. ``weights``: its state dict."""
    config, network = old["config"], old["network"]
    n_feat, in_channels = weights["init_conv.main.0.weight"].shape[:2]
    args = {"in_channels": in_channels, "out_channels": len(weights["out.weight"]), "n_feat": n_feat}
    if network == "SparseNaiveUnet":
        args["mask_scope"] = config["mask_scope"]
    if network == "RegNaiveUnet":
        args["method"] = config.get("penalty_method") or "loss"
    if network == "PreconditionedNaiveUnet":
        args |= {"betas": list(config["betas"]), "n_T": config["n_T"]}
    new = {**old, "args": args, "config": new_config(config) if config else {}}
    new["t_stop"] = lowest_timestep(old) if config else 0
    if "regrowth" in new:
        new["training_state"] = new.pop("regrowth") or {}
        sums = old["interval"]
        new["interval"] = {"loss": sums["mse"] + sums["penalty"], **sums}
    return new


def lowest_timestep(old: dict[str, Any]) -> int:
    """The lowest timestep that the network has seen, 0 for all of them."""
    config, stages = old["config"], old["config"]["stages"]
    if config.get("weight_schedule"):
        return 0
    steps_per_epoch = (config.get("images_per_epoch") or old["data"]["images"]) // config["global_batch_size"]
    epoch = max(old["next_step"] - 1, 0) // steps_per_epoch  # of the last step that is done
    begins = accumulate((stage["epochs"] for stage in stages), initial=0)
    lowest = min(stage["t_min"] for stage, begin in zip(stages, begins, strict=False) if begin <= epoch)
    first = round(lowest * config["n_T"])
    return first if first > 1 else 0
