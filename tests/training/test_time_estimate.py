"""What --dry-run says about time: the processor's time counts, and what it assumes is said."""

import time
from types import SimpleNamespace

import torch

from mindiffusion.runtime.distributed import Ranks
from mindiffusion.training import plan
from mindiffusion.unet import NaiveUnet

CONFIG = SimpleNamespace(
    precision="fp32", compile=None, micro_batch_size=None, global_batch_size=256, betas=(1e-4, 0.02), n_T=1000,
    image_size=32, num_samples=0,
)  # fmt: skip


class Waiting(NaiveUnet):
    """A network that other work on the machine keeps waiting."""

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        time.sleep(1.0)
        return super().forward(x, t)


def test_other_work_on_the_machine_does_not_change_the_estimate():
    began = time.monotonic()
    speed = plan.images_per_second(CONFIG, Waiting(3, 3, 8), Ranks())
    images = plan.STEPS * plan.IMAGES
    assert time.monotonic() - began > plan.STEPS and speed > 2 * images / plan.STEPS
