"""What a run is going to do, as --dry-run prints it."""

import copy

import torch
from torch import nn

from mindiffusion.config import TrainConfig
from mindiffusion.stages import value_names
from mindiffusion.training.schedule import Schedule

MIB = 2**20


def describe_plan(config: TrainConfig, net: nn.Module, num_images: int, world_size: int) -> str:
    """A table of stages, then totals and the memory that training takes on each process."""
    schedule = Schedule(config, num_images)
    names = value_names([stage.to_dict() for stage in config.stages])
    width = max(len(stage.name) for stage in config.stages) + 1
    widths = [max(10, len(name) + 2) for name in names]
    header = f"{'stage':<{width}}{'epochs':>8}{'steps':>9}{'images':>13}"
    lines = [header + "".join(f"{name:>{size}}" for name, size in zip(names, widths, strict=True))]
    for stage in config.stages:
        steps = stage.epochs * schedule.steps_per_epoch
        cells = [f"{stage.values[name]:.3g}" if name in stage.values else "" for name in names]
        lines.append(
            f"{stage.name:<{width}}{stage.epochs:>8}{steps:>9,}{steps * config.global_batch_size:>13,}"
            + "".join(f"{cell:>{size}}" for cell, size in zip(cells, widths, strict=True))
        )
    total = schedule.total_steps
    rule = "-" * len(lines[0])
    lines = [lines[0], rule, *lines[1:], rule]
    lines.append(f"{'total':<{width}}{config.total_epochs:>8}{total:>9,}{total * config.global_batch_size:>13,}")
    parameters = sum(p.numel() for p in net.parameters())
    states = 5 if config.ema_decay else 4  # weights, gradients, two moments, average
    batch = config.global_batch_size // world_size
    per_pass = config.micro_batch_size or batch
    activations = per_pass * activation_bytes(net, config.image_size)
    pixels = num_images * 3 * config.image_size**2
    lines += [
        "",
        f"network      {type(net).__name__}, {parameters:,} parameters, {config.precision}",
        f"data         {num_images:,} images of {config.image_size}x{config.image_size}, "
        f"{schedule.steps_per_epoch} steps per epoch",
        f"batch        {config.global_batch_size} = {world_size} process{'es' * (world_size > 1)} x {batch}, "
        f"{per_pass} per forward pass",
        f"memory       weights and optimizer {4 * states * parameters / MIB:,.0f} MiB, data {pixels / MIB:,.0f} MiB,",
        f"             activations about {activations / MIB:,.0f} MiB in fp32 (half in bf16)",
        f"outputs      {config.contents_dir}/ and {config.checkpoints_dir}/",
    ]
    return "\n".join(lines)


def activation_bytes(net: nn.Module, image_size: int) -> int:
    """Bytes that autograd keeps per image in fp32, counted on a forward pass without memory (device "meta")."""
    seen: dict[int, int] = {}
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept.append(storage)  # keep it alive, so that no address is counted for two
        seen[storage._cdata] = storage.nbytes()
        return tensor

    shadow = copy.deepcopy(net).to("meta")
    weights = {p.untyped_storage()._cdata for p in shadow.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = shadow(torch.empty(1, 3, image_size, image_size, device="meta"), torch.empty(1, device="meta"))
    del out
    return sum(size for address, size in seen.items() if address not in weights)
