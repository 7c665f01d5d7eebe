"""The staged training loop that all scripts share."""

from collections.abc import Callable
from functools import partial
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mindiffusion.checkpoints.run_folder import find_start, opened_run
from mindiffusion.config import TrainConfig, flags_of_evaluation
from mindiffusion.data.images import get_batch, load_images
from mindiffusion.ddpm import DDPM
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.files import advice_when_unwritable
from mindiffusion.runtime.rng import derive_seed, make_generator
from mindiffusion.runtime.signals import noted_signals
from mindiffusion.runtime.terminal import command_of
from mindiffusion.stages import Stage
from mindiffusion.training.display import Display
from mindiffusion.training.log import Log
from mindiffusion.training.machine import (
    check_ranks_agree,
    describe_gpus,
    maybe_compile,
    memory_advice,
    memory_explained,
    resolve_auto,
)
from mindiffusion.training.plan import describe_plan
from mindiffusion.training.run import Run
from mindiffusion.training.saver import Saver
from mindiffusion.training.schedule import images_per_pass
from mindiffusion.training.step import Batch, Losses, Step, backward_pass, make_step
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
    per_pass = images_per_pass(config, ranks.world_size)  # refuses a batch that does not divide, before any work
    if config.dry_run:
        if ranks.is_main:
            found = find_start(config)  # refuses what the run would refuse
            print(describe_plan(config, process, per_pass, ranks))
            if found:
                print(f"resume       {found.path}, at step {found.content['next_step']:,} of these")
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
        run = Run(config, ranks, data, net, process, optimizer, found)
        ranks.run_on_all(run.restore)
        advice = memory_advice(run.schedule.batch_size, per_pass, ranks)
        with memory_explained(ranks, advice):
            start_stage(run.schedule.stages[run.first_place[0]])  # what is checked is what trains
            losses = _checked_losses(run, per_pass, penalty, advice)
            hooks = (after_backward and partial(after_backward, ranks.average_), after_step)
            step_function = make_step(losses, optimizer, run.ema, run.config.precision, per_pass, *hooks)
            _train_stages(run, start_stage, step_function)
    _print_end(run)


def _checked_losses(run: Run, per_pass: int, penalty: Callable[[], Tensor] | None, advice: str) -> nn.Module:
    """The losses, compiled where the run wants it and their comparison with the eager ones allows it, and shared by the
    ranks. On a GPU one line says what was found."""
    config, ranks, order = run.config, run.ranks, run.schedule.order(0).to(run.images.device)
    batches = [draw_batch(run, order, step) for step in range(2)]
    losses: nn.Module = Losses(run.process, penalty)
    if config.compile:
        eager = losses
        losses = maybe_compile(eager, config.compile, batches, config.precision, per_pass, ranks, advice)
        if losses is eager:
            run.go_uncompiled()
    if ranks.device.type == "cuda":
        run.print_line(describe_gpus(ranks, config.precision, bool(run.config.compile)))
    if ranks.world_size > 1:
        losses = DistributedDataParallel(losses, broadcast_buffers=False)
        # In its first backward pass it sums the gradients in another order than in all later ones. Of three ranks or
        # more the order shows in the last bits, so the first real step, of a new run as of a resumed one, must not be
        # that one.
        backward_pass(losses, batches[0], config.precision, per_pass)
        run.net.zero_grad(set_to_none=True)
    return losses


def _train_stages(run: Run, start_stage: Callable[[Stage], None], step_function: Step) -> None:
    """The loop over stages, epochs and steps, from the run's next step to the end."""
    ranks, schedule = run.ranks, run.schedule
    log = Log(run)
    saver = Saver(run, log)
    saver.begin()  # --overwrite deletes here, so all that can fail is above
    display = Display(run, log, saver)
    with noted_signals() as stop, log.opened():
        for stage, epochs in groupby(schedule.epochs(run.first_place[1]), key=lambda epoch: epoch.stage):
            start_stage(schedule.stages[stage])
            if run.next_step < schedule.total_steps:  # else there is none to come
                log.announce(stage)
            for epoch in epochs:
                order = schedule.order(epoch.number).to(run.images.device)
                for step in range(max(run.next_step, epoch.steps[0]), epoch.done):
                    seed = derive_seed(schedule.seed, "step", step * ranks.world_size + ranks.rank)
                    torch.manual_seed(seed)  # of dropout, say
                    batch = draw_batch(run, order, step)
                    log.finish_step(step + 1, step_function(batch, step, schedule.lr(step)))
                    saver.finish_step(step + 1, stop)
                check_ranks_agree(ranks, run.net, f"at the end of epoch {epoch.number + 1}")
                saver.finish_epoch(epoch)
                display.finish_epoch(epoch, stop)


def _print_end(run: Run) -> None:
    """Where everything is, and the next command."""
    config = run.config
    contents, checkpoints = config.contents_dir, config.checkpoints_dir
    outcome = "this run was complete already" if run.next_step == run.schedule.total_steps else "done"
    run.print_line(f"{outcome}: grids in {contents}/, checkpoints in {checkpoints}/")
    draw = command_of("sample.py", checkpoints, "-o", f"samples_{config.run_name}.png")
    place = contents.with_name(f"evaluation_{config.run_name}")
    measure = command_of("evaluate.py", checkpoints, *flags_of_evaluation(vars(config)), "--output-dir", place)
    run.print_line(f"next: {draw}, or {measure}")


def draw_batch(run: Run, order: Tensor, step: int) -> Batch:
    """This rank's slice of the global batch of ``step``: images x (B, 3, S, S), timesteps t (B,), noise eps like x.

    Everything is drawn for the global batch, from generators of this step, and then sliced: the same numbers for any
    number of ranks.
    """
    schedule, device = run.schedule, run.ranks.device
    seed, size = schedule.seed, schedule.batch_size
    mine, first = run.ranks.slice(size), step % schedule.steps_per_epoch * size
    flips = torch.rand(size, generator=make_generator(seed, "flips", step, device), device=device) < 0.5
    t = run.process.sample_timesteps(size, make_generator(seed, "timesteps", step, device))
    shape = (size, *run.images.shape[1:])
    eps = torch.randn(shape, generator=make_generator(seed, "noise", step, device), device=device)
    x = get_batch(run.images, order[first : first + size][mine], flips[mine], device)
    x, eps = (part.contiguous(memory_format=run.layout) for part in (x, eps[mine]))
    return x, t[mine], eps
