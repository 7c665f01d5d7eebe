"""The staged training loop that all scripts share."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mindiffusion.checkpoints.run_folder import opened_run
from mindiffusion.config import TrainConfig, flags_of_evaluation
from mindiffusion.data.images import count_images, device_images, get_batch, load_images
from mindiffusion.ddpm import DDPM
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.files import advice_when_unwritable
from mindiffusion.runtime.precision import set_backend_flags
from mindiffusion.runtime.rng import derive_seed, make_generator
from mindiffusion.runtime.signals import StopSignals, noted_signals
from mindiffusion.runtime.terminal import command_of
from mindiffusion.stages import Stage
from mindiffusion.training.display import Display
from mindiffusion.training.log import Log
from mindiffusion.training.machine import (
    check_ranks_agree,
    describe_machine,
    maybe_compile,
    memory_explained,
    resolve_auto,
    warm_up_ddp,
)
from mindiffusion.training.plan import describe_plan
from mindiffusion.training.run import Run
from mindiffusion.training.saver import Saver
from mindiffusion.training.schedule import images_per_pass
from mindiffusion.training.step import Batch, Losses, Step, make_step
from mindiffusion.unet import NaiveUnet

SAME = (
    "Start all with the same command, on folders with the same files on every machine; where some have no bf16, with "
    "--precision fp32."
)
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
    images_per_pass(config, ranks.world_size)  # refuses a batch that does not divide, before any work
    if config.dry_run:
        if ranks.is_main:
            _print_plan(config, ranks, net)
        return
    with advice_when_unwritable(GO_ON), opened_run(config, ranks) as found:
        data = load_images(
            config.data_path,
            config.image_size,
            config.crop,
            config.seed,
            ranks,
            skip_bad_images=config.skip_bad_images,
            places=config.train_places,
        )
        config = resolve_auto(config, len(data), ranks.device)
        fingerprint = {f"data: {name}": value for name, value in data.fingerprint.items()}
        ranks.check_equal({**config.identity(), **fingerprint}, SAME)
        set_backend_flags(config.precision, ranks.device)
        run = Run(config, ranks, data, net, process, optimizer, found)
        ranks.run_on_all(run.restore)
        log = Log(run)
        saver = Saver(run, log)
        display = Display(run, log, saver)
        start_stage(config.stages[run.first_place[0]])  # what is checked is what trains
        losses = _checked_losses(run, penalty)
        ddp = DistributedDataParallel(losses, broadcast_buffers=False) if ranks.world_size > 1 else losses
        with memory_explained(run.config, ranks):
            warm_up_ddp(run.config, ranks, ddp, net)
        saver.begin()  # --overwrite deletes here, so all that can fail is above
        log.begin()
        display.begin()
        step_function = make_step(run.config, ranks, ddp, optimizer, run.ema, after_backward, after_step)
        with memory_explained(run.config, ranks), noted_signals() as stop, log.progress():
            _train_stages(run, log, saver, display, step_function, start_stage, stop)
    _print_end(run)


def _print_plan(config: TrainConfig, ranks: Ranks, net: nn.Module) -> None:
    """What --dry-run prints."""
    num_images = count_images(config.data_path, places=config.train_places)
    print(describe_plan(resolve_auto(config, num_images, ranks.device), net, num_images, ranks))


def _print_end(run: Run) -> None:
    """Where everything is, and the next command."""
    contents, checkpoints = run.config.contents_dir, run.config.checkpoints_dir
    outcome = "this run was complete already" if run.next_step == run.schedule.total_steps else "done"
    run.print_line(f"{outcome}: grids in {contents}/, checkpoints in {checkpoints}/")
    draw = command_of("sample.py", checkpoints, "-o", f"samples_{run.config.run_name}.png")
    place = run.config.contents_dir.with_name(f"evaluation_{run.config.run_name}")
    measure = command_of("evaluate.py", checkpoints, *flags_of_evaluation(vars(run.config)), "--output-dir", place)
    run.print_line(f"next: {draw}, or {measure}")


def _checked_losses(run: Run, penalty: Callable[[], Tensor] | None) -> nn.Module:
    """The losses, compiled where ``run.config`` wants it and their comparison with the eager ones allows it; else
    ``run.config`` and the layout of the weights follow. On a GPU one line says what was found."""
    eager = Losses(run.process, penalty)
    losses = maybe_compile(run.config, eager, run.net, run.ranks)
    if run.config.compile and losses is eager:
        run.config = replace(run.config, compile="")
        run.lay_out()
    if run.ranks.device.type == "cuda":
        run.print_line(describe_machine(run.config, run.ranks))
    return losses


def _train_stages(
    run: Run,
    log: Log,
    saver: Saver,
    display: Display,
    step_function: Step,
    start_stage: Callable[[Stage], None],
    stop: StopSignals,
) -> None:
    """The loop over stages, epochs and steps, from the run's next step to the end."""
    config, ranks, schedule, next_step = run.config, run.ranks, run.schedule, run.next_step
    images = device_images(run.data, ranks.device)
    first_stage, first_epoch = run.first_place
    for stage in range(first_stage, len(config.stages)):
        start_stage(config.stages[stage])
        log.announce(stage)
        for epoch in schedule.epochs_of(stage):
            if epoch.number < first_epoch:
                continue
            order = schedule.order(epoch.number).to(images.device)
            for step in range(max(next_step, epoch.steps[0]), epoch.done):
                seed = derive_seed(config.seed, "step", step * ranks.world_size + ranks.rank)
                torch.manual_seed(seed)  # of dropout, say
                batch = draw_batch(run, images, order, step)
                log.finish_step(step + 1, step_function(batch, step, schedule.lr(step)))
                saver.finish_step(step + 1, stop)
            check_ranks_agree(ranks, run.net, f"at the end of epoch {epoch.number + 1}")
            saver.finish_epoch(epoch)
            display.finish_epoch(epoch, stop)


def draw_batch(run: Run, images: Tensor, order: Tensor, step: int) -> Batch:
    """This rank's slice of the global batch of ``step``: images x (B, 3, S, S), timesteps t (B,), noise eps like x.

    Everything is drawn for the global batch, from generators of this step, and then sliced: the same numbers for any
    number of ranks.
    """
    seed, device, steps = run.config.seed, run.ranks.device, run.schedule.steps_per_epoch
    size = run.config.global_batch_size
    mine, first = run.ranks.slice(size), step % steps * size
    flips = torch.rand(size, generator=make_generator(seed, "flips", step, device), device=device) < 0.5
    t = run.process.sample_timesteps(size, make_generator(seed, "timesteps", step, device))
    shape = (size, 3, run.config.image_size, run.config.image_size)
    eps = torch.randn(shape, generator=make_generator(seed, "noise", step, device), device=device)
    x = get_batch(images, order[first : first + size][mine], flips[mine], device)
    x, eps = (part.contiguous(memory_format=run.layout) for part in (x, eps[mine]))
    return x, t[mine], eps
