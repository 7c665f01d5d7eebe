"""Experts: a network for high noise and one for low noise, of one curriculum's run (after eDiff-I, Balaji et al. 2022,
arXiv 2211.01324). A curriculum's stage ends leave networks that are better at their noise levels than the last one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mindiffusion.runtime.errors import UserError
from mindiffusion.unet import NaiveUnet

Denoiser = Callable[[Tensor, Tensor], Tensor]


class ByTime:
    """Two functions (x, t) -> noise that share the noise levels: ``high`` answers where t >= ``border``, ``low``
    elsewhere."""

    def __init__(self, border: float, high: Denoiser, low: Denoiser):
        self.border = border - 1e-6  # t arrives as float32
        self.high, self.low = high, low

    def at(self, t: float) -> Denoiser:
        """The one that answers for a whole batch at time ``t``. Samplers ask so: a plain number needs no device."""
        return self.high if t >= self.border else self.low

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """x_t (B, C, H, W), t (B,) in [0, 1] -> noise like x. Waits for the device, to learn who is asked."""
        above = t.double() >= self.border
        if above.all() or not above.any():
            return (self.high if above[0] else self.low)(x, t)
        answer = torch.empty_like(x)
        for net, mine in ((self.high, above), (self.low, ~above)):
            answer[mine] = net(x[mine], t[mine]).to(x.dtype)  # bf16 under autocast
        return answer


class ExpertNaiveUnet(nn.Module):
    """Two NaiveUnets that share the noise levels: ``high`` answers where t >= ``border``, ``low`` elsewhere.

    Args as NaiveUnet's, and ``border`` in (0, 1), a fraction of n_T. It costs the memory of two networks and, as a
    sampler's batch is at one timestep, the time of one. The buffer ``border`` stays on the CPU, whatever ``to`` says.
    """

    def __init__(self, in_channels: int, out_channels: int, n_feat: int = 256, border: float = 0.5):
        super().__init__()
        _check_border(border)
        self.high = NaiveUnet(in_channels, out_channels, n_feat)
        self.low = NaiveUnet(in_channels, out_channels, n_feat)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.n_feat = n_feat
        self.register_buffer("border", torch.tensor(border, dtype=torch.float64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ExpertNaiveUnet":
        border = self.border
        super()._apply(fn, recurse)
        self.border = border  # to read it must not mean to wait for a GPU
        return self

    def by_time(self) -> ByTime:
        """The two networks, to be chosen from by a plain number."""
        return ByTime(float(self.border), self.high, self.low)

    def at(self, t: float) -> NaiveUnet:
        """The network that answers for a whole batch at time ``t`` in [0, 1]."""
        return self.by_time().at(t)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x_t (B, C_in, H, W), t (B,) in [0, 1] -> noise (B, C_out, H, W)."""
        return self.by_time()(x, t)


def join(low: dict[str, Any], high: dict[str, Any], border: float) -> dict[str, Any]:
    """What to hand to ``checkpoint.save_checkpoint``: the networks of two checkpoints of one run as one to sample from.

    UserError if ``border`` is not a fraction, if a network is not a NaiveUnet, or if the two do not fit together.
    """
    _check_border(border)
    for checkpoint in (low, high):
        if checkpoint["network"] != "NaiveUnet":
            raise UserError(f"experts are NaiveUnets; this checkpoint holds a {checkpoint['network']}.")
    same = ("n_feat", "image_size", "betas", "n_T", "crop")
    if differing := [name for name in same if low["config"][name] != high["config"][name]]:
        raise UserError(f"the two checkpoints differ in {', '.join(differing)}: join those of one run.")
    states = {}
    for kind in ("model", "ema"):
        both = {"low": low[kind], "high": high[kind]}
        whole = {f"{part}.{name}": value for part, state in both.items() for name, value in (state or {}).items()}
        states[kind] = whole | {"border": torch.tensor(border, dtype=torch.float64)}
    if low["ema"] is None or high["ema"] is None:
        states["ema"] = None
    content = {name: value for name, value in low.items() if name not in ("format", "format_version", "checksum")}
    return {**content, **states, "network": "ExpertNaiveUnet", "optimizer": {}}


def _check_border(border: float) -> None:
    if not 0.0 < border < 1.0:
        raise UserError(f"the border is {border}; it must be a fraction of n_T between 0 and 1.")
