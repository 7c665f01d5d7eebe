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
from mindiffusion.data.images import count_images
from mindiffusion.ddpm import DDPM
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.precision import autocast, memory_format
from mindiffusion.runtime.terminal import human_time
from mindiffusion.stages import value_names
from mindiffusion.training.machine import resolve_auto
from mindiffusion.training.schedule import Schedule

MIB = 2**20
IMAGES, STEPS = 16, 2  # of one timed step; timed steps, after one that warms up


def describe_plan(config: TrainConfig, process: DDPM, per_pass: int, ranks: Ranks) -> str:
    """A table of stages, then totals, the memory that training takes on each process, and the time. ``per_pass``:
    images of a forward pass."""
    net = process.eps_model
    num_images = count_images(config.data_path, places=config.train_places)
    config = resolve_auto(config, num_images, ranks.device)
    schedule = Schedule(config, num_images)
    size, world_size, parameters = config.image_size, ranks.world_size, sum(p.numel() for p in net.parameters())
    states = 5 if config.ema_decay else 4  # weights, gradients, two moments, average
    return "\n".join(
        (
            *_table(schedule),
            "",
            f"network      {type(net).__name__}, {parameters:,} parameters, {config.precision}",
            f"data         {num_images:,} images of {size}x{size}, {schedule.steps_per_epoch} steps per epoch",
            f"batch        {schedule.batch_size} = {world_size} process{'es' * (world_size > 1)} x "
            f"{schedule.batch_size // world_size}, {per_pass} per forward pass",
            f"memory       weights and optimizer {4 * states * parameters / MIB:,.0f} MiB, data "
            f"{num_images * 3 * size**2 / MIB:,.0f} MiB,",
            f"             activations about {per_pass * activation_bytes(net, size) / MIB:,.0f} MiB in fp32 "
            "(half in bf16)",
            f"outputs      {config.contents_dir}/ and {config.checkpoints_dir}/",
            *_time(config, process, per_pass, schedule.total_steps * schedule.batch_size, ranks),
        )
    )


def _table(schedule: Schedule) -> list[str]:
    """A line for each stage, with a column for each of its values, and one for their sum."""
    names = value_names([stage.to_dict() for stage in schedule.stages])

    def row(name: str, epochs: int, values: dict[str, float]) -> list[str]:
        steps = epochs * schedule.steps_per_epoch
        cells = [f"{values[each]:.3g}" if each in values else "" for each in names]
        return [name, f"{epochs:,}", f"{steps:,}", f"{steps * schedule.batch_size:,}", *cells]

    rows = [["stage", "epochs", "steps", "images", *names]]
    rows += [row(stage.name, stage.epochs, stage.values) for stage in schedule.stages]
    rows += [row("total", schedule.total_epochs, {})]
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    lines = [cells[0].ljust(widths[0]) + "".join(map(str.rjust, cells[1:], widths[1:])).rstrip() for cells in rows]
    rule = "-" * len(lines[0])
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


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


def images_per_second(process: DDPM, precision: str, shape: tuple[int, ...], device: torch.device) -> float:
    """Of forward and backward passes of a copy of ``process`` on images of this shape (B, C, S, S), uncompiled."""
    layout = memory_format(precision, device)
    process = copy.deepcopy(process).to(device, memory_format=layout)
    x = torch.zeros(shape, device=device).contiguous(memory_format=layout)
    began = 0.0
    for step in range(STEPS + 1):
        if step == 1:
            began = _clock(device)
        with autocast(precision, device):
            loss = process(x)
        loss.backward()
    return STEPS * len(x) / (_clock(device) - began)


def _clock(device: torch.device) -> float:
    """Seconds: of the clock on a GPU, which is waited for; on a CPU of this process's threads, each on a core of its
    own."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.monotonic()
    return time.process_time() / torch.get_num_threads()


def _time(config: TrainConfig, process: DDPM, per_pass: int, images: int, ranks: Ranks) -> tuple[str, str]:
    """How long ``images`` images take, and under which conditions."""
    shape = (min(IMAGES, per_pass), 3, config.image_size, config.image_size)
    speed = images_per_second(process, config.precision, shape, ranks.device)
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
