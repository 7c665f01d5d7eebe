"""One optimizer step as a plain function of tensors: the same on a CPU and on a GPU."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from mindiffusion.config import TrainConfig
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.precision import autocast
from mindiffusion.training.run import Run
from mindiffusion.training.self_check import random_batch

Step = Callable[[Tensor, Tensor, Tensor, float, float], tuple[Tensor, Tensor, Tensor]]


def make_step(
    config: TrainConfig,
    ranks: Ranks,
    run: Run,
    ddp: nn.Module,
    penalty: Callable[[], Tensor] | None,
    after_backward: Callable[[Callable[[Tensor], Tensor]], None] | None,
    after_step: Callable[[float], None] | None,
) -> Step:
    """The function (x, t, eps, ema_weight, lr) -> (mse, penalty, grad_norm), three scalars on the device, that does
    all of a step: gradient, channel score, Adam, proximal step, moving average. Hooks as in ``train``.

    Nothing in it waits for the device or draws random numbers, and what it changes it changes in place.
    """

    def step(x: Tensor, t: Tensor, eps: Tensor, ema_weight: float, lr: float) -> tuple[Tensor, Tensor, Tensor]:
        mse, reg = backward_pass(config, ranks, ddp, (x, t, eps), penalty)
        if after_backward:
            after_backward(ranks.average_)
        grad_norm = run.optimizer_step(lr)
        if after_step:
            after_step(lr)
        if run.ema:
            run.ema.update(ema_weight)
        return mse, reg, grad_norm

    return step


def forget_gradients(net: nn.Module) -> None:
    """Clear the gradients of the parameters, and of the mask where there is one."""
    net.zero_grad(set_to_none=True)
    if hasattr(net, "mask_probe"):
        net.mask_probe.grad = None


def settle_order(config: TrainConfig, ranks: Ranks, ddp: nn.Module, net: nn.Module) -> None:
    """One backward pass of several ranks that counts for nothing: in its first one DistributedDataParallel sums the
    gradients in another order than in all later ones. Of three ranks or more the order shows in the last bits, so the
    first real step, of a new run as of a resumed one, must not be that first one. Leaves no gradients."""
    if ranks.world_size == 1:
        return
    size = config.micro_batch_size or config.global_batch_size // ranks.world_size
    with autocast(config.precision, ranks.device):
        loss = ddp(*random_batch(config, ranks.device, net.in_channels, size, trial=0))
    loss.backward()
    forget_gradients(net)


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
