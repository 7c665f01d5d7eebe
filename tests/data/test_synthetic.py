"""The two-feature data: exact patterns, within range, recoverable from 8-bit images, closed under flips."""

from types import SimpleNamespace

import pytest
import torch

from mindiffusion.data.synthetic import (
    RECIPES,
    SYNTHETIC_DEMO,
    coefficients,
    is_synthetic,
    recovery_of,
    render,
    synthetic_images,
    two_feature_model,
)


def random_signs(count: int, width: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 2, (count, width), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1


def scaled(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 127.5 - 1


every_set = pytest.mark.parametrize("name", RECIPES)


@every_set
@pytest.mark.parametrize("size", [32, 64])
def test_all_patterns_are_orthonormal(size, name):
    model = two_feature_model(size, name)
    patterns = torch.cat([model.coarse, model.fine])
    count = len(model.coarse) + len(model.fine)
    assert patterns.shape == (count, 3 * size * size) and patterns.dtype == torch.float32
    products = patterns.double() @ patterns.double().T
    assert torch.allclose(products, torch.eye(count, dtype=torch.float64), atol=1e-5)


@pytest.mark.parametrize("size", [32, 64])
def test_coarse_is_smooth_and_dominant_and_fine_is_not(size):
    model = two_feature_model(size)

    def roughness(patterns):  # energy of the differences between neighbours, of unit-norm patterns
        maps = patterns.reshape(-1, 3, size, size)
        return maps.diff(dim=2).square().sum((1, 2, 3)) + maps.diff(dim=3).square().sum((1, 2, 3))

    assert roughness(model.coarse).max() < 0.05 and roughness(model.fine).min() > 0.4
    assert model.coarse_amplitude == pytest.approx(4 * model.fine_amplitude)
    assert render(model, random_signs(8, 4, 0), torch.zeros(8, 6)).square().mean().sqrt() == pytest.approx(0.32, 1e-3)


def test_a_name_stands_for_these_images():
    def row(name):  # some pixels of an image with signs + - + - ...
        model = two_feature_model(32, name)
        signs = [torch.ones(1, len(each)) for each in (model.coarse, model.fine)]
        for each in signs:
            each[:, 1::2] = -1
        return render(model, *signs)[0, 0, 1, 1::8].tolist()

    assert row("synthetic") == pytest.approx([-0.374, -0.029, 0.156, -0.189], abs=1e-3)
    assert row(SYNTHETIC_DEMO) == pytest.approx([0.308, -0.308, 0.308, -0.308], abs=1e-3)
    assert [is_synthetic(name) for name in ("synthetic", SYNTHETIC_DEMO, "", None)] == [True, True, False, False]


@every_set
@pytest.mark.parametrize("size", [32, 64])
def test_values_stay_in_range(size, name):
    model = two_feature_model(size, name)
    coarse, fine = model.coarse_amplitude * model.coarse.abs().sum(0), model.fine_amplitude * model.fine.abs().sum(0)
    assert coarse.max() < 0.85 and (coarse + fine).max() <= 1  # of the worst signs at each pixel


@every_set
def test_signs_are_recovered_from_8_bit_images(name):
    images = synthetic_images(500, 32, seed=3, name=name)
    assert images.shape == (500, 3, 32, 32) and images.dtype == torch.uint8
    p1, p2, outside = coefficients(two_feature_model(32, name), scaled(images))
    assert (p1.abs() - 1).abs().max() < 0.005 and (p2.abs() - 1).abs().max() < 0.02
    assert outside.max() < 2e-5
    assert p1.mean(0).abs().max() < 0.2 and p2.mean(0).abs().max() < 0.2  # every sign takes both values


@every_set
def test_a_horizontal_flip_changes_signs_only(name):
    model = two_feature_model(32, name)
    for patterns in (model.coarse, model.fine):
        overlap = patterns @ patterns.reshape(-1, 3, 32, 32).flip(3).flatten(1).T
        expected = torch.ones(len(patterns))
        assert torch.allclose(overlap.abs().sum(0), expected, atol=1e-5)  # itself, its negative or another one
    changed = model.coarse.reshape(-1, 3, 32, 32).flip(3).flatten(1)
    assert not torch.allclose(model.coarse, changed)  # flips are not a no-op
    p1, p2, outside = coefficients(model, scaled(synthetic_images(64, 32, seed=0, name=name)).flip(3))
    assert (p1.abs() - 1).abs().max() < 0.005 and (p2.abs() - 1).abs().max() < 0.02 and outside.max() < 2e-5


def test_images_depend_on_the_seed_alone():
    first = synthetic_images(1500, 32, seed=5)
    assert torch.equal(first, synthetic_images(1500, 32, seed=5))
    assert not torch.equal(first, synthetic_images(1500, 32, seed=6))
    assert len(first.flatten(1).unique(dim=0)) > 700  # of 1024 combinations of signs


# Recovery: 1 in data, 0 in blanks and noise, and in between otherwise

MODEL, COUNT = two_feature_model(32), 500
Z1, Z2 = random_signs(COUNT, len(MODEL.coarse), 1), random_signs(COUNT, len(MODEL.fine), 2)


def recovery(images: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(**recovery_of(MODEL, *coefficients(MODEL, images)))


def test_data_score_one_also_after_rounding_to_8_bits():
    exact = recovery(render(MODEL, Z1, Z2))
    assert (exact.coarse, exact.fine) == pytest.approx((1.0, 1.0), abs=1e-5) and exact.outside < 1e-10
    rounded = recovery(synthetic_images(COUNT, 32, seed=0).float() / 127.5 - 1)
    assert (rounded.coarse, rounded.fine) == pytest.approx((1.0, 1.0), abs=0.01) and rounded.outside < 1e-4


@pytest.mark.parametrize("level", [0.0, 0.03, 1.0])
def test_blank_images_and_white_noise_of_every_level_score_zero(level):
    noise = recovery(level * torch.randn(COUNT, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert noise.coarse < 0.02 and noise.fine < 0.02
    assert noise.outside == pytest.approx(level**2, rel=0.01)


def test_each_feature_is_scored_apart():
    only_coarse, only_fine = recovery(render(MODEL, Z1, 0 * Z2)), recovery(render(MODEL, 0 * Z1, Z2))
    assert (only_coarse.coarse, only_coarse.fine) == pytest.approx((1.0, 0.0), abs=1e-4)
    assert (only_fine.coarse, only_fine.fine) == pytest.approx((0.0, 1.0), abs=1e-4)
    half = recovery(render(MODEL, Z1 / 2, Z2 / 2))
    assert (half.coarse, half.fine) == pytest.approx((0.75, 0.75), abs=1e-4)
