"""Metrics of samples, each validated: near its floor for real images, up in the right place for damaged ones."""

import functools

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from mindiffusion.data.synthetic import synthetic_images
from mindiffusion.evaluation import settings
from mindiffusion.evaluation import swd as sliced
from mindiffusion.evaluation.bootstrap import Estimate, bootstrap
from mindiffusion.evaluation.image_statistics import (
    NAMES,
    band_power,
    color_error,
    color_row,
    color_statistics,
    frequency_bands,
    recovery_row,
    spectrum_error,
    spectrum_row,
)
from mindiffusion.evaluation.settings import Settings, to_float
from mindiffusion.evaluation.swd import laplacian_pyramid, patches, swd_row
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.rng import make_generator

COUNT = 120


def natural(seed: int, count: int = COUNT) -> torch.Tensor:
    """Images with the power law of natural ones (amplitude 1/f), correlated colours, mean colours of their own."""
    generator = torch.Generator().manual_seed(seed)
    frequency = torch.fft.fftfreq(32, 1 / 32)
    falling = 1 / torch.hypot(frequency[:, None], frequency).clamp(min=0.5)
    grey, color = (torch.randn(count, channels, 32, 32, generator=generator) for channels in (1, 3))
    white = grey + 0.5 * color
    return (torch.fft.ifft2(torch.fft.fft2(white) * falling).real * 1.5).clamp(-1, 1)


REAL, ALSO_REAL = natural(0), natural(1)


def blurred(images: torch.Tensor) -> torch.Tensor:
    return interpolate(avg_pool2d(images, 2), scale_factor=2, mode="bilinear")


def swd(samples: torch.Tensor, **options) -> dict[int, float]:
    row = swd_row(samples, REAL, Settings(resamples=0, **options))
    return {size: row[f"swd_{size}"].value for size in (32, 16, 8)}


@functools.cache
def floor() -> dict[int, float]:
    """Of real images that are other ones."""
    return swd(ALSO_REAL)


@pytest.fixture(autouse=True)
def fewer_directions(monkeypatch):
    """A quarter of the projections: the distances hardly move, and there are many of them here."""
    monkeypatch.setattr("mindiffusion.evaluation.swd.DIRECTIONS", 128)


DAMAGES = {  # name: (what is done to real images, the levels that must rise, those that must stay near the floor)
    "blur": (blurred, (32,), (8,)),
    "noise": (lambda x: x + 0.15 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2)), (32,), (8,)),
    "color shift": (lambda x: x + torch.tensor([0.3, 0.0, -0.1])[:, None, None], (8,), (32, 16)),
    "less contrast": (lambda x: 0.5 * x, (32, 16, 8), ()),
}


def test_pyramid_levels_add_up_and_a_flat_image_is_all_coarse():
    levels = laplacian_pyramid(REAL)
    assert list(levels) == [32, 16, 8] and levels[8].shape == (COUNT, 3, 8, 8)
    flat = laplacian_pyramid(torch.full((1, 3, 32, 32), 0.7))
    assert flat[32].abs().max() < 1e-6 and flat[16].abs().max() < 1e-6
    assert torch.allclose(flat[8], torch.tensor(0.7), atol=1e-6)


@pytest.mark.parametrize("size", [32, 8])
def test_patches_are_squares_of_neighbours_in_their_own_image_with_colours_in_one_order(size):
    place = torch.arange(4.0)[:, None, None, None] * 10_000 + torch.arange(3.0)[:, None, None] * 5_000
    level = place + 60 * torch.arange(float(size))[:, None] + torch.arange(float(size))
    cut = patches(level, sliced._places(4, size, seed=0))
    assert cut.shape == (4, 128 if size == 32 else 4, 147)
    corner = cut[..., :1] - place[:, :1, 0]  # where in its image a patch begins
    assert corner.min() >= 0 and corner.max() <= 61 * (size - 7)
    inside = torch.arange(3.0)[:, None, None] * 5_000 + 60 * torch.arange(7.0)[:, None] + torch.arange(7.0)
    assert torch.equal(cut - cut[..., :1], inside.flatten().expand_as(cut))
    assert size == 32 or sorted(corner[0].flatten().tolist()) == [0, 1, 60, 61]


def test_swd_of_a_set_with_itself_is_zero_and_real_images_are_near_the_floor():
    assert all(distance == 0 for distance in swd(REAL).values())
    low = floor()  # of 120 images; it falls with their number
    assert 0 < low[32] < 40 and 0 < low[16] < 40 and 0 < low[8] < 200


@pytest.mark.parametrize("name", DAMAGES)
def test_swd_rises_at_the_level_of_the_damage(name):
    damage, up, calm = DAMAGES[name]
    damaged = swd(damage(ALSO_REAL))
    assert all(damaged[size] > 2.5 * floor()[size] for size in up), (damaged, floor())
    assert all(damaged[size] < 1.5 * floor()[size] for size in calm), (damaged, floor())


def test_the_published_normalisation_is_blind_to_a_colour_shift():
    shifted = ALSO_REAL + torch.tensor([0.3, 0.0, -0.1])[:, None, None]
    assert swd(shifted, swd_normalization="own") == pytest.approx(swd(ALSO_REAL, swd_normalization="own"), rel=1e-3)


def test_swd_has_an_error_that_shrinks_with_more_images():
    few, many = (swd_row(images, REAL, Settings()) for images in (ALSO_REAL[:30], ALSO_REAL))
    assert all(0 < many[name].half < few[name].half for name in ("swd_16", "swd_8", "swd"))


def test_swd_is_the_distance_of_normalised_patches_in_sorted_order_whatever_the_memory(monkeypatch):
    """Against the definition, written out for all patches and projections at once."""
    count, size = 50, 32
    places = sliced._places(count, size, seed=0)
    a, b = (patches(laplacian_pyramid(images[:count])[size], places) for images in (ALSO_REAL, REAL))
    pixels = b.unflatten(-1, (3, 49)).double()
    mean, deviation = (each.repeat_interleave(49) for each in (pixels.mean((0, 1, 3)), pixels.std((0, 1, 3))))
    directions = torch.randn(147, 128, generator=make_generator(0, "swd directions", size))
    directions = (directions / directions.norm(dim=0)).double()
    ours, theirs = (((each - mean) / deviation).flatten(0, 1) @ directions for each in (a, b))
    expected = 1000 * (ours.sort(dim=0).values - theirs.sort(dim=0).values).abs().mean()
    for most in (2**26, 10 * count * 128):
        monkeypatch.setattr(sliced, "MOST_VALUES", most)
        monkeypatch.setattr(sliced, "CHUNK", 16 if most < 2**20 else 256)
        found = swd_row(ALSO_REAL[:count], REAL[:count], Settings())["swd_32"]
        assert found.value == pytest.approx(float(expected), rel=1e-5) and found.half > 0


def test_swd_refuses_a_size_without_a_pyramid():
    with pytest.raises(UserError, match="power of two"):
        swd_row(torch.zeros(2, 3, 24, 24), torch.zeros(2, 3, 24, 24), Settings())


def spectrum(samples: torch.Tensor) -> dict[int, float]:
    error = spectrum_error(band_power(samples), band_power(REAL))
    return {low: value for (low, _), value in zip(frequency_bands(32), error.tolist(), strict=True)}


def test_bands_hold_all_energy_but_the_mean_colour():
    assert [low for low, _ in frequency_bands(32)] == [1, 2, 4, 8, 16]
    spread = (REAL - REAL.mean((2, 3), keepdim=True)).double().square().sum((2, 3)).mean(1)
    assert torch.allclose(band_power(REAL).sum(1), spread)


@pytest.mark.parametrize(("cycles", "band"), [(1, 0), (3, 1), (7, 2), (8, 3), (16, 4)])
def test_a_wave_falls_into_its_octave(cycles, band):
    wave = torch.cos(2 * torch.pi * cycles * torch.arange(32) / 32).expand(1, 3, 32, 32)
    power = band_power(wave)[0]
    assert power[band] / power.sum() > 0.999


def test_spectrum_of_real_images_is_right_and_of_damaged_ones_wrong_in_the_right_octave():
    assert all(abs(error) < 1.0 for error in spectrum(ALSO_REAL).values())
    blur, noise = (spectrum(DAMAGES[name][0](ALSO_REAL)) for name in ("blur", "noise"))
    assert blur[16] < -10 and abs(blur[1]) < 1.5
    assert noise[16] > 3 and abs(noise[1]) < 1.0
    assert spectrum(0.5 * REAL)[4] == pytest.approx(-6.02, abs=0.01)  # half the amplitude, a quarter of the energy


def test_a_colour_shift_is_found_with_its_size_and_direction():
    real = color_statistics(REAL)
    shifted = color_statistics(REAL + torch.tensor([0.3, 0.0, -0.15])[:, None, None])
    drift = dict(zip(NAMES, (shifted - real).mean(0).tolist(), strict=True))
    assert (drift["mean_r"], drift["mean_g"], drift["mean_b"]) == pytest.approx((0.3, 0.0, -0.15), abs=1e-5)
    assert float(color_error(shifted, real)) == pytest.approx(0.15, abs=1e-5)
    assert float(color_error(color_statistics(ALSO_REAL), real)) < 0.1
    assert float(color_error(real, real)) == 0


def test_grey_has_no_saturation_and_ends_of_the_range_are_clipped():
    grey = dict(zip(NAMES, color_statistics(torch.full((1, 3, 4, 4), 0.5))[0].tolist(), strict=True))
    assert grey["saturation"] == 0 and grey["clipped"] == 0
    red = torch.tensor([1.0, -1.0, 0.0])[None, :, None, None].expand(1, 3, 4, 4)
    red = dict(zip(NAMES, color_statistics(red)[0].tolist(), strict=True))
    assert red["saturation"] == 2 and red["clipped"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("measure", [color_row, spectrum_row, recovery_row], ids=lambda row: row.__name__)
def test_a_measure_sees_a_chunk_of_images_at_a_time_and_finds_the_same(measure, monkeypatch):
    samples = synthetic_images(20, 32, seed=0)
    whole = measure(samples, samples[:9], Settings((), resamples=0))
    seen = []
    monkeypatch.setattr(settings, "CHUNK", 8)
    monkeypatch.setattr(settings, "to_float", lambda images: seen.append(len(images)) or to_float(images))
    parts = measure(samples, samples[:9], Settings((), resamples=0))
    assert max(seen) == 8
    assert {name: each.value for name, each in parts.items()} == pytest.approx(
        {name: each.value for name, each in whole.items()}, rel=1e-5, abs=1e-6
    )


def mean(values: torch.Tensor, **options) -> list[Estimate]:
    settings = Settings((), **options)
    return [*bootstrap(range(values.shape[1]), lambda rows: rows.mean(0), values, settings=settings).values()]


def test_the_bootstrap_interval_is_that_of_theory_for_a_mean():
    values = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0]) + 5
    estimates = mean(values, resamples=500)
    assert estimates == mean(values, resamples=500)
    for estimate, sigma in zip(estimates, (1.0, 3.0), strict=True):
        assert estimate.low < estimate.value < estimate.high
        assert estimate.half == pytest.approx(1.96 * sigma / 20, rel=0.2)
    assert Estimate.from_error(10.0, 1.0) == Estimate(10.0, 8.04, 11.96)


def test_without_resamples_there_is_no_interval():
    (bare,) = mean(torch.arange(50.0)[:, None], resamples=0)
    assert bare.value == 24.5 and bare.low != bare.low
