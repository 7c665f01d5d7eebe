"""GrowingUnet: a preconditioned NaiveUnet whose inner levels can be trained on images of half the size."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mindiffusion.curriculum_ddpm import CurriculumDDPM
from mindiffusion.ddpm import ddpm_schedules
from mindiffusion.preconditioned_unet import SIGMA_DATA, PreconditionedNaiveUnet
from mindiffusion.unet import Conv3


class GrowingUnet(PreconditionedNaiveUnet):
    """PreconditionedNaiveUnet with a stem and a head of its own for 16x16 images, which enter at down2 and leave after
    up2. While ``coarse`` is set x is such an image: x_t averaged over 2x2 pixels, which have a quarter of the noise's
    variance, and scaled to the variance that x_t would have."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.coarse = False
        state = torch.random.get_rng_state()
        self.stem = Conv3(self.in_channels, self.n_feat, is_res=True)
        self.head = nn.Conv2d(2 * self.n_feat, self.out_channels, 3, 1, 1)
        torch.random.set_rng_state(state)
        a = ddpm_schedules(*self.args["betas"], self.n_T)["alphabar_t"].double()
        a16 = a / (a + (1.0 - a) / 4)
        v16 = SIGMA_DATA**2 * a16 + 1.0 - a16
        self.register_buffer("c_skip16", ((1.0 - a16).sqrt() / v16).float(), persistent=False)
        self.register_buffer("c_out16", (SIGMA_DATA * (a16 / v16).sqrt()).float(), persistent=False)
        self.register_buffer("scale16", (a + (1.0 - a) / 4).rsqrt().float(), persistent=False)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        if not self.coarse:
            return super().forward(x, t)
        step = (t * self.n_T).round().long()
        x = x * self.scale16[step, None, None, None]
        answer = self.inner(x, t).float()
        return self.c_skip16[step, None, None, None] * x + self.c_out16[step, None, None, None] * answer

    def inner(self, x: Tensor, t: Tensor) -> Tensor:
        down1 = self.stem(x)  # (B, n, 16, 16)
        down2 = self.down2(down1)
        down3 = self.down3(down2)
        temb = self.timeembed(t).to(down3.dtype)[:, :, None, None]
        thro = self.up0(self.to_vec(down3) + temb)
        thro = self.up1(thro, down3) + temb
        thro = self.up2(thro, down2)
        return self.head(torch.cat((thro, down1), 1))


class GrowingDDPM(CurriculumDDPM):
    """While the network is ``coarse`` the images and their noise are those of half the size."""

    def losses(self, x: Tensor, t: Tensor, eps: Tensor) -> dict[str, Tensor]:
        if not self.eps_model.coarse:
            return super().losses(x, t, eps)
        eps16 = 2 * functional.avg_pool2d(eps, 2)
        x16 = self.sqrtab[t, None, None, None] * functional.avg_pool2d(x, 2)
        x16 = x16 + self.sqrtmab[t, None, None, None] * eps16 / 2
        eps_hat = self.eps_model(x16, t / self.n_T).float()
        loss = self.loss(eps16, eps_hat, t)
        return {"loss": loss, "mse": loss.detach()}
