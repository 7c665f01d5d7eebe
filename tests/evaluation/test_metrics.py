"""Metrics of samples, each validated: near its floor for real images, up in the right place for damaged ones."""

import functools

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from mindiffusion.data.synthetic import synthetic_images
from mindiffusion.evaluation import settings
from mindiffusion.evaluation import swd as sliced
from mindiffusion.evaluation.bootstrap import Estimate, bootstrap
from mindiffusion.evaluation.image_statistics import band_power, color_row, frequency_bands, recovery_row, spectrum_row
from mindiffusion.evaluation.settings import Settings, to_float
from mindiffusion.evaluation.swd import laplacian_pyramid, patches, swd_row
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


def measured(row, samples: torch.Tensor, reference: torch.Tensor = REAL, **options) -> dict[str, float]:
    """The numbers of a measure, without intervals."""
    return {name: each.value for name, each in row(samples, reference, Settings(resamples=0, **options)).items()}


@functools.cache
def floor() -> dict[str, float]:
    """The swd of real images that are other ones."""
    return measured(swd_row, ALSO_REAL)


@pytest.fixture(autouse=True)
def fewer_directions(monkeypatch):
    """A quarter of the projections: the distances hardly move, and there are many of them here."""
    monkeypatch.setattr("mindiffusion.evaluation.swd.DIRECTIONS", 128)


DAMAGES = {  # name: (what is done to real images, the levels that must rise, those that must stay near the floor)
    "blur": (lambda x: interpolate(avg_pool2d(x, 2), scale_factor=2, mode="bilinear"), (32,), (8,)),
    "noise": (lambda x: x + 0.15 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2)), (32,), (8,)),
    "color shift": (lambda x: x + torch.tensor([0.3, 0.0, -0.15])[:, None, None], (8,), (32, 16)),
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
    assert all(distance == 0 for distance in measured(swd_row, REAL).values())
    low = floor()  # of 120 images; it falls with their number
    assert 0 < low["swd_32"] < 40 and 0 < low["swd_16"] < 40 and 0 < low["swd_8"] < 200


@pytest.mark.parametrize("name", DAMAGES)
def test_swd_rises_at_the_level_of_the_damage(name):
    damage, up, calm = DAMAGES[name]
    ratio = {size: measured(swd_row, damage(ALSO_REAL))[f"swd_{size}"] / floor()[f"swd_{size}"] for size in up + calm}
    assert all(ratio[size] > 2.5 for size in up) and all(ratio[size] < 1.5 for size in calm), ratio


def test_the_published_normalisation_is_blind_to_a_colour_shift():
    plain, shifted = (
        measured(swd_row, images, swd_normalization="own")
        for images in (ALSO_REAL, DAMAGES["color shift"][0](ALSO_REAL))
    )
    assert shifted == pytest.approx(plain, rel=1e-3)


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
    assert all(abs(error) < 1.0 for error in measured(spectrum_row, ALSO_REAL).values())
    blur, noise = (measured(spectrum_row, DAMAGES[name][0](ALSO_REAL)) for name in ("blur", "noise"))
    assert blur["spectrum_db_16"] < -10 and abs(blur["spectrum_db_1"]) < 1.5
    assert noise["spectrum_db_16"] > 3 and abs(noise["spectrum_db_1"]) < 1.0
    half = measured(spectrum_row, 0.5 * REAL)  # a quarter of the energy
    assert half == pytest.approx({name: 6.02 if name == "spectrum_db" else -6.02 for name in half}, abs=0.01)


def test_a_colour_shift_is_found_with_its_size_and_direction():
    plain, shifted = (measured(color_row, images) for images in (REAL, DAMAGES["color shift"][0](REAL)))
    drift = [shifted[name] - plain[name] for name in ("mean_r", "mean_g", "mean_b", "color_error")]
    assert drift == pytest.approx([0.3, 0.0, -0.15, 0.15], abs=1e-5) and plain["color_error"] == 0
    assert measured(color_row, ALSO_REAL)["color_error"] < 0.1


def test_grey_has_no_saturation_and_ends_of_the_range_are_clipped():
    grey = torch.full((2, 3, 4, 4), 0.5)
    red = torch.tensor([1.0, -1.0, 0.0])[None, :, None, None].expand(2, 3, 4, 4)
    row = measured(color_row, red, grey)
    assert row["saturation"] == row["saturation_error"] == 2 and row["clipped"] == pytest.approx(2 / 3)
    row = measured(color_row, grey, red)
    assert row["saturation"] == 0 and row["saturation_error"] == -2 and row["clipped"] == 0


@pytest.mark.parametrize("measure", [color_row, spectrum_row, recovery_row], ids=lambda row: row.__name__)
def test_a_measure_sees_a_chunk_of_images_at_a_time_and_finds_the_same(measure, monkeypatch):
    samples = synthetic_images(20, 32, seed=0)
    whole, seen = measured(measure, samples, samples[:9]), []
    monkeypatch.setattr(settings, "CHUNK", 8)
    monkeypatch.setattr(settings, "to_float", lambda images: seen.append(len(images)) or to_float(images))
    assert measured(measure, samples, samples[:9]) == pytest.approx(whole, rel=1e-5, abs=1e-6)
    assert max(seen) == 8


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
    (bare,) = mean(torch.arange(50.0)[:, None], resamples=0)
    assert bare.value == 24.5 and bare.low != bare.low
