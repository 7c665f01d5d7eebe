"""The staged training loop that all scripts share."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mindiffusion.acceleration import autocast, maybe_compile, memory_format, resolve_precision, set_backend_flags
from mindiffusion.config import TrainConfig
from mindiffusion.data import count_images, device_images, get_batch, load_images
from mindiffusion.ddpm import DDPM
from mindiffusion.distributed import Ranks
from mindiffusion.errors import UserError
from mindiffusion.plan import describe_plan
from mindiffusion.rng import make_generator
from mindiffusion.run import Run
from mindiffusion.run_folder import as_restarted, open_run, reserved_folders
from mindiffusion.schedule import Schedule
from mindiffusion.signals import StopSignals


def train(
    config: TrainConfig,
    ranks: Ranks,
    net: nn.Module,
    diffusion: DDPM,
    start_stage: Callable[[int], None],
    penalty: Callable[[], Tensor] | None = None,
    after_backward: Callable[[Callable[[Tensor], Tensor]], None] | None = None,
    after_step: Callable[[float], None] | None = None,
) -> None:
    """Train ``net`` inside ``diffusion`` through ``config.stages``, or continue where a checkpoint left off.

    ``start_stage(index)`` puts the variant's stage rule into force; it is called again on resume, so it must change
    nothing that is already as the stage wants it. ``penalty()`` is added to the loss; ``after_backward(average_)`` is
    called when a step's gradients are complete, with a function that averages a tensor over ranks in place; and
    ``after_step(lr)`` when the optimizer has stepped.
    UserError for what the user can mend, Stopped after a signal, with everything saved.
    """
    config = replace(config, precision=resolve_precision(config.precision, ranks.device))
    check_batch(config, ranks.world_size)
    if config.dry_run:
        if ranks.is_main:
            print(describe_plan(config, net, count_images(config.data_path), ranks.world_size))
        return
    set_backend_flags(config.precision)
    config = as_restarted(config)
    with reserved_folders(config, ranks):
        found = ranks.from_main(lambda: open_run(config))
        data = load_images(
            config.data_path, config.image_size, config.crop, config.seed, ranks, skip_bad_images=config.skip_bad_images
        )
        net.to(ranks.device, memory_format=memory_format(config.precision, ranks.device))
        diffusion.to(ranks.device)
        run = Run(config, ranks, Schedule(config, len(data)), data, net, diffusion)
        next_step = run.begin(found)
        diffusion.eps_model = maybe_compile(config, net, ranks)
        with StopSignals() as stop, run.progress(next_step):
            _train_stages(run, next_step, start_stage, penalty, after_backward, after_step, stop)
    run.say(f"done: grids in {config.contents_dir}/, checkpoints in {config.checkpoints_dir}/")


def _train_stages(
    run: Run,
    next_step: int,
    start_stage: Callable[[int], None],
    penalty: Callable[[], Tensor] | None,
    after_backward: Callable[[Callable[[Tensor], Tensor]], None] | None,
    after_step: Callable[[float], None] | None,
    stop: StopSignals,
) -> None:
    """The loop over stages, epochs and steps, from ``next_step`` to the end."""
    config, ranks, schedule, diffusion = run.config, run.ranks, run.schedule, run.diffusion
    ddp = DistributedDataParallel(diffusion, broadcast_buffers=False) if ranks.world_size > 1 else diffusion
    images = device_images(run.data, ranks.device)
    # Re-enter the epoch of the last step done, which may have been killed before its grid was drawn.
    here = schedule.position(max(next_step - 1, 0))
    for stage in range(here.stage, len(config.stages)):
        start_stage(stage)
        run.announce(stage)
        for epoch in schedule.epochs_of(stage)[max(here.epoch - schedule.epochs_of(stage)[0], 0) :]:
            order = schedule.order(epoch)
            for step in range(max(next_step, schedule.steps_of(epoch)[0]), schedule.steps_of(epoch)[-1] + 1):
                batch = draw_batch(config, ranks, schedule, images, diffusion, order, step)
                mse, reg = backward_pass(config, ranks, ddp, batch, penalty)
                if after_backward:
                    after_backward(ranks.average_)
                grad_norm = run.optimizer_step()
                if after_step:
                    after_step(config.lr)
                run.finish_step(step, mse, reg, grad_norm, stop)
            run.finish_epoch(stage, epoch, stop)


def check_batch(config: TrainConfig, world_size: int) -> None:
    """UserError unless the global batch divides evenly among processes, and their share into forward passes."""
    if config.global_batch_size % world_size:
        raise UserError(
            f"--global-batch-size {config.global_batch_size} does not divide by {world_size} processes: choose a "
            "multiple of the number of processes."
        )
    share = config.global_batch_size // world_size
    if config.micro_batch_size and share % config.micro_batch_size:
        raise UserError(
            f"--micro-batch-size {config.micro_batch_size} does not divide the {share} images that each of "
            f"{world_size} process(es) has per step: choose a divisor of {share}."
        )


def draw_batch(
    config: TrainConfig, ranks: Ranks, schedule: Schedule, images: Tensor, diffusion: DDPM, order: Tensor, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """This rank's slice of the global batch of ``step``: images x (B, 3, S, S), timesteps t (B,), noise eps like x.

    Everything is drawn for the global batch, from generators of this step, and then sliced: the same numbers for any
    number of ranks.
    """
    size = schedule.global_batch_size
    mine = ranks.slice(size)
    first = (step - schedule.steps_of(step // schedule.steps_per_epoch)[0]) * size
    device = ranks.device
    flips = torch.rand(size, generator=make_generator(config.seed, "flips", step, device), device=device) < 0.5
    t = diffusion.sample_timesteps(size, make_generator(config.seed, "timesteps", step, device))
    shape = (size, 3, config.image_size, config.image_size)
    eps = torch.randn(shape, generator=make_generator(config.seed, "noise", step, device), device=device)
    x = get_batch(images, order[first : first + size][mine], flips[mine], device)
    layout = memory_format(config.precision, device)
    x, eps = (part.contiguous(memory_format=layout) for part in (x, eps[mine]))
    return x, t[mine], eps


def backward_pass(
    config: TrainConfig,
    ranks: Ranks,
    ddp: nn.Module,
    batch: tuple[Tensor, Tensor, Tensor],
    penalty: Callable[[], Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """Leave the gradient of mean loss + penalty in the parameters, averaged over ranks. Returns (mse, penalty), two
    scalars on the device, mse of this rank's share. Micro-batches are equal in size, so their mean is the mean."""
    per_pass = config.micro_batch_size or len(batch[0])
    passes = list(zip(*(part.split(per_pass) for part in batch), strict=True))
    mse_sum = torch.zeros((), device=ranks.device)
    reg = torch.zeros((), device=ranks.device)
    for index, (x, t, eps) in enumerate(passes):
        last = index == len(passes) - 1
        with nullcontext() if last or ranks.world_size == 1 else ddp.no_sync():
            with autocast(config.precision, ranks.device):
                mse = ddp(x, t, eps)
            loss = mse / len(passes)
            if last and penalty:
                reg = penalty()
                loss = loss + reg
            loss.backward()
        mse_sum += mse.detach()
    return mse_sum / len(passes), reg.detach()
