"""A run checks itself: the compiled step against the eager one at the start, the ranks' weights at each epoch's end."""

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mindiffusion.config import TrainConfig
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.gpu import describe
from mindiffusion.runtime.precision import autocast, memory_format, widest
from mindiffusion.runtime.rng import make_generator

TOLERANCE = {"fp32": 1e-3, "bf16": 2e-2}  # relative, of loss and gradient norm
TRIALS = 2  # batches: where one ReLU is decided the other way by rounding, a small batch may differ once, not twice
EAGER_AT_ONCE = 64  # images: the eager step keeps more, and must not need memory that training does not
Losses = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]


def describe_machine(config: TrainConfig, ranks: Ranks) -> str:
    """One line: device, precision, how the step runs, and a warning if the ranks' devices differ."""
    kinds = ranks.all_gather((describe(ranks.device), _multiprocessors(ranks.device)))
    many = f"{ranks.world_size} x " if ranks.world_size > 1 else ""
    how = "compiled, and equal to eager on a random batch" if config.compile else "not compiled"
    line = f"self-check: {many}{kinds[0][0]} computes, {config.precision}, {how}"
    if len(set(kinds)) > 1:
        names = ", ".join(dict.fromkeys(name for name, _ in kinds))
        line += f"; warning: devices of several kinds ({names}): they draw different noise for one seed"
    return line


def _multiprocessors(device: torch.device) -> int:
    """What CUDA's random numbers depend on beside the seed; 0 for a CPU."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 0


# --- compiled against eager -------------------------------------------------------------------------------------------


def compiled_differs(config: TrainConfig, ranks: Ranks, compiled: Losses, eager: Losses, net: nn.Module) -> str:
    """ "" if both give the same loss and the same norm of the gradient of ``net`` on a random batch, up to rounding;
    else by how much they differ. Leaves no gradients."""
    size = config.micro_batch_size or config.global_batch_size // ranks.world_size
    found = []
    for trial in range(TRIALS):
        batch = random_batch(config, ranks.device, net.in_channels, size, trial)
        ours = reading(config, compiled, net, batch, size)
        theirs = reading(config, eager, net, batch, EAGER_AT_ONCE)
        found.append(((ours - theirs).abs() / theirs.abs()).tolist())
        if max(found[-1]) <= TOLERANCE[config.precision]:
            return ""
    loss, norm = min(found, key=max)
    return f"compiled and eager differ by {loss:.2%} in the loss and {norm:.2%} in the gradient norm of {size} images"


def random_batch(
    config: TrainConfig, device: torch.device, channels: int, size: int, trial: int
) -> tuple[Tensor, Tensor, Tensor]:
    """x in [-1, 1] (B, C, S, S), t (B,), eps like x, as a training step gets them."""
    generator = make_generator(config.seed, "self-check", trial)
    shape = (size, channels, config.image_size, config.image_size)
    layout = memory_format(config.precision, device, config.compile)
    x = torch.rand(shape, generator=generator).mul_(2).sub_(1).to(device).contiguous(memory_format=layout)
    t = torch.randint(1, config.n_T + 1, (size,), generator=generator).to(device)
    return x, t, torch.randn(shape, generator=generator).to(device).contiguous(memory_format=layout)


def reading(
    config: TrainConfig, losses: Losses, net: nn.Module, batch: tuple[Tensor, Tensor, Tensor], at_once: int
) -> Tensor:
    """(mean loss, norm of its gradient), float64 (2,) on the device, computed for ``at_once`` images at a time."""
    total = torch.zeros((), dtype=widest(batch[0].device), device=batch[0].device)
    gradient = [torch.zeros_like(parameter) for parameter in net.parameters()]
    for x, t, eps in zip(*(part.split(at_once) for part in batch), strict=True):
        with autocast(config.precision, x.device):
            share = losses(x, t, eps)["loss"] * (len(x) / len(batch[0]))
        torch._foreach_add_(gradient, torch.autograd.grad(share, list(net.parameters())))
        total += share.detach()
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradient)))
    return torch.stack((total, norm.to(total.dtype)))


# --- rank against rank ------------------------------------------------------------------------------------------------


def check_same_settings(ranks: Ranks, config: TrainConfig, fingerprint: dict[str, str | int]) -> None:
    """UserError, on every rank, if the processes were told different things or have different images: each would train
    on its own, and nothing would say so. ``fingerprint``: of the data."""
    everyone = ranks.all_gather({**config.identity(), **{f"data: {key}": value for key, value in fingerprint.items()}})
    for name in dict.fromkeys(name for each in everyone for name in each):
        values = [str(each.get(name, "none")) for each in everyone]
        if len(set(values)) > 1:
            found = ", ".join(f"rank {rank}: {value}" for rank, value in enumerate(values))
            raise UserError(
                f"the processes differ in {name} ({found}). Start all with the same command, on folders with the same "
                "files on every machine."
            )


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
