"""What a run is going to do, as --dry-run prints it."""

import copy

import torch
from torch import nn

from mindiffusion.config import TrainConfig
from mindiffusion.sparse_unet import num_active_channels
from mindiffusion.training.schedule import Schedule

MIB = 2**20


def describe_plan(config: TrainConfig, net: nn.Module, num_images: int, world_size: int) -> str:
    """A table of stages, then totals and the memory that training takes on each process."""
    schedule = Schedule(config, num_images)
    channels = 2 * config.n_feat
    width = max(len(stage.name) for stage in config.stages) + 1
    header = f"{'stage':<{width}}{'t/T':>10}{'epochs':>8}{'steps':>9}{'images':>13}{'channels':>10}"
    header += f"{'lambda':>10}" if config.lambda_schedule else ""
    lines = [header + (f"{'weight^':>10}" if config.weight_schedule else "")]
    for index, stage in enumerate(config.stages):
        steps = stage.epochs * schedule.steps_per_epoch
        sparsity = config.sparsity_schedule[index] if config.sparsity_schedule else 0.0
        lam = f"{config.lambda_schedule[index]:>10.3g}" if config.lambda_schedule else ""
        power = f"{config.weight_schedule[index]:>10g}" if config.weight_schedule else ""
        lines.append(
            f"{stage.name:<{width}}{f'{stage.t_min:g} to {stage.t_max:g}':>10}{stage.epochs:>8}{steps:>9,}"
            f"{steps * config.global_batch_size:>13,}"
            f"{f'{num_active_channels(channels, sparsity)}/{channels}':>10}{lam}{power}"
        )
    total = schedule.total_steps
    rule = "-" * len(lines[0])
    lines = [lines[0], rule, *lines[1:], rule]
    lines.append(
        f"{'total':<{width}}{'':>10}{config.total_epochs:>8}{total:>9,}{total * config.global_batch_size:>13,}"
    )
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
