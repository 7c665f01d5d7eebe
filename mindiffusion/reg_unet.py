"""RegNaiveUnet (CR): Group L1 (group lasso, Yuan and Lin 2006) on the output channels of all convolutions."""

import math

import torch
from torch import Tensor, nn

from mindiffusion.runtime.errors import UserError
from mindiffusion.unet import NaiveUnet

PENALTY_METHODS = ("loss", "proximal")


def lambda_schedule(lambda_max: float, num_stages: int) -> list[float]:
    """lambda of each stage: lambda_max * (1 + cos(pi * i / (num_stages - 1))) / 2, from lambda_max down to 0.

    5e-5 over 5 stages: 5e-5, 4.27e-5, 2.5e-5, 7.3e-6, 0. A single stage gets 0, the end of the schedule.
    """
    if lambda_max < 0 or num_stages < 1:
        raise UserError(f"lambda_max is {lambda_max} and num_stages {num_stages}; need at least 0 and 1.")
    if num_stages == 1:
        return [0.0]
    cosines = [math.cos(math.pi * i / (num_stages - 1)) for i in range(num_stages)]
    return [lambda_max * 0.5 * (1.0 + cosine) for cosine in cosines]


class RegNaiveUnet(NaiveUnet):
    """NaiveUnet that knows the group norms of its convolutions. The forward pass is NaiveUnet's.

    One group is all weights that make one output channel of one Conv2d or ConvTranspose2d; biases are left alone.
    A weakness to know of: a convolution followed by GroupNorm can shrink all the filters of a normalisation group
    together at no change of function, so a falling penalty need not mean that channels are given up.

    ``lam`` is the weight in force, which ``set_lam`` sets at each stage. ``method`` says how it acts: "loss" adds the
    penalty to the loss (Adam then rescales its gradient with the rest); "proximal" shrinks the groups after each
    optimizer step instead.
    """

    lam_now: Tensor

    def __init__(self, in_channels: int, out_channels: int, n_feat: int = 256, method: str = "loss"):
        super().__init__(in_channels, out_channels, n_feat)
        if method not in PENALTY_METHODS:
            raise UserError(f"penalty method is {method!r}; choose one of {', '.join(PENALTY_METHODS)}.")
        self.method = method
        self.args |= {"method": method}
        self.lam = 0.0
        self.register_buffer("lam_now", torch.zeros(()), persistent=False)  # the same, for a compiled step

    def set_lam(self, lam: float) -> None:
        """Put the weight ``lam`` into force."""
        self.lam = lam
        self.lam_now.fill_(lam)  # in place: a compiled step reads it

    def get_conv_layers(self) -> list[tuple[str, nn.Module, int]]:
        """(name, layer, axis of its OUTPUT channels) of every convolution. ConvTranspose2d stores its weight as
        (in, out, kh, kw), so there the axis is 1."""
        return [
            (name, layer, 1 if isinstance(layer, nn.ConvTranspose2d) else 0)
            for name, layer in self.named_modules()
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        ]

    def channel_norms(self) -> dict[str, Tensor]:
        """||W_c||_2 per layer, each (out_channels,)."""
        return {name: _group_norms(layer.weight, axis).flatten() for name, layer, axis in self.get_conv_layers()}

    def get_group_l1_penalty(self, lam: float | Tensor) -> Tensor:
        """lam * sum over layers and output channels of ||W_c||_2, a scalar."""
        return lam * torch.cat([norms.flatten() for _, norms in self._norms_by_shape()]).sum()

    def penalty(self) -> Tensor:
        """The penalty at the lambda in force, a scalar; without gradient for method "proximal", where it is only a
        reading. Free at lambda 0, but in a compiled step, which is made once for all lambdas."""
        if not torch.compiler.is_compiling() and not self.lam:
            return torch.zeros_like(self.lam_now)
        with torch.set_grad_enabled(self.method == "loss"):
            return self.get_group_l1_penalty(self.lam_now)

    def after_step(self, lr: float) -> None:
        """Call after each optimizer step of learning rate ``lr``: the proximal step, if that is the method."""
        if self.method == "proximal" and self.lam:
            self.proximal_step(lr * self.lam)

    @torch.no_grad()
    def proximal_step(self, threshold: float) -> None:
        """W_c *= max(0, 1 - threshold / ||W_c||_2), in place: the proximal operator of threshold * Group L1 (Parikh and
        Boyd 2014, section 6.5.4). With threshold = lr * lam, after the optimizer's step, it replaces the penalty in
        the loss; groups below the threshold become exact zeros, which Adam's rescaled penalty never gives."""
        if threshold == 0:
            return  # 0 / 0 would make a group of zeros no number
        found = self._norms_by_shape()
        flat = torch.cat([norms.flatten() for _, norms in found])
        # A group of zeros stays zeros: 1 - threshold / 0 = -inf, clamped to 0.
        factors = (1.0 - threshold / flat).clamp_(min=0.0).split([norms.numel() for _, norms in found])
        shrunk, by = [], []
        for (weights, norms), factor in zip(found, factors, strict=True):
            shrunk += weights
            by += factor.view_as(norms).unbind()
        torch._foreach_mul_(shrunk, by)

    def _norms_by_shape(self) -> list[tuple[list[Tensor], Tensor]]:
        """(weights, their group norms), the weights of one shape together, which takes a third of the kernels. The
        norms are stacked, and broadcast against the stacked weights."""
        alike: dict[tuple, list[Tensor]] = {}
        for _, layer, axis in self.get_conv_layers():
            alike.setdefault((axis, layer.weight.shape), []).append(layer.weight)
        return [(weights, _group_norms(torch.stack(weights), axis + 1, 0)) for (axis, _), weights in alike.items()]


def _group_norms(weight: Tensor, *axes: int) -> Tensor:
    """L2 norm over all axes but ``axes``, kept as axes of length 1 to broadcast against ``weight``."""
    others = [i for i in range(weight.dim()) if i not in axes]
    return torch.linalg.vector_norm(weight, dim=others, keepdim=True)
