"""What a run makes of its machine: precision and compiling decided; the compiled step compared with the eager one, and
the weights of the ranks with each other; a lack of memory explained. None of it changes the mathematics."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch._functorch import config as gradient_code

from mindiffusion.config import COMPILE_MODES, TrainConfig
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError, first_line, is_out_of_memory
from mindiffusion.runtime.gpu import describe
from mindiffusion.runtime.precision import autocast, keep_compiled_code, memory_format, resolve_precision, widest
from mindiffusion.runtime.rng import make_generator
from mindiffusion.training.schedule import images_per_pass
from mindiffusion.training.step import Batch

# A run on a CPU is long from so many images on, counted as 32x32 images at n_feat 32: about a quarter of an hour on two
# cores. Compiling takes one to two minutes and pays only then.
LONG_RUN = 100_000
GOOD, BAD, NO_MEMORY = range(3)  # outcomes of compiling; of several ranks the worst counts
TOLERANCE = {"fp32": 1e-3, "bf16": 2e-2}  # relative, of loss and gradient norm
TRIALS = 2  # batches: where one ReLU is decided the other way by rounding, a small batch may differ once, not twice
EAGER_AT_ONCE = 64  # images: the eager step keeps more, and must not need memory that training does not
Losses = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]


def resolve_auto(config: TrainConfig, num_images: int, device: torch.device) -> TrainConfig:
    """``config`` with ``precision`` and ``compile`` decided, for training on ``num_images`` images.

    On a GPU: bf16 if it has it, and compiled. On a CPU: a long run (LONG_RUN) is compiled, in bf16 if the CPU has
    instructions for it; a short one is neither, nor is one on an Apple GPU. What the user asked for stays. UserError as
    in resolve_precision.
    """
    per_epoch = config.images_per_epoch or num_images
    size = per_epoch * config.total_epochs * (config.n_feat / 32) ** 2 * (config.image_size / 32) ** 2
    pays = device.type == "cuda" or (device.type == "cpu" and size >= LONG_RUN)
    return replace(
        config,
        precision=resolve_precision(config.precision, device, pays),
        compile=(COMPILE_MODES[0] if pays else "") if config.compile is None else config.compile,
    )


def describe_machine(config: TrainConfig, ranks: Ranks) -> str:
    """One line: device, precision, how the step runs, and a warning if the ranks' devices differ."""
    device = ranks.device
    # What CUDA's random numbers depend on beside the seed.
    parts = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 0
    kinds = ranks.all_gather((describe(device), parts))
    many = f"{ranks.world_size} x " if ranks.world_size > 1 else ""
    how = "compiled, and equal to eager on a random batch" if config.compile else "not compiled"
    line = f"self-check: {many}{kinds[0][0]} computes, {config.precision}, {how}"
    if len(set(kinds)) > 1:
        names = ", ".join(dict.fromkeys(name for name, _ in kinds))
        line += f"; warning: devices of several kinds ({names}): they draw different noise for one seed"
    return line


# --- compiled, and compared with eager --------------------------------------------------------------------------------


def maybe_compile(config: TrainConfig, losses: nn.Module, net: nn.Module, ranks: Ranks) -> nn.Module:
    """``losses``, those of ``net``, compiled as one function and compared with itself on a random batch; itself
    if ``config.compile`` is off, compiling is impossible or the two differ, which is said in one line.

    The compiled module shares its parameters with ``net``. The trial leaves no gradients. All ranks decide alike.
    UserError if a batch does not fit into the memory: without compiling it would need more.
    """
    if not config.compile:
        return losses
    folder = keep_compiled_code()
    if ranks.is_main:
        print(f"compiling the step (one to two minutes; kept in {folder}) ...", file=sys.stderr, flush=True)
    verdict, reason, compiled = GOOD, "", losses
    try:
        # False: a gradient computes ReLU's masks again. Inductor's code for CPUs stores them number by number, which
        # took a sixth of a step. It is PyTorch's own setting, which another version may not have.
        if hasattr(gradient_code, "ban_recompute_used_far_apart"):
            gradient_code.ban_recompute_used_far_apart = ranks.device.type != "cpu"
        compiled = torch.compile(losses, dynamic=False, mode=config.compile)
        with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
            reason = _difference(config, ranks, compiled, losses, net)
        verdict = BAD if reason else GOOD
    except Exception as error:  # no C++ compiler, no Triton, an unsupported device: each fails in its own way
        verdict = NO_MEMORY if is_out_of_memory(error) else BAD
        reason = f"cannot compile here: {first_line(error)}"
    worst = ranks.all_reduce_max(verdict, patient=True)
    if worst == NO_MEMORY:
        raise UserError(memory_advice(config, ranks))
    if worst == GOOD:
        return compiled
    if ranks.is_main:
        print(f"going on uncompiled: {reason or 'another rank cannot use its compiled step'}", file=sys.stderr)
    torch._dynamo.reset()
    return losses


def _difference(config: TrainConfig, ranks: Ranks, compiled: Losses, eager: Losses, net: nn.Module) -> str:
    """ "" if both give the same loss and the same norm of the gradient of ``net`` on a random batch, up to rounding;
    else by how much they differ."""
    found = []
    for trial in range(TRIALS):
        batch = _random_batch(config, ranks, net, trial)
        size = len(batch[0])
        ours = _loss_and_norm(config.precision, compiled, net, batch, size)
        theirs = _loss_and_norm(config.precision, eager, net, batch, EAGER_AT_ONCE)
        found.append(((ours - theirs).abs() / theirs.abs()).tolist())
        if max(found[-1]) <= TOLERANCE[config.precision]:
            return ""
    loss, norm = min(found, key=max)
    return f"compiled and eager differ by {loss:.2%} in the loss and {norm:.2%} in the gradient norm of {size} images"


def _random_batch(config: TrainConfig, ranks: Ranks, net: nn.Module, trial: int) -> Batch:
    """x in [-1, 1] (B, C, S, S), t (B,), eps like x, as a forward pass of training gets them."""
    generator, size = make_generator(config.seed, "self-check", trial), images_per_pass(config, ranks.world_size)
    shape = (size, net.in_channels, config.image_size, config.image_size)
    layout = memory_format(config.precision, ranks.device, config.compile)
    x = torch.rand(shape, generator=generator).mul_(2).sub_(1)
    t = torch.randint(1, config.n_T + 1, (size,), generator=generator).to(ranks.device)
    eps = torch.randn(shape, generator=generator)
    x, eps = (part.to(ranks.device).contiguous(memory_format=layout) for part in (x, eps))
    return x, t, eps


def _loss_and_norm(precision: str, losses: Losses, net: nn.Module, batch: Batch, at_once: int) -> Tensor:
    """(mean loss, norm of its gradient), float64 (2,) on the device, computed for ``at_once`` images at a time. Leaves
    no gradients."""
    total = torch.zeros((), dtype=widest(batch[0].device), device=batch[0].device)
    gradient = [torch.zeros_like(parameter) for parameter in net.parameters()]
    for x, t, eps in zip(*(part.split(at_once) for part in batch), strict=True):
        with autocast(precision, x.device):
            measured = losses(x, t, eps)
            share = (measured["loss"] + measured.get("penalty", 0.0)) * (len(x) / len(batch[0]))
        torch._foreach_add_(gradient, torch.autograd.grad(share, list(net.parameters())))
        total += share.detach()
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradient)))
    return torch.stack((total, norm.to(total.dtype)))


def warm_up_ddp(config: TrainConfig, ranks: Ranks, ddp: nn.Module, net: nn.Module) -> None:
    """One backward pass of several ranks that counts for nothing: in its first one DistributedDataParallel sums the
    gradients in another order than in all later ones. Of three ranks or more the order shows in the last bits, so the
    first real step, of a new run as of a resumed one, must not be that first one. Leaves no gradients."""
    if ranks.world_size == 1:
        return
    with autocast(config.precision, ranks.device):
        loss = ddp(*_random_batch(config, ranks, net, trial=0))["loss"]
    loss.backward()
    net.zero_grad(set_to_none=True)


# --- rank against rank ------------------------------------------------------------------------------------------------


def check_ranks_agree(ranks: Ranks, net: nn.Module, where: str) -> None:
    """UserError, on every rank, naming the ranks whose weights are not those of the others, bit for bit. With two ranks
    rank 0 counts as right. ``where`` says when, for the message."""
    if ranks.world_size == 1:
        return
    sums = [tuple(each) for each in ranks.all_gather(checksum(net).tolist())]
    common, count = Counter(sums).most_common(1)[0]
    right = common if count > 1 else sums[0]
    wrong = [str(rank) for rank, each in enumerate(sums) if each != right]
    if wrong:
        raise UserError(
            f"{where}, the weights of rank {', '.join(wrong)} are not those of the other ranks: a GPU or a link "
            "computes wrongly, or the ranks run different versions. This epoch's end is not saved. Look into that "
            "machine, then go on with --resume, which takes the last checkpoint."
        )


def checksum(net: nn.Module) -> Tensor:
    """A number for the weights and one for the buffers of ``net``, int64 (2,) on its device: sums of their bits, each
    position with a weight of its own, modulo 2^64."""
    sums = []
    for group in (net.parameters(), net.buffers()):
        total = torch.zeros((), dtype=torch.int64, device=next(net.parameters()).device)
        for index, value in enumerate(group):
            bits = value.detach().reshape(-1).view(torch.uint8).to(torch.int64)
            places = torch.arange(len(bits), device=bits.device) + 1
            total += (bits * places).sum() * (index + 1)
        sums.append(total)
    return torch.stack(sums)


# --- memory -----------------------------------------------------------------------------------------------------------


def memory_advice(config: TrainConfig, ranks: Ranks) -> str:
    """What to do when a training step does not fit into the memory."""
    share, per_pass = config.global_batch_size // ranks.world_size, images_per_pass(config, ranks.world_size)
    smaller = max((size for size in range(1, per_pass // 2 + 1) if share % size == 0), default=0)
    text = f"out of memory: a step of {per_pass} images per forward pass does not fit on {describe(ranks.device)}."
    if smaller:
        return f"{text} Use --micro-batch-size {smaller}: the same result in about half of the memory."
    return f"{text} Lower --n-feat or --image-size, or use a device with more memory."


class OutOfMemory(RuntimeError):
    """A lack of memory, explained, that other ranks may not have met."""


@contextmanager
def memory_explained(config: TrainConfig, ranks: Ranks, advice: str = "") -> Iterator[None]:
    """Turn a lack of memory within the block into ``advice``, or that for a training step: a UserError, or OutOfMemory
    where there are other ranks."""
    try:
        yield
    except OutOfMemory:
        raise
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        kind = UserError if ranks.world_size == 1 else OutOfMemory
        raise kind(advice or memory_advice(config, ranks)) from error
