"""Grids as pictures: every pixel can be read back, words have their place, what is no grid is refused."""

import json

import numpy as np
import pytest
import torch
from helpers import C, contents, launch
from PIL import Image, PngImagePlugin

from mindiffusion.data.images import ImageData
from mindiffusion.ddpm import DDPM
from mindiffusion.reports.grid_picture import (
    CELL,
    LAYOUT_KEY,
    READABLE,
    contact_sheet,
    read_grid,
    readable_block,
    save_grid,
)
from mindiffusion.runtime.errors import UserError


def pixels(count: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator).to(torch.uint8)


def as_floats(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 127.5 - 1


@pytest.mark.parametrize(("count", "size"), [(32, 32), (3, 32), (9, 64), (0, 32)])
def test_samples_and_real_images_are_read_back_exactly(tmp_path, count, size):
    samples, real = pixels(count, size), pixels(10, size, seed=1)
    path = tmp_path / "grid.png"
    save_grid(path, as_floats(samples), ImageData(real, {}), ["C, stage 1", "words"])
    grid = read_grid(path)
    assert np.array_equal(grid.samples, samples.permute(0, 2, 3, 1).numpy())
    assert np.array_equal(grid.real, real[:8].permute(0, 2, 3, 1).numpy())


def test_pixels_become_squares_and_words_change_no_pixel_of_an_image(tmp_path):
    samples = pixels(8)
    for name, caption in (("plain", []), ("captioned", ["C, stage 1 of 5", "a second line " * 30])):
        save_grid(tmp_path / f"{name}.png", as_floats(samples), caption=caption)
    plain, captioned = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("plain", "captioned"))
    assert plain.shape[1] == captioned.shape[1] > 8 * CELL
    assert captioned.shape[0] > plain.shape[0]
    assert len(np.unique(captioned[:40])) > 2  # letters
    place = (slice(-12 - CELL, -12), slice(12, 12 + CELL))
    first = samples[0].permute(1, 2, 0).numpy().repeat(CELL // 32, 0).repeat(CELL // 32, 1)
    assert np.array_equal(plain[place], first) and np.array_equal(captioned[place], first)
    assert len(read_grid(tmp_path / "captioned.png").real) == 0


WRONG = {
    "size": (0, 10**9),
    "scale": ("4",),
    "counts": ([10**12], [9], [], [[1]]),
    "tops": ([],),
    "left": (-1,),
    "more": (1,),
}


@pytest.mark.parametrize("change", [{name: value} for name, values in WRONG.items() for value in values], ids=str)
def test_a_layout_that_does_not_fit_its_picture_is_refused(change, tmp_path):
    save_grid(tmp_path / "grid.png", as_floats(pixels(8)))
    with Image.open(tmp_path / "grid.png") as picture:
        about = PngImagePlugin.PngInfo()
        about.add_text(LAYOUT_KEY, json.dumps(json.loads(picture.text[LAYOUT_KEY]) | change))
        picture.save(tmp_path / "made_up.png", pnginfo=about)
    with pytest.raises(UserError, match=r"made_up\.png is no sample grid"):
        read_grid(tmp_path / "made_up.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_of_absurd_size_is_refused_before_it_is_unpacked(tmp_path):
    Image.new("1", (13_300, 13_300)).save(tmp_path / "huge.png")
    with pytest.raises(UserError, match=r"its 13300x13300 pixels are more than"):
        read_grid(tmp_path / "huge.png")


def test_a_grid_that_is_cut_off_is_named(tmp_path):
    save_grid(tmp_path / "grid.png", as_floats(pixels(8)))
    whole = (tmp_path / "grid.png").read_bytes()
    for part in (whole[: len(whole) // 2], b"no picture", whole.replace(b'"scale"', b'"other"')):
        (tmp_path / "cut.png").write_bytes(part)
        with pytest.raises(UserError, match=r"cut\.png is no sample grid of this program, or is damaged"):
            read_grid(tmp_path / "cut.png")


def test_a_contact_sheet_has_the_images_and_nothing_else():
    images = pixels(3, 4).permute(0, 2, 3, 1).numpy()
    sheet = np.asarray(contact_sheet(images, columns=2, scale=2, gap=1))
    assert sheet.shape == (17, 17, 3)
    assert np.array_equal(sheet[9:17:2, 0:8:2], images[2])
    assert contact_sheet(images[:1], columns=8).width == 4


# --- grids of an unfinished curriculum are shown at the resolution at which they are not noise ------------------------


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


def test_an_early_grid_of_a_run_is_coarse_and_the_last_one_is_not(tmp_path):
    launch(C, tmp_path, "--num-samples", "8", "--sample-steps", "3")
    folder = contents(C, tmp_path)
    first, last = (read_grid(next(folder.glob(f"stage{k}_*.png"))).samples for k in (1, 5))
    assert (first[:, ::2] == first[:, 1::2]).all() and (first[:, :, ::2] == first[:, :, 1::2]).all()
    assert not (last[:, ::2] == last[:, 1::2]).all()
    with Image.open(next(folder.glob("stage1_*.png"))) as picture:
        assert picture.width > 1000
