"""DPM-Solver++(2M) on Gaussian data, whose network and whose probability flow are known exactly."""

import math
from itertools import pairwise

import pytest
import torch
from test_ddim import BETAS, COUNT, MU, N_T, SIZE, Optimal, S, check_samples, schedule, seeded

from mindiffusion.ddim import DDIM
from mindiffusion.dpm_solver import SPACINGS, DPMSolver
from mindiffusion.runtime.errors import UserError
from mindiffusion.sampling import Sampler

X_T = torch.tensor([-1.5, -0.5, 0.2, 1.0])[:, None, None, None].expand(4, *SIZE).contiguous()


def solver(**settings) -> DPMSolver:
    return DPMSolver(Optimal(), BETAS, N_T, **settings)


def flow_end(x_T: torch.Tensor) -> torch.Tensor:
    """x0_hat at t = 1 of the exact solution of the ODE: (x_t - sqrt(alphabar_t) mu) / deviation_t is constant on it."""
    ends = []
    for step in (N_T, 1):
        alphabar = schedule()[1][step].item()
        ends.append((math.sqrt(alphabar), math.sqrt(alphabar * S**2 + 1 - alphabar)))
    (alpha_T, deviation_T), (alpha_1, deviation_1) = ends
    z = (x_T.double() - alpha_T * MU) / deviation_T
    return MU + alpha_1 * S**2 / deviation_1 * z


def error(process: DDIM) -> float:
    samples = process.sample(4, SIZE, x_T=X_T, clip_x0=False)
    return (samples.double() - flow_end(X_T)).abs().max().item()


@pytest.mark.parametrize(("spacing", "steps"), [("lambda", 25), ("t", 100)])
def test_twice_the_steps_leave_a_quarter_of_the_odes_error_and_half_of_ddims(spacing, steps):
    second = [error(solver(steps=each, spacing=spacing)) for each in (steps, 2 * steps)]
    first = [error(DDIM(Optimal(), BETAS, N_T, steps=each)) for each in (steps, 2 * steps)]
    assert 3.5 < second[0] / second[1] < 4.5
    assert 1.8 < first[0] / first[1] < 2.2
    assert second[1] < first[1] / 4


def test_steps_even_in_lambda_are_worth_a_multiple_of_steps_even_in_t():
    errors = {spacing: error(solver(steps=25, spacing=spacing)) for spacing in SPACINGS}
    assert errors["lambda"] < errors["t"] / 10  # in t the last steps are so long in lambda that they overshoot


@pytest.mark.parametrize(
    "settings",
    [{"eta": 1.0}, {"eta": 0.5}, {"eta": 1.0, "spacing": "t", "steps": 200}],
)
def test_the_sdes_end_with_the_variance_of_the_data(settings):
    samples = solver(**{"steps": 100, **settings}).sample(COUNT, SIZE, generator=seeded(), clip_x0=False)
    check_samples(samples, MU, S)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [1, 2])
def test_one_step_is_ddims_and_so_is_the_first_of_two(steps, eta):
    ours, theirs = solver(steps=steps, eta=eta), DDIM(Optimal(), BETAS, N_T, steps=steps, eta=eta)
    samples = [each.sample(4, SIZE, x_T=X_T, generator=seeded()) for each in (ours, theirs)]
    torch.testing.assert_close(*samples, atol=1e-5, rtol=0)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("t_stop", [0, 1, 400, 999, N_T])
def test_it_asks_as_often_as_ddim_at_falling_timesteps_and_stops_where_it_should(spacing, t_stop):
    for steps in (1, 2, 20, 500, N_T):
        process = solver(steps=steps, spacing=spacing)
        visited = process.timesteps(t_stop)
        assert len(visited) == len(DDIM(Optimal(), BETAS, N_T, steps=steps).timesteps(t_stop))
        assert visited[0] == N_T and (steps == 1 or visited[-1] == max(t_stop, 1))
        assert all(here > following for here, following in pairwise(visited))
    process = solver(steps=5, spacing=spacing)
    process.sample(1, SIZE, t_stop=t_stop)
    assert process.eps_model.steps == process.timesteps(t_stop)


def test_steps_even_in_lambda_are_even():
    process = solver(steps=20, spacing="lambda")
    gaps = [process.lambdas[low] - process.lambdas[high] for high, low in pairwise(process.timesteps())]
    assert max(gaps) < 1.4 * min(gaps)  # of whole timesteps; in t 30


IMPOSSIBLE = [{"steps": N_T + 1}, {"eta": 1.1}, {"spacing": "x"}, {"eta": math.nan}]
IDLE = [{"name": "ddim", "spacing": "t"}, {"name": "euler"}, {"steps": 0}]


@pytest.mark.parametrize("wrong", IMPOSSIBLE + IDLE)
def test_an_impossible_setting_and_one_that_would_do_nothing_are_refused(wrong):
    with pytest.raises(UserError):
        Sampler(**{"name": "dpm", **wrong}).process(Optimal())
    if wrong in IMPOSSIBLE:
        with pytest.raises(UserError):
            solver(**wrong)
