"""NaiveUnet: the noise-predicting U-Net of minDiffusion (https://github.com/cloneofsimo/minDiffusion).

Parameter names, shapes and function are those of the original, so that weights interchange in both directions.
Shapes in comments are for n = n_feat channels and 32x32 images.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.precision import without_autocast

NORM_GROUPS = 8
SIZE_MULTIPLE = 32  # three 2x poolings and the 4x4 average pooling of the bottleneck


class GroupNorm(nn.GroupNorm):
    """nn.GroupNorm, with a formula that a compiler for CPUs can vectorize.

    Outside a compiled CPU function this is nn.GroupNorm itself.

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


def conv_norm_relu(in_channels: int, out_channels: int) -> list[nn.Module]:
    """A 3x3 convolution that keeps the size, group normalisation, ReLU."""
    return [
        nn.Conv2d(in_channels, out_channels, 3, 1, 1),
        GroupNorm(NORM_GROUPS, out_channels),
        nn.ReLU(),
    ]


class Conv3(nn.Module):
    """Three convolutions; with ``is_res`` the first one's output is added to the last one's and rescaled."""

    def __init__(self, in_channels: int, out_channels: int, is_res: bool = False):
        super().__init__()
        self.main = nn.Sequential(*conv_norm_relu(in_channels, out_channels))
        self.conv = nn.Sequential(
            *conv_norm_relu(out_channels, out_channels), *conv_norm_relu(out_channels, out_channels)
        )
        self.is_res = is_res

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        x = self.main(x)
        if self.is_res:
            return (x + self.conv(x)) / 1.414  # not sqrt(2): the original's constant, kept for equal outputs
        return self.conv(x)


class UnetDown(nn.Module):
    """Conv3, then halve the size."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.model = nn.Sequential(Conv3(in_channels, out_channels), nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H/2, W/2)."""
        return self.model(x)


class UnetUp(nn.Module):
    """Join the skip connection, double the size, two Conv3."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.model = nn.Sequential(
            nn.ConvTranspose2d(in_channels, out_channels, 2, 2),
            Conv3(out_channels, out_channels),
            Conv3(out_channels, out_channels),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Two tensors of ``in`` channels together, (B, *, H, W) -> (B, out, 2H, 2W)."""
        return self.model(torch.cat((x, skip), 1))


class TimeSiren(nn.Module):
    """Time embedding: a linear layer, a sine, a linear layer (after SIREN, Sitzmann et al. 2020, arXiv 2006.09661)."""

    def __init__(self, emb_dim: int):
        super().__init__()
        self.lin1 = nn.Linear(1, emb_dim, bias=False)
        self.lin2 = nn.Linear(emb_dim, emb_dim)

    def forward(self, t: Tensor) -> Tensor:
        """Times in [0, 1] of any shape with B elements -> (B, emb_dim).

        In fp32 under autocast too: bf16 would tell only 506 of 1,000 timesteps apart.
        """
        with without_autocast(t.device):
            return self.lin2(torch.sin(self.lin1(t.reshape(-1, 1))))


class NaiveUnet(nn.Module):
    """Predict the noise in x_t from x_t and t / n_T.

    Args: image channels in and out, and ``n_feat``, the width: 32 gives 714,659 parameters for RGB.
    ``n_feat`` must be a multiple of 8, the number of normalisation groups (UserError otherwise).

    A kind of network of its own is a subclass in a file ``*_unet.py``. What the rest of the program asks of it:
        ``args``: what its constructor wants, plain and saved with its weights; a subclass adds its own to them;
        ``readings()``: columns of metrics.csv; ``training_state()``: what training goes on from, beside the weights;
        ``describe()``: sentences for a model card; ``parametrization``: what the weights answer. Weights of another
        are never taken over.
    """

    parametrization = "noise"

    def __init__(self, in_channels: int, out_channels: int, n_feat: int = 256):
        super().__init__()
        if n_feat < NORM_GROUPS or n_feat % NORM_GROUPS:
            raise UserError(f"n_feat is {n_feat}; it must be a positive multiple of {NORM_GROUPS}.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.n_feat = n_feat
        self.args: dict[str, Any] = {"in_channels": in_channels, "out_channels": out_channels, "n_feat": n_feat}

        self.init_conv = Conv3(in_channels, n_feat, is_res=True)
        self.down1 = UnetDown(n_feat, n_feat)
        self.down2 = UnetDown(n_feat, 2 * n_feat)
        self.down3 = UnetDown(2 * n_feat, 2 * n_feat)
        self.to_vec = nn.Sequential(nn.AvgPool2d(4), nn.ReLU())
        self.timeembed = TimeSiren(2 * n_feat)
        self.up0 = nn.Sequential(
            nn.ConvTranspose2d(2 * n_feat, 2 * n_feat, 4, 4),
            GroupNorm(NORM_GROUPS, 2 * n_feat),
            nn.ReLU(),
        )
        self.up1 = UnetUp(4 * n_feat, 2 * n_feat)
        self.up2 = UnetUp(4 * n_feat, n_feat)
        self.up3 = UnetUp(2 * n_feat, n_feat)
        self.out = nn.Conv2d(2 * n_feat, out_channels, 3, 1, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x_t (B, C_in, H, W) with H and W multiples of 32, t (B,) in [0, 1] -> noise (B, C_out, H, W)."""
        x = self.init_conv(x)  # (B, n, 32, 32)
        down1 = self.down1(x)  # (B, n, 16, 16)
        down2 = self.down2(down1)  # (B, 2n, 8, 8)
        down3 = self.down3(down2)  # (B, 2n, 4, 4)
        temb = self.timeembed(t).to(down3.dtype)[:, :, None, None]  # (B, 2n, 1, 1)
        thro, skip, temb = self.bottleneck(self.to_vec(down3), down3, temb)

        thro = self.up0(thro + temb)  # (B, 2n, 4, 4)
        thro = self.up1(thro, skip) + temb  # (B, 2n, 8, 8)
        thro = self.up2(thro, down2)  # (B, n, 16, 16)
        thro = self.up3(thro, down1)  # (B, n, 32, 32)
        return self.out(torch.cat((thro, x), 1))

    def bottleneck(self, thro: Tensor, skip: Tensor, temb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The pooled features (B, 2n, 1, 1), the d3 skip (B, 2n, 4, 4) and the time embedding (B, 2n, 1, 1), as the
        up path shall see them. Here unchanged; SparseNaiveUnet masks channels of them."""
        return thro, skip, temb

    def readings(self) -> dict[str, float]:
        """{column of metrics.csv: number} of this moment, asked for once a row."""
        return {}

    def training_state(self) -> dict[str, Tensor]:
        """What a resumed run must find again and a state dict does not hold."""
        return {}

    def load_training_state(self, state: dict[str, Tensor]) -> None:
        """Go on from what ``training_state`` returned."""

    def describe(self) -> str:
        """What a model card says of these weights beyond their number; "" for nothing."""
        return ""
