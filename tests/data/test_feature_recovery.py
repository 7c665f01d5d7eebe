"""Recovery of the coarse and fine features: 1 in data, 0 in blanks and noise, and in between as theory says."""

import math

import pytest
import torch

from mindiffusion.data.feature_recovery import Recovery, feature_recovery
from mindiffusion.data.synthetic import render, synthetic_images, two_feature_model

MODEL = two_feature_model(32)
COUNT = 500


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def signs(width: int, seed: int) -> torch.Tensor:
    return normal(COUNT, width, seed=seed).sign()


Z1, Z2 = signs(len(MODEL.coarse), 1), signs(len(MODEL.fine), 2)


def recovery(images: torch.Tensor) -> Recovery:
    return feature_recovery(MODEL, images)


def test_data_score_one_also_after_rounding_to_8_bits():
    exact = recovery(render(MODEL, Z1, Z2))
    assert (exact.coarse, exact.fine) == pytest.approx((1.0, 1.0), abs=1e-5) and exact.outside < 1e-10
    rounded = recovery(synthetic_images(COUNT, 32, seed=0).float() / 127.5 - 1)
    assert (rounded.coarse, rounded.fine) == pytest.approx((1.0, 1.0), abs=0.01) and rounded.outside < 1e-4


def test_blank_images_score_zero():
    assert recovery(torch.zeros(4, 3, 32, 32)) == Recovery(0.0, 0.0, 0.0)


@pytest.mark.parametrize("level", [0.01, 0.03, 0.1, 0.3, 1.0])
def test_white_noise_scores_zero_at_every_level(level):
    noise = recovery(level * normal(COUNT, 3, 32, 32))
    assert noise.coarse < 0.02 and noise.fine < 0.02
    assert noise.outside == pytest.approx(level**2, rel=0.01)


def test_each_feature_is_scored_apart():
    only_coarse, only_fine = recovery(render(MODEL, Z1, 0 * Z2)), recovery(render(MODEL, 0 * Z1, Z2))
    assert (only_coarse.coarse, only_coarse.fine) == pytest.approx((1.0, 0.0), abs=1e-4)
    assert (only_fine.coarse, only_fine.fine) == pytest.approx((0.0, 1.0), abs=1e-4)


def test_features_are_seen_through_a_little_noise():
    noisy = recovery(render(MODEL, Z1, Z2) + 0.05 * normal(COUNT, 3, 32, 32))
    assert noisy.coarse > 0.99 and noisy.fine > 0.99
    assert noisy.outside == pytest.approx(0.05**2, rel=0.01)


def expected_score(u: float) -> float:
    """E[1 - (|p| - 1)^2] of the posterior mean p = tanh(u (u + n)) of a sign seen as u z + n, n ~ N(0, 1)."""
    n = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = torch.exp(-(n**2) / 2) / math.sqrt(2 * math.pi)
    p = torch.tanh(u * (u + n)).abs()
    return torch.trapezoid((1 - (p - 1) ** 2) * density, n).item()


def test_posterior_means_show_coarse_features_first():
    coarse, fine = [], []
    for ratio in (0.02, 0.1, 0.5, 2.0):  # sqrtab / sqrtmab, from much noise to little
        means = []
        for z, amplitude, seed in ((Z1, MODEL.coarse_amplitude, 3), (Z2, MODEL.fine_amplitude, 4)):
            u = amplitude * ratio
            means.append(torch.tanh(u * (u * z + normal(*z.shape, seed=seed))))
        x0_hat = recovery(render(MODEL, *means))
        assert x0_hat.coarse == pytest.approx(expected_score(MODEL.coarse_amplitude * ratio), abs=0.03)
        assert x0_hat.fine == pytest.approx(expected_score(MODEL.fine_amplitude * ratio), abs=0.03)
        coarse.append(x0_hat.coarse)
        fine.append(x0_hat.fine)
    assert coarse == sorted(coarse) and fine == sorted(fine)
    assert coarse[1] > 2 * fine[1] and coarse[0] < 0.5 and fine[0] < 0.2
    assert coarse[3] > 0.999 and fine[3] > 0.99
