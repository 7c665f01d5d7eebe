"""Exponential moving average of the weights, which samples far better than the weights themselves."""

import copy

import torch
from torch import nn


class Ema:
    """A copy of ``net`` whose parameters trail it: ema += (1 - d) * (p - ema), d = min(decay, (1 + n) / (10 + n)) after
    n updates, so that the first steps are not held back by the initial weights. Buffers, such as a channel mask, are
    copied, never averaged.
    """

    def __init__(self, net: nn.Module, decay: float):
        self.decay = decay
        self.net = copy.deepcopy(net).requires_grad_(False).eval()
        self._pairs = list(self.net.parameters()), list(net.parameters())
        self._buffers = list(zip(self.net.buffers(), net.buffers(), strict=True))

    @torch.no_grad()
    def update(self, num_updates: int) -> None:
        """Follow the network one step, after ``num_updates`` earlier ones."""
        mine, theirs = self._pairs
        decay = min(self.decay, (1 + num_updates) / (10 + num_updates))
        torch._foreach_lerp_(mine, theirs, 1.0 - decay)
        for copied, original in self._buffers:
            copied.copy_(original)
