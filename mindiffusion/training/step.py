"""One optimizer step as a plain function of tensors: the same on a CPU and on a GPU."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from mindiffusion.ddpm import DDPM
from mindiffusion.runtime.precision import autocast
from mindiffusion.training.ema import Ema

Batch = tuple[Tensor, Tensor, Tensor]  # images x, timesteps t, noise eps
Step = Callable[[Batch, int, float], dict[str, Tensor]]


class Losses(nn.Module):
    """All that is summed to the loss of a step, as a module, which DistributedDataParallel and torch.compile take: the
    losses of a process, and ``penalty()``, if there is one."""

    def __init__(self, process: DDPM, penalty: Callable[[], Tensor] | None = None):
        super().__init__()
        self.process = process
        self.penalty = penalty

    def forward(self, x: Tensor, t: Tensor, eps: Tensor, last: bool = True) -> dict[str, Tensor]:
        """As ``DDPM.losses``, and "penalty" in the ``last`` forward pass of a step."""
        measured = self.process.losses(x, t, eps)
        return {**measured, "penalty": self.penalty()} if self.penalty and last else measured


def make_step(
    losses: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Ema | None,
    precision: str,
    per_pass: int,
    after_backward: Callable[[], None] | None = None,
    after_step: Callable[[float], None] | None = None,
) -> Step:
    """The function (batch, index, lr) -> {"loss", "mse", "penalty", "grad_norm", ...} that does all of step
    number ``index``, from 0: gradient, optimizer, moving average, and the hooks of ``train``. What it returns are
    scalars on the device.

    Nothing in it waits for the device or draws random numbers, and what it changes it changes in place.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def step(batch: Batch, index: int, lr: float) -> dict[str, Tensor]:
        measured = backward_pass(losses, batch, precision, per_pass)
        if after_backward:
            after_backward()
        measured["grad_norm"] = gradient_norm(parameters)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if after_step:
            after_step(lr)
        if average:
            average.update(index)
        return measured

    return step


def backward_pass(losses: nn.Module, batch: Batch, precision: str, per_pass: int) -> dict[str, Tensor]:
    """Leave the gradient of mean loss + penalty in the parameters, averaged over ranks by DistributedDataParallel, if
    ``losses`` is one. Returns the losses of this batch, "loss" with the penalty, and "penalty". It goes through the
    network ``per_pass`` images at a time: equal parts, so that the mean of their means is the mean."""
    passes = list(zip(*(part.split(per_pass) for part in batch), strict=True))
    sums: dict[str, Tensor] = {}
    reg = torch.zeros((), device=batch[0].device)
    for index, (x, t, eps) in enumerate(passes):
        last = index == len(passes) - 1
        with nullcontext() if last else getattr(losses, "no_sync", nullcontext)():
            with autocast(precision, x.device):
                measured = losses(x, t, eps, last)
            loss = measured["loss"] / len(passes)
            if "penalty" in measured:
                reg = measured.pop("penalty")
                loss = loss + reg
            loss.backward()
        sums = {name: sums.get(name, 0.0) + value.detach() for name, value in measured.items()}
    means = {name: value / len(passes) for name, value in sums.items()}
    return {**means, "loss": means["loss"] + reg.detach(), "penalty": reg.detach()}


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor:
    """L2 norm of the whole gradient, a scalar on the device."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
