"""nn.GroupNorm, with a formula that a compiler for CPUs can vectorize."""

import torch
from torch import Tensor, nn


class GroupNorm(nn.GroupNorm):
    """Outside a compiled CPU function this is nn.GroupNorm itself.

    Inductor's gradient of nn.GroupNorm looks up each pixel's group by an integer division, which makes its innermost
    loop scalar: with 32 channels it took a fifth of a training step (bf16, AMD EPYC). Here the pixels only meet numbers
    per channel, y = x * scale_c + shift_c, and groups are summed by a small matrix product, which is not fused in.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape and dtype."""
        if not torch.compiler.is_compiling() or x.device.type != "cpu":
            return super().forward(x)
        channels, per_group = self.num_channels, self.num_channels // self.num_groups
        with torch.autocast("cpu", enabled=False):
            group = torch.arange(channels, device=x.device) // per_group
            same_group = (group[:, None] == group).float() / (per_group * x.shape[2] * x.shape[3])  # (C, C)
            wide = x.float()
            sums = torch.cat((wide.sum((2, 3)), (wide * wide).sum((2, 3))))  # (2B, C)
            mean, square = (sums @ same_group).chunk(2)  # (B, C) each, the same for all channels of a group
            scale = torch.rsqrt((square - mean * mean).clamp(min=0) + self.eps) * self.weight
            shift = self.bias - mean * scale
            return (wide * scale[:, :, None, None] + shift[:, :, None, None]).to(x.dtype)
