"""The staged training loop that all scripts share."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mindiffusion.checkpoints.run_folder import as_restarted, open_run, reserved_folders
from mindiffusion.config import TrainConfig
from mindiffusion.data.images import count_images, device_images, get_batch, load_images
from mindiffusion.ddpm import DDPM
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import advice_when_unwritable
from mindiffusion.runtime.precision import memory_format, set_backend_flags
from mindiffusion.runtime.rng import derive_seed, make_generator
from mindiffusion.runtime.signals import StopSignals
from mindiffusion.runtime.terminal import command
from mindiffusion.stages import Stage
from mindiffusion.training.acceleration import lay_out, maybe_compile, memory_explained, resolve_auto
from mindiffusion.training.display import Display
from mindiffusion.training.log import Log
from mindiffusion.training.plan import describe_plan
from mindiffusion.training.run import Run
from mindiffusion.training.saver import Saver
from mindiffusion.training.schedule import Schedule
from mindiffusion.training.self_check import check_ranks_agree, check_same_settings, describe_machine
from mindiffusion.training.step import Losses, Step, make_step, settle_order
from mindiffusion.training.time_estimate import describe_time, images_per_second
from mindiffusion.unet import NaiveUnet

GO_ON = "Or choose another --output-dir. Then go on with --resume."


def train(
    config: TrainConfig,
    ranks: Ranks,
    net: NaiveUnet,
    process: DDPM,
    optimizer: torch.optim.Optimizer,
    start_stage: Callable[[Stage], None],
    penalty: Callable[[], Tensor] | None = None,
    after_backward: Callable[[Callable[[Tensor], Tensor]], None] | None = None,
    after_step: Callable[[float], None] | None = None,
) -> None:
    """Train ``net`` inside ``process`` through ``config.stages``, or continue where a checkpoint left off.

    ``start_stage(stage)`` puts the variant's stage rule into force; it is called again on resume, so it must change
    nothing that is already as the stage wants it. ``penalty()`` is added to the loss; ``after_backward(average_)`` is
    called when a step's gradients are complete, with a function that averages a tensor over ranks in place; and
    ``after_step(lr)`` when the optimizer has stepped.
    UserError for what the user can mend, Stopped after a signal, with everything saved.
    """
    check_batch(config, ranks.world_size)
    if config.dry_run:
        if ranks.is_main:
            _print_plan(config, ranks, net)
        return
    config = as_restarted(config, ranks.restarted)
    with advice_when_unwritable(GO_ON), reserved_folders(config, ranks):
        found = ranks.from_main(lambda: open_run(config))
        data = load_images(
            config.data_path,
            config.image_size,
            config.crop,
            config.seed,
            ranks,
            skip_bad_images=config.skip_bad_images,
            places=config.train_places,
        )
        check_same_settings(ranks, config, data.fingerprint)
        config = resolve_auto(config, len(data), ranks.device)
        ranks.check_equal("precision", config.precision, "Give --precision fp32, which all machines can compute.")
        set_backend_flags(config.precision, ranks.device)
        net.to(ranks.device, memory_format=memory_format(config.precision, ranks.device, config.compile))
        process.to(ranks.device)
        run = Run(config, ranks, Schedule(config, len(data)), data, net, process, optimizer)
        next_step = ranks.run_on_all(lambda: run.restore(found))
        log = Log(run)
        saver = Saver(run, log)
        display = Display(run, log, saver)
        losses = _checked_losses(run)
        ddp = DistributedDataParallel(losses, broadcast_buffers=False) if ranks.world_size > 1 else losses
        with memory_explained(config, ranks):
            settle_order(run.config, ranks, ddp, net)
        saver.begin(found)  # --overwrite deletes here, so all that can fail is above
        log.begin(next_step)
        display.begin(next_step)
        step_function = make_step(run.config, ranks, ddp, optimizer, run.ema, penalty, after_backward, after_step)
        with memory_explained(config, ranks), StopSignals() as stop, log.progress(next_step):
            _train_stages(run, log, saver, display, step_function, start_stage, next_step, stop)
    _say_end(run, next_step)


def _say_end(run: Run, next_step: int) -> None:
    """Where everything is, and the next command. ``next_step`` is where this call began."""
    contents, checkpoints = run.config.contents_dir, run.config.checkpoints_dir
    outcome = "this run was complete already" if next_step == run.schedule.total_steps else "done"
    run.say(f"{outcome}: grids in {contents}/, checkpoints in {checkpoints}/")
    draw, measure = (
        command("python", "sample.py", checkpoints, "-o", "samples.png"),
        command("python", "evaluate.py", checkpoints, "--data-path", run.config.data_path),
    )
    run.say(f"next: {draw}, or {measure}")


def _print_plan(config: TrainConfig, ranks: Ranks, net: nn.Module) -> None:
    """What --dry-run prints: the stages, the memory, and how long it will take."""
    num_images = count_images(config.data_path, places=config.train_places)
    config = resolve_auto(config, num_images, ranks.device)
    print(describe_plan(config, net, num_images, ranks.world_size))
    images = Schedule(config, num_images).total_steps * config.global_batch_size
    speed = images_per_second(config, net, ranks)
    print(describe_time(config, images, speed, ranks.world_size, ranks.device.type == "cuda"))


def _checked_losses(run: Run) -> nn.Module:
    """The losses, compiled where ``run.config`` wants it and their comparison with the eager ones allows it; else
    ``run.config`` and the layout of the weights follow. On a GPU one line says what was found."""
    eager = Losses(run.process)
    losses = maybe_compile(run.config, eager, run.net, run.ranks)
    if run.config.compile and losses is eager:
        run.config = replace(run.config, compile="")
        lay_out(run.net, run.ema.net if run.ema else None, run.optimizer, run.config)
    if run.ranks.device.type == "cuda":
        run.say(describe_machine(run.config, run.ranks))
    return losses


def _train_stages(
    run: Run,
    log: Log,
    saver: Saver,
    display: Display,
    step_function: Step,
    start_stage: Callable[[Stage], None],
    next_step: int,
    stop: StopSignals,
) -> None:
    """The loop over stages, epochs and steps, from ``next_step`` to the end."""
    config, ranks, schedule = run.config, run.ranks, run.schedule
    images = device_images(run.data, ranks.device)
    # Re-enter the epoch of the last step done, which may have been killed before its grid was drawn.
    here = schedule.position(max(next_step - 1, 0))
    for stage in range(here.stage, len(config.stages)):
        start_stage(config.stages[stage])
        log.announce(stage)
        for epoch in schedule.epochs_of(stage)[max(here.epoch - schedule.epochs_of(stage)[0], 0) :]:
            order = schedule.order(epoch).to(images.device)
            for step in range(max(next_step, schedule.steps_of(epoch)[0]), schedule.steps_of(epoch)[-1] + 1):
                torch.manual_seed(
                    derive_seed(config.seed, "step", step * ranks.world_size + ranks.rank)
                )  # dropout, say
                batch = draw_batch(config, ranks, schedule, images, run.process, order, step)
                log.finish_step(step + 1, step_function(batch, run.ema_weight(step), schedule.lr(step)))
                saver.finish_step(step + 1, stop)
            check_ranks_agree(ranks, run.net, f"at the end of epoch {epoch + 1}")
            saver.finish_epoch(stage, epoch)
            display.finish_epoch(stage, epoch, stop)


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
    config: TrainConfig, ranks: Ranks, schedule: Schedule, images: Tensor, process: DDPM, order: Tensor, step: int
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
    t = process.sample_timesteps(size, make_generator(config.seed, "timesteps", step, device))
    shape = (size, 3, config.image_size, config.image_size)
    eps = torch.randn(shape, generator=make_generator(config.seed, "noise", step, device), device=device)
    x = get_batch(images, order[first : first + size][mine], flips[mine], device)
    layout = memory_format(config.precision, device, config.compile)
    x, eps = (part.contiguous(memory_format=layout) for part in (x, eps[mine]))
    return x, t[mine], eps
