"""DDPM and CurriculumDDPM: schedules, forward process and loss, the draw of timesteps, ancestral sampling."""

import math

import pytest
import torch
from torch import Tensor, nn

from mindiffusion.curriculum_ddpm import CurriculumDDPM
from mindiffusion.ddpm import DDPM, ddpm_schedules, noise_like
from mindiffusion.preconditioned_unet import PreconditionedNaiveUnet
from mindiffusion.runtime.errors import UserError
from mindiffusion.sampling import Drawable, Sampler, num_evaluations

SIZE = (3, 4, 4)
BETAS = (0.02, 0.3)  # for few steps


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Network(nn.Module):
    """eps(x, t) = scale * x + t, which keeps a record of its calls."""

    def __init__(self, scale: float = 0.3):
        super().__init__()
        self.scale = scale
        self.calls: list[tuple[Tensor, Tensor, bool]] = []

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls.append((x.clone(), t.clone(), self.training))
        return self.scale * x + t[:, None, None, None]


NAMES = ("alpha_t", "oneover_sqrta", "sqrt_beta_t", "alphabar_t", "sqrtab", "sqrtmab", "mab_over_sqrtmab")


def closed_form(beta1: float, beta2: float, n_T: int) -> dict[str, list[float]]:
    """The schedules in Python's float64, one step at a time."""
    columns, alphabar = {name: [] for name in NAMES}, 1.0
    for t in range(n_T + 1):
        beta = beta1 + (beta2 - beta1) * t / n_T
        alphabar *= 1.0 - beta
        row = (1.0 - beta, (1.0 - beta) ** -0.5, beta**0.5, alphabar, alphabar**0.5, (1.0 - alphabar) ** 0.5)
        for name, value in zip(NAMES, (*row, beta / math.sqrt(1.0 - alphabar)), strict=True):
            columns[name].append(value)
    return columns


@pytest.mark.parametrize(("betas", "n_T"), [((1e-4, 0.02), 1000), (BETAS, 7), ((0.1, 0.2), 1)])
def test_schedules_are_the_closed_form_rounded_to_float32(betas, n_T):
    schedules, diffusion = ddpm_schedules(*betas, n_T), DDPM(Network(), betas, n_T)
    for name, expected in closed_form(*betas, n_T).items():
        assert schedules[name].dtype == torch.float32 and len(schedules[name]) == n_T + 1
        assert torch.allclose(schedules[name].double(), torch.tensor(expected).double(), rtol=2e-7, atol=0), name
        assert torch.equal(getattr(diffusion, name), schedules[name])
    assert not diffusion.state_dict()


@pytest.mark.parametrize(("betas", "n_T"), [((0.0, 0.1), 10), ((0.2, 0.1), 10), ((0.1, 1.0), 10), ((0.1, 0.2), 0)])
def test_impossible_schedules_are_user_errors(betas, n_T):
    with pytest.raises(UserError, match=r"betas|n_T"):
        DDPM(Network(), betas, n_T)


def test_loss_is_the_mean_squared_error_of_the_noise():
    x, eps = torch.randn(2, 5, *SIZE, generator=seeded())
    t = torch.tensor([1, 2, 3, 6, 7])
    schedule = closed_form(*BETAS, 7)
    squares = []
    for image, noise, step in zip(x.double(), eps.double(), t.tolist(), strict=True):
        x_t = schedule["sqrtab"][step] * image + schedule["sqrtmab"][step] * noise
        squares.append((noise - (0.3 * x_t + step / 7)).square().mean())
    assert DDPM(Network(), BETAS, 7)(x, t, eps).item() == pytest.approx(torch.stack(squares).mean().item(), rel=1e-5)


def test_the_full_range_is_ddpm_bit_for_bit():
    x = torch.randn(6, *SIZE, generator=seeded(1))
    networks = Network(), Network()
    plain, curriculum = DDPM(networks[0]), CurriculumDDPM(networks[1])
    for _ in range(2):
        assert torch.equal(plain(x, generator=seeded()), curriculum(x, generator=seeded()))
        (x_t, t, _), (x_t_curriculum, t_curriculum, _) = networks[0].calls[-1], networks[1].calls[-1]
        assert torch.equal(x_t, x_t_curriculum) and torch.equal(t, t_curriculum)
        curriculum.set_time_range(0.0, 1.0)  # the range it starts with


@pytest.mark.parametrize(
    ("n_T", "t_min", "t_max", "first", "last"),
    [
        (1000, 0.8, 1.0, 800, 1000),
        (1000, 0.0, 0.2, 1, 200),
        (10, 0.6, 1.0, 6, 10),
        (10, 0.0, 1.0, 1, 10),
        (10, 0.27, 0.53, 3, 5),
        (3, 0.9, 1.0, 3, 3),
    ],
)
def test_time_range_is_rounded_and_both_ends_are_drawn(n_T, t_min, t_max, first, last):
    diffusion = CurriculumDDPM(Network(), BETAS, n_T)
    diffusion.set_time_range(t_min, t_max)
    t = diffusion.sample_timesteps(20_000, seeded())
    assert (t.min().item(), t.max().item()) == (first, last)
    counts = torch.bincount(t - first)
    assert (counts / 20_000 * len(counts) - 1).abs().max() < 6 * math.sqrt(len(counts) / 20_000)
    assert diffusion.t_stop == (first if first > 1 else 0)


@pytest.mark.parametrize(
    "bad", [(0.5, 0.5), (0.8, 0.2), (-0.1, 0.5), (0.5, 1.1), (0.0, 0.0001), (0.0, math.nan), (math.nan, 1.0)]
)
def test_an_empty_reversed_or_outside_range_is_a_value_error_and_changes_nothing(bad):
    diffusion = CurriculumDDPM(Network())
    diffusion.set_time_range(0.6, 1.0)
    with pytest.raises(ValueError, match="time range"):
        diffusion.set_time_range(*bad)
    assert diffusion.t_stop == 600


def test_sampling_without_clipping_is_algorithm_2():
    n_T, s = 6, closed_form(*BETAS, 6)
    generator = seeded()
    x = torch.randn(5, *SIZE, generator=generator).double()
    for step in range(n_T, 0, -1):
        z = torch.randn(5, *SIZE, generator=generator).double() if step > 1 else 0.0
        eps = 0.3 * x + step / n_T
        beta, alphabar = s["sqrt_beta_t"][step] ** 2, s["alphabar_t"][step]
        x = (x - beta / math.sqrt(1 - alphabar) * eps) / math.sqrt(1 - beta) + math.sqrt(beta) * z
    network = Network()
    samples = DDPM(network, BETAS, n_T).sample(5, SIZE, generator=seeded(), clip_x0=False)
    assert samples.shape == (5, *SIZE)
    assert torch.allclose(samples.double(), x, atol=1e-5)
    assert [t[0].item() for _, t, _ in network.calls] == pytest.approx([step / n_T for step in range(n_T, 0, -1)])


@pytest.mark.parametrize("clip", [True, False])
def test_t_stop_returns_the_posterior_mean_there(clip):
    network = Network(scale=-2.0)
    diffusion = DDPM(network, BETAS, 6)
    samples = diffusion.sample(2, SIZE, generator=seeded(), t_stop=4, clip_x0=clip)
    assert [round(6 * t[0].item()) for _, t, _ in network.calls] == [6, 5, 4]
    x, alphabar = network.calls[-1][0], closed_form(*BETAS, 6)["alphabar_t"][4]
    x0_hat = (x - math.sqrt(1 - alphabar) * (-2.0 * x + 4 / 6)) / math.sqrt(alphabar)
    assert x0_hat.abs().max() > 1.5
    assert torch.allclose(samples, x0_hat.clamp(-1, 1) if clip else x0_hat, rtol=1e-5, atol=1e-5)


def test_clipping_bounds_the_samples_of_a_poor_network():
    samples = DDPM(Network(scale=-2.0)).sample(8, SIZE, generator=seeded())
    assert samples.abs().max() < 1.05  # x0_hat is in [-1, 1]; the noise of beta_0 = 1e-4 remains
    assert DDPM(Network(scale=-2.0)).sample(8, SIZE, generator=seeded(), clip_x0=False).abs().max() > 10


@pytest.mark.parametrize("training", [True, False])
def test_sampling_runs_in_eval_mode_and_restores_the_mode(training):
    network = Network()
    diffusion = DDPM(network, BETAS, 6).train(training)
    diffusion.sample(1, SIZE)
    assert not any(was_training for _, _, was_training in network.calls)
    assert diffusion.training == network.training == training
    network.forward = None  # a call fails
    with pytest.raises(TypeError):
        diffusion.sample(1, SIZE)
    assert diffusion.training == network.training == training


@pytest.mark.parametrize("wrong", [{"t_stop": -1}, {"t_stop": 7}, {"x_T": torch.zeros(2, 3, 8, 8)}, {"device": "meta"}])
def test_impossible_requests_for_samples_are_user_errors(wrong):
    with pytest.raises(UserError):
        DDPM(Network(), BETAS, 6).sample(2, SIZE, **wrong)


def test_on_step_is_called_for_every_evaluation():
    network, calls = Network(), []
    process = DDPM(network, BETAS, 20)
    process.sample(1, SIZE, t_stop=10, on_step=lambda: calls.append(1))
    assert len(calls) == len(network.calls) == 11
    assert num_evaluations(Drawable(network, 32, BETAS, 20, t_stop=10), Sampler("ddpm")) == 11


def test_noise_is_drawn_where_the_generator_is():
    generator, elsewhere = seeded(), torch.empty(2, *SIZE, device="meta")
    assert noise_like(elsewhere, generator).device.type == "meta"
    assert not torch.equal(generator.get_state(), seeded().get_state())


def test_a_network_made_for_another_number_of_steps_is_refused():
    with pytest.raises(UserError, match="n_T = 1000, the process has 20"):
        DDPM(PreconditionedNaiveUnet(3, 3, 8), n_T=20)
