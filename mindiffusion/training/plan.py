"""What a run is going to do and how long it will take, as --dry-run prints it.

Time is measured on a few steps. On a CPU the processor's time counts, not the clock's, so that other work on the
machine does not change the answer, and the line says what that assumes. On a GPU it is an upper bound: small batches,
uncompiled.
"""

import copy
import time

import torch
from torch import nn

from mindiffusion.config import TrainConfig
from mindiffusion.ddpm import DDPM
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.precision import autocast, memory_format, set_backend_flags
from mindiffusion.runtime.terminal import human_time
from mindiffusion.stages import value_names
from mindiffusion.training.schedule import Schedule, images_per_pass

MIB = 2**20
IMAGES, STEPS = 16, 2  # of one timed step; timed steps, after one that warms up


def describe_plan(config: TrainConfig, net: nn.Module, num_images: int, ranks: Ranks) -> str:
    """A table of stages, then totals, the memory that training takes on each process, and the time. ``config`` is
    resolved for the machine."""
    schedule = Schedule(config, num_images)
    per_pass, parameters = images_per_pass(config, ranks.world_size), sum(p.numel() for p in net.parameters())
    states = 5 if config.ema_decay else 4  # weights, gradients, two moments, average
    activations = per_pass * activation_bytes(net, config.image_size)
    pixels = num_images * 3 * config.image_size**2
    processes = f"{ranks.world_size} process{'es' * (ranks.world_size > 1)}"
    return "\n".join(
        (
            *_table(config, schedule),
            "",
            f"network      {type(net).__name__}, {parameters:,} parameters, {config.precision}",
            f"data         {num_images:,} images of {config.image_size}x{config.image_size}, "
            f"{schedule.steps_per_epoch} steps per epoch",
            f"batch        {config.global_batch_size} = {processes} x {config.global_batch_size // ranks.world_size}, "
            f"{per_pass} per forward pass",
            f"memory       weights and optimizer {4 * states * parameters / MIB:,.0f} MiB, data "
            f"{pixels / MIB:,.0f} MiB,",
            f"             activations about {activations / MIB:,.0f} MiB in fp32 (half in bf16)",
            f"outputs      {config.contents_dir}/ and {config.checkpoints_dir}/",
            *_time(config, net, schedule.total_steps * config.global_batch_size, ranks),
        )
    )


def _table(config: TrainConfig, schedule: Schedule) -> list[str]:
    """A line for each stage, with a column for each of its values, and one for their sum."""
    names = value_names([stage.to_dict() for stage in config.stages])
    width = max(len(stage.name) for stage in config.stages) + 1

    def line(name: str, epochs: int, values: dict[str, float]) -> str:
        steps = epochs * schedule.steps_per_epoch
        cells = [f"{values[each]:.3g}" if each in values else "" for each in names]
        numbers = f"{name:<{width}}{epochs:>8}{steps:>9,}{steps * config.global_batch_size:>13,}"
        return numbers + "".join(f"{cell:>{max(10, len(each) + 2)}}" for each, cell in zip(names, cells, strict=True))

    header = f"{'stage':<{width}}{'epochs':>8}{'steps':>9}{'images':>13}"
    header += "".join(f"{each:>{max(10, len(each) + 2)}}" for each in names)
    rule = "-" * len(header)
    stages = [line(stage.name, stage.epochs, stage.values) for stage in config.stages]
    return [header, rule, *stages, rule, line("total", config.total_epochs, {}).rstrip()]


def activation_bytes(net: nn.Module, image_size: int) -> int:
    """Bytes that autograd keeps per image in fp32, counted on a forward pass without memory (device "meta")."""
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.untyped_storage())  # keeps it alive, so that no address is counted for two
        return tensor

    shadow = copy.deepcopy(net).to("meta")
    weights = {p.untyped_storage()._cdata for p in shadow.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = shadow(torch.empty(1, 3, image_size, image_size, device="meta"), torch.empty(1, device="meta"))
    del out
    sizes = {storage._cdata: storage.nbytes() for storage in kept}
    return sum(size for address, size in sizes.items() if address not in weights)


def images_per_second(config: TrainConfig, net: nn.Module, ranks: Ranks) -> float:
    """Of forward and backward passes of a copy of ``net`` on noise, in the precision of ``config``, uncompiled."""
    device = ranks.device
    set_backend_flags(config.precision, device)
    layout = memory_format(config.precision, device, False)
    shadow = copy.deepcopy(net).to(device, memory_format=layout)
    count = min(IMAGES, images_per_pass(config, ranks.world_size))
    process = DDPM(shadow, config.betas, config.n_T).to(device)
    x = torch.zeros(count, 3, config.image_size, config.image_size, device=device).contiguous(memory_format=layout)
    began = 0.0
    for step in range(STEPS + 1):
        if step == 1:
            began = _clock(device)
        with autocast(config.precision, device):
            loss = process(x)
        loss.backward()
    return STEPS * count / (_clock(device) - began)


def _clock(device: torch.device) -> float:
    """Seconds: of the clock on a GPU, which is waited for; on a CPU of this process's threads, each on a core of its
    own."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.monotonic()
    return time.process_time() / torch.get_num_threads()


def _time(config: TrainConfig, net: nn.Module, images: int, ranks: Ranks) -> tuple[str, str]:
    """How long ``images`` images take, and under which conditions."""
    speed = images_per_second(config, net, ranks)
    grids = " without the grids" if config.num_samples else ""
    each = f" in each of {ranks.world_size} processes" if ranks.world_size > 1 else ""
    threads = torch.get_num_threads()
    limits = f"if {'a core is' if threads == 1 else f'{threads} cores are'} free for each process"
    limits += "; timed uncompiled: the run is compiled, and faster" if config.compile else ""
    if ranks.device.type == "cuda":
        limits = "an upper bound: timed uncompiled and on small batches"
    return (
        f"time         about {human_time(images / (speed * ranks.world_size))}{grids}: {speed:,.0f} images/s{each},",
        f"             {limits}",
    )
