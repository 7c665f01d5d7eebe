"""What makes a step fast on this machine: compiling it, and the layout of its tensors. The mathematics stay."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from mindiffusion.config import COMPILE_MODES, TrainConfig
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError, first_line, is_out_of_memory
from mindiffusion.runtime.gpu import describe
from mindiffusion.runtime.precision import keep_compiled_code, memory_format, resolve_precision
from mindiffusion.training.self_check import compiled_differs

# A run on a CPU is long from so many images on, counted as 32x32 images at n_feat 32: about a quarter of an hour on two
# cores. Compiling takes one to two minutes and pays only then.
LONG_RUN = 100_000
GOOD, BAD, NO_MEMORY = range(3)  # outcomes of compiling; of several ranks the worst counts


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


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Go on from ``state``, which may have been saved on another kind of device. Its options stay its own."""
    saved, own = state["param_groups"], optimizer.state_dict()["param_groups"]
    groups = [{**mine, "params": theirs["params"]} for theirs, mine in zip(saved, own, strict=True)]
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
    for parameter in (each for group in optimizer.param_groups for each in group["params"]):
        for moment in optimizer.state.get(parameter, {}).values():
            if isinstance(moment, Tensor) and moment.dim() and moment.shape != parameter.shape:
                raise ValueError("a moment of the optimizer has not the shape of its weight")
    lay_out_moments(optimizer)


def lay_out_moments(optimizer: torch.optim.Optimizer) -> None:
    """Give every moment the strides of its parameter. Fused Adam walks through both in step and does not look: on a CPU
    other strides give wrong updates without a word, on a GPU an error."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def lay_out(net: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer, config: TrainConfig) -> None:
    """Bring the weights, their average and the moments into the layout that ``config`` wants, in place."""
    device = next(net.parameters()).device
    layout = memory_format(config.precision, device, config.compile)
    for each in filter(None, (net, average)):
        each.to(memory_format=layout)
    lay_out_moments(optimizer)


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
        compiled = torch.compile(losses, dynamic=False, mode=config.compile)
        with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
            reason = compiled_differs(config, ranks, compiled, losses, net)
        verdict = BAD if reason else GOOD
    except Exception as error:  # no C++ compiler, no Triton, an unsupported device: each fails in its own way
        verdict = NO_MEMORY if is_out_of_memory(error) else BAD
        reason = f"cannot compile here: {first_line(error)}"
    together = ranks.all_reduce_max(verdict, patient=True)
    if together == NO_MEMORY:
        raise UserError(memory_advice(config, ranks))
    if together == GOOD:
        return compiled
    if ranks.is_main:
        print(f"going on uncompiled: {reason or 'another rank cannot use its compiled step'}", file=sys.stderr)
    torch._dynamo.reset()
    return losses


def memory_advice(config: TrainConfig, ranks: Ranks) -> str:
    """What to do when a training step does not fit into the memory."""
    share = config.global_batch_size // ranks.world_size
    per_pass = config.micro_batch_size or share
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
