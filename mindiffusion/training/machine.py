"""What a run makes of its machine: precision and compiling decided; the compiled step compared with the eager one, and
the weights of the ranks with each other; a lack of memory explained. None of it changes the mathematics."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch._functorch import config as gradient_code

from mindiffusion.checkpoints.weights import weights_digest
from mindiffusion.config import COMPILE_MODES, TrainConfig
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError, first_line, is_out_of_memory
from mindiffusion.runtime.gpu import describe
from mindiffusion.runtime.precision import keep_compiled_code, resolve_precision, set_backend_flags
from mindiffusion.training.step import Batch, Losses, backward_pass, gradient_norm
from mindiffusion.unet import NaiveUnet

# A run on a CPU is long from so many images on, counted as 32x32 images at n_feat 32: about a quarter of an hour on two
# cores. Compiling takes one to two minutes and pays only then.
LONG_RUN = 100_000
TOLERANCE = {"fp32": 1e-3, "bf16": 2e-2}  # relative, of loss and gradient norm
EAGER_AT_ONCE = 64  # images: the eager step keeps more, and must not need memory that training does not


def resolve_auto(config: TrainConfig, num_images: int, device: torch.device) -> TrainConfig:
    """``config`` with ``precision`` and ``compile`` decided, for training on ``num_images`` images, and PyTorch set to
    that precision.

    On a GPU: bf16 if it has it, and compiled. On a CPU: a long run (LONG_RUN) is compiled, in bf16 if the CPU has
    instructions for it; a short one is neither, nor is one on an Apple GPU. What the user asked for stays. UserError as
    in resolve_precision.
    """
    per_epoch = config.images_per_epoch or num_images
    size = per_epoch * config.total_epochs * (config.n_feat / 32) ** 2 * (config.image_size / 32) ** 2
    pays = device.type == "cuda" or (device.type == "cpu" and size >= LONG_RUN)
    precision = resolve_precision(config.precision, device, pays)
    set_backend_flags(precision, device)
    mode = (COMPILE_MODES[0] if pays else "") if config.compile is None else config.compile
    return replace(config, precision=precision, compile=mode)


def describe_gpus(ranks: Ranks, precision: str, compiled: bool) -> str:
    """One line: devices, precision, how the step runs, and a warning if the ranks' devices differ."""
    # What CUDA's random numbers depend on beside the seed.
    parts = torch.cuda.get_device_properties(ranks.device).multi_processor_count
    kinds = ranks.all_gather((describe(ranks.device), parts))
    many = f"{ranks.world_size} x " if ranks.world_size > 1 else ""
    how = "compiled, and equal to eager on a batch" if compiled else "not compiled"
    line = f"self-check: {many}{kinds[0][0]} computes, {precision}, {how}"
    if len(set(kinds)) > 1:
        names = ", ".join(dict.fromkeys(name for name, _ in kinds))
        line += f"; warning: devices of several kinds ({names}): they draw different noise for one seed"
    return line


# --- compiled, and compared with eager --------------------------------------------------------------------------------


def maybe_compile(
    losses: Losses, mode: str, batches: list[Batch], precision: str, per_pass: int, ranks: Ranks, advice: str
) -> nn.Module:
    """``losses`` compiled as one function and compared with itself on ``batches``, ``per_pass`` images at a time;
    itself if compiling is impossible or the two differ, which is said in one line.

    The compiled module shares its parameters with ``losses``. The trial leaves no gradients. All ranks decide alike.
    UserError with ``advice`` if a batch does not fit into the memory: without compiling it would need more.
    """
    folder = keep_compiled_code()
    if ranks.is_main:
        print(f"compiling the step (one to two minutes; kept in {folder}) ...", file=sys.stderr, flush=True)

    def trial() -> tuple[nn.Module, str]:
        try:
            # False: a gradient computes ReLU's masks again. Inductor's code for CPUs stores them number by number,
            # which took a sixth of a step. It is PyTorch's own setting, which another version may not have.
            if hasattr(gradient_code, "ban_recompute_used_far_apart"):
                gradient_code.ban_recompute_used_far_apart = ranks.device.type != "cpu"
            compiled = torch.compile(losses, dynamic=False, mode=mode)
            with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
                return compiled, _difference(compiled, losses, batches, precision, per_pass)
        except Exception as error:  # no C++ compiler, no Triton, an unsupported device: each fails in its own way
            if is_out_of_memory(error):
                raise UserError(advice) from error
            return losses, f"cannot compile here: {first_line(error)}"

    compiled, reason = ranks.run_on_all(trial)
    reasons = [each for each in ranks.all_gather(reason) if each]
    if not reasons:
        return compiled
    if ranks.is_main:
        print(f"going on uncompiled: {reasons[0]}", file=sys.stderr)
    torch._dynamo.reset()
    return losses


def _difference(compiled: nn.Module, eager: Losses, batches: list[Batch], precision: str, per_pass: int) -> str:
    """ "" if both give the same loss and the same norm of its gradient on one of the batches, up to rounding; else by
    how much they differ. (Where rounding decides one ReLU the other way, a small batch may differ once, not twice.)"""
    at_once = max(size for size in range(1, min(per_pass, EAGER_AT_ONCE) + 1) if per_pass % size == 0)
    found = []
    for batch in batches:
        ours = _loss_and_norm(compiled, eager.process.eps_model, batch, precision, per_pass)
        theirs = _loss_and_norm(eager, eager.process.eps_model, batch, precision, at_once)
        found.append(((ours - theirs).abs() / theirs.abs()).tolist())
        if all(each <= TOLERANCE[precision] for each in found[-1]):
            return ""
    loss, norm = min(found, key=max)
    size = len(batches[0][0])
    return f"compiled and eager differ by {loss:.2%} in the loss and {norm:.2%} in the gradient norm of {size} images"


def _loss_and_norm(losses: nn.Module, net: nn.Module, batch: Batch, precision: str, per_pass: int) -> Tensor:
    """(loss, norm of its gradient), (2,) on the device. Leaves no gradients in ``net``."""
    try:
        loss = backward_pass(losses, batch, precision, per_pass)["loss"]
        return torch.stack((loss, gradient_norm(net.parameters())))
    finally:
        net.zero_grad(set_to_none=True)


# --- rank against rank ------------------------------------------------------------------------------------------------


def check_ranks_agree(ranks: Ranks, net: NaiveUnet, where: str) -> None:
    """UserError, on every rank, naming the ranks whose weights are not those of the others, bit for bit. With two ranks
    rank 0 counts as right. ``where`` says when, for the message."""
    if ranks.world_size == 1:
        return
    digests = ranks.all_gather(weights_digest({**net.state_dict(), **net.training_state()}))
    common, count = Counter(digests).most_common(1)[0]
    right = common if count > 1 else digests[0]
    wrong = [str(rank) for rank, digest in enumerate(digests) if digest != right]
    if wrong:
        raise UserError(
            f"{where}, the weights of rank {', '.join(wrong)} are not those of the other ranks: a GPU or a link "
            "computes wrongly, or the ranks run different versions. This epoch's end is not saved. Look into that "
            "machine, then go on with --resume, which takes the last checkpoint."
        )


# --- memory -----------------------------------------------------------------------------------------------------------


def memory_advice(batch_size: int, per_pass: int, ranks: Ranks) -> str:
    """What to do when a training step, or a grid of samples, does not fit into the memory."""
    share = batch_size // ranks.world_size
    smaller = max((size for size in range(1, per_pass // 2 + 1) if share % size == 0), default=0)
    text = f"out of memory: a step of {per_pass} images per forward pass does not fit on {describe(ranks.device)}."
    if smaller:
        text += f" Use --micro-batch-size {smaller}: the same result in about half of the memory."
    else:
        text += " Lower --n-feat or --image-size, or use a device with more memory."
    return f"{text} If it was a sample grid that did not fit, lower --num-samples (0 = no grids)."


@contextmanager
def memory_explained(ranks: Ranks, advice: str) -> Iterator[None]:
    """Turn a lack of memory within the block into ``advice``: a UserError, or a RuntimeError where there are other
    ranks, which may not have met it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        kind = UserError if ranks.world_size == 1 else RuntimeError
        raise kind(advice) from error
