"""bands.csv: where the timesteps lie, what is measured, and that it is the same whoever measures it."""

import pytest
import torch
from helpers import CS, STEPS_PER_EPOCH, contents, launch

from mindiffusion.ddpm import DDPM
from mindiffusion.reports.bands import NUM_BANDS, BandFile, band_timesteps
from mindiffusion.reports.row_file import read_rows
from mindiffusion.unet import NaiveUnet

IMAGES = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Oracle(torch.nn.Module):
    """Knows the clean image, which is black, so the noise in x_t; errs by 2 where t/T is above 0.7."""

    def forward(self, x, t):
        step = (t * 1000).round().long()
        schedule = DDPM(torch.nn.Identity())
        eps = (x + schedule.sqrtab[step, None, None, None]) / schedule.sqrtmab[step, None, None, None]
        return eps + 2.0 * (t > 0.7).float()[:, None, None, None]


@pytest.mark.parametrize("n_T", [1000, 50])
@pytest.mark.parametrize("num_images", [1, 8, 64])
def test_timesteps_lie_in_their_bands(num_images, n_T):
    t = band_timesteps(num_images, n_T)
    assert t.shape == (NUM_BANDS, num_images)
    for index, row in enumerate(t.double() / n_T):
        assert index / NUM_BANDS < row.min() and row.max() <= (index + 1) / NUM_BANDS + 1e-9


def test_an_error_above_a_timestep_shows_in_the_bands_above_it_alone(tmp_path):
    losses = BandFile(tmp_path / "bands.csv", torch.zeros_like(IMAGES), 16, 0).measure(
        Oracle(), DDPM(torch.nn.Identity())
    )
    assert losses[:7] == pytest.approx([0.0] * 7, abs=1e-4)
    assert losses[7:] == pytest.approx([4.0] * 3, abs=1e-4)


def test_measuring_draws_nothing_from_the_global_state_and_depends_on_the_seed(tmp_path):
    net = NaiveUnet(3, 3, 8)
    before = torch.get_rng_state()
    one, again, other = (
        BandFile(tmp_path / "bands.csv", IMAGES, 16, seed).measure(net, DDPM(torch.nn.Identity())) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert one == again != other
    assert net.training and all(p.grad is None for p in net.parameters())


def test_a_run_measures_every_epoch_the_same_with_and_without_grids(tmp_path, finished):
    launch(CS, tmp_path)
    without, rows = (read_rows(contents(CS, folder) / "bands.csv")[0] for folder in (tmp_path, finished(CS)))
    assert [(row["stage"], row["step"]) for row in rows] == [(str(i), str(STEPS_PER_EPOCH * i)) for i in range(1, 6)]
    assert without == rows
