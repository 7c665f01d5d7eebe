"""Files of format 1, turned into what this version writes: a stage had schedules beside it, and a network no args."""

from typing import Any

from torch import Tensor

FIELDS = {"regrowth": dict | None}  # what a checkpoint had that it has no more
NEW_FIELDS = ("args", "training_state", "t_stop")
SCHEDULES = {"sparsity_schedule": "sparsity", "lambda_schedule": "lam", "weight_schedule": "power"}
CONSTANTS = {"sparsity_schedule": {"regrowth_method": "regrowth", "mask_scope": "mask_scope"}}
CONSTANTS["lambda_schedule"] = {"penalty_method": "penalty_method"}
GONE = (*SCHEDULES, *(name for names in CONSTANTS.values() for name in names), "cuda_graph")


def new_config(old: dict[str, Any]) -> dict[str, Any]:
    """A configuration as it is written now; itself, if it is."""
    if "constants" in old:
        return old
    stages = [{"name": stage["name"], "epochs": stage["epochs"], **stage} for stage in old["stages"]]
    for schedule, name in SCHEDULES.items():
        for stage, value in zip(stages, old.get(schedule) or [], strict=False):
            stage[name] = value
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
    new = {**old, "format_version": 2, "args": args, "config": new_config(config) if config else {}}
    new["t_stop"] = lowest_timestep(old) if config else 0
    if "regrowth" in new:
        new["training_state"] = new.pop("regrowth") or {}
        sums = old["interval"]
        new["interval"] = {"loss": sums["mse"] + sums["penalty"], **sums}
    return new


def lowest_timestep(old: dict[str, Any]) -> int:
    """The lowest timestep that the network has seen, 0 for all of them."""
    config, next_epoch = old["config"], old["next_epoch"]
    ends = [sum(stage["epochs"] for stage in config["stages"][: k + 1]) for k in range(len(config["stages"]))]
    images_per_epoch = config.get("images_per_epoch") or old["data"]["images"]
    steps_per_epoch = images_per_epoch // config["global_batch_size"]
    if old["next_step"] == next_epoch * steps_per_epoch and next_epoch > 0:
        next_epoch -= 1  # at a border: the epoch that is done, not the one to come
    last = next(k for k, end in enumerate(ends) if next_epoch < end)
    lowest = 0 if config.get("weight_schedule") else min(stage["t_min"] for stage in config["stages"][: last + 1])
    first = max(1, round(lowest * config["n_T"]))
    return first if first > 1 else 0
