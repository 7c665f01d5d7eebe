"""bands.csv: the loss per band of timesteps at the end of each epoch, on one fixed batch.

The training loss of a curriculum is taken over the timesteps of its stage, so it jumps at each border and cannot be
compared between variants. This one can: every run of one seed and one data set is asked the same questions.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from mindiffusion.ddpm import DDPM, eval_mode
from mindiffusion.reports.row_file import BANDS, COUNTS, RowFile
from mindiffusion.runtime.rng import make_generator

NUM_BANDS = len(BANDS)
MOST_IMAGES = 64  # a tenth of a sample grid's work


def band_timesteps(num_images: int, n_T: int) -> Tensor:
    """Timesteps (NUM_BANDS, num_images) int64: row i is spread evenly over i < NUM_BANDS * t/n_T <= i + 1."""
    spread = (torch.arange(num_images, dtype=torch.float64) + 0.5) / num_images
    t = (torch.arange(NUM_BANDS, dtype=torch.float64)[:, None] + spread) / NUM_BANDS
    return (t * n_T).ceil().long().clamp(1, n_T)


class BandFile(RowFile):
    """Measures and keeps the rows of bands.csv.

    The batch (images, timesteps, noise) is drawn from a generator of its own purpose: nothing that training draws
    depends on it, and a resumed run measures the same numbers. ``images`` is uint8 (N, 3, S, S), on any device.
    """

    def __init__(self, path: Path, images: Tensor, batch_size: int, seed: int):
        super().__init__(path)
        self.images = images
        self.num_images = min(MOST_IMAGES, batch_size, len(images))
        self.seed = seed

    def measure(self, net: nn.Module, diffusion: DDPM) -> list[float]:
        """The mean squared error of the noise that ``net`` predicts, per band from low noise to high."""
        device = diffusion.sqrtab.device
        generator = make_generator(self.seed, "bands")
        chosen = torch.randperm(len(self.images), generator=generator)[: self.num_images]
        x = self.images[chosen.to(self.images.device)].to(device).float() / 127.5 - 1
        losses = []
        with torch.no_grad(), eval_mode(net):
            for t in band_timesteps(self.num_images, diffusion.n_T):
                eps = torch.randn(x.shape, generator=generator).to(device)
                t = t.to(device)
                eps_hat = net(diffusion.q_sample(x, t, eps), t / diffusion.n_T).float()
                losses.append((eps_hat - eps).square().mean())
        return torch.stack(losses).tolist()

    def losses(self, step: int) -> list[float] | None:
        """The row of this step, from low noise to high; None if there is none."""
        row = next((row for row in self.rows() if int(row["step"]) == step), None)
        return row and [float(row[name]) for name in BANDS]

    def add(self, position: dict[str, int], losses: list[float]) -> None:
        """Keep one row: ``position`` has the columns of COUNTS."""
        cells = [*(str(position[name]) for name in COUNTS), *(f"{loss:.6g}" for loss in losses)]
        self.write([*self.rows(), dict(zip(self.columns, cells, strict=True))])
