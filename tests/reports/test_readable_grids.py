"""Grids of an unfinished curriculum are shown at the resolution at which they are not noise."""

import pytest
import torch
from helpers import contents, launch
from PIL import Image

from mindiffusion.ddpm import DDPM
from mindiffusion.reports.grid_picture import READABLE, average_blocks, read_grid, readable_block


def test_the_block_is_the_smallest_power_of_two_that_averages_the_error_away():
    process = DDPM(torch.nn.Identity())
    sigma = float(process.sqrtmab[800] / process.sqrtab[800])
    assert sigma == pytest.approx(25.5, abs=0.5)
    for loss in (1e-5, 1e-3, 0.01, 0.1):
        block, error = readable_block(process, 800, loss, 32), sigma * loss**0.5
        assert block & (block - 1) == 0 and (error / block <= READABLE or block == 32)
        assert block == 1 or error / (block / 2) > READABLE
    assert readable_block(process, 200, 0.04, 32) == 1
    assert readable_block(process, 1000, 1.0, 32) == 32


def test_averaging_keeps_the_mean_of_each_block_and_nothing_else():
    samples = torch.randn(2, 3, 32, 32)
    shown = average_blocks(samples, 8)
    assert shown.shape == samples.shape
    assert torch.allclose(shown[0, 1, 8:16, 24:], samples[0, 1, 8:16, 24:].mean().expand(8, 8), atol=1e-6)
    assert torch.equal(average_blocks(samples, 1), samples)


def test_an_early_grid_of_a_run_is_coarse_and_the_last_one_is_not(tmp_path):
    launch("train_celeba_c_32", tmp_path, "--num-samples", "8", "--sample-steps", "3")
    folder = contents("train_celeba_c_32", tmp_path)
    first, last = (read_grid(next(folder.glob(f"stage{k}_*.png"))).samples for k in (1, 5))
    assert (first[:, ::2] == first[:, 1::2]).all() and (first[:, :, ::2] == first[:, :, 1::2]).all()
    assert not (last[:, ::2] == last[:, 1::2]).all()
    with Image.open(next(folder.glob("stage1_*.png"))) as picture:
        assert picture.width > 1000
