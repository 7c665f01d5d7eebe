"""One training, however many processes share it. In double precision the proof is not blurred by rounding: what differs
in fp32 is the order of sums, which Adam then amplifies (see ``helpers.assert_close_curves`` for how much)."""

import signal

import faults
import pytest
import torch
from helpers import CR, CS, STEPS_PER_EPOCH, assert_same_run, checkpoints, final_state, metrics

DOUBLE = {"float64": True}
TOLERANCE = 1e-6  # relative; Adam turns 1e-16 into about 1e-9 over these 15 steps


def assert_same_training(name, one, other):
    for a, b in zip(metrics(name, one), metrics(name, other), strict=True):
        assert {key: float(value) for key, value in a.items()} == pytest.approx(
            {key: float(value) for key, value in b.items()}, rel=TOLERANCE
        )
    ours, theirs = final_state(name, one)["model"], final_state(name, other)["model"]
    for key in ("channel_mask", "channel_birth_stage"):
        if key in ours:
            assert torch.equal(ours[key], theirs[key])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    assert faults.finish(CS, folder, "--num-samples", "3", "--sample-steps", "2", fault=DOUBLE) == [0]
    return folder


@pytest.mark.parametrize("world_size", [2, 4])
def test_several_processes_train_the_same_model_as_one(world_size, alone, tmp_path):
    flags = ("--num-samples", "3", "--sample-steps", "2")
    assert faults.finish(CS, tmp_path, *flags, world_size=world_size, fault=DOUBLE) == [0] * world_size
    assert_same_training(CS, tmp_path, alone)
    assert len(list(tmp_path.glob("contents_*/*.png"))) == 5


@pytest.mark.parametrize("world_size", [1, 4])
def test_a_run_of_two_processes_goes_on_with_another_number(world_size, alone, tmp_path):
    kill = {"kill": {"place": "step", "nth": 2 * STEPS_PER_EPOCH + 2}}
    job = faults.start(CS, tmp_path, world_size=2, fault=DOUBLE | kill)
    assert set(job.wait()) == {-signal.SIGKILL}
    assert (checkpoints(CS, tmp_path) / "stage2.pt").exists()
    assert faults.finish(CS, tmp_path, "--resume", world_size=world_size, fault=DOUBLE) == [0] * world_size
    assert_same_training(CS, tmp_path, alone)


def test_four_processes_killed_and_resumed_end_with_the_same_bits(tmp_path):
    """In fp32, where the order of a sum shows. Of two numbers it does not: two processes would prove nothing."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert faults.finish(CR, whole, world_size=4) == [0] * 4
    kill = {"kill": {"place": "step", "nth": 2 * STEPS_PER_EPOCH + 2}}
    assert set(faults.finish(CR, parts, world_size=4, fault=kill)) == {-signal.SIGKILL}
    assert faults.finish(CR, parts, "--resume", world_size=4) == [0] * 4
    assert_same_run(CR, parts, whole)


def test_a_batch_that_does_not_divide_is_refused_before_any_work(tmp_path):
    job = faults.start(CS, tmp_path, "--global-batch-size", "9", world_size=2)
    assert job.wait() == [2, 2]
    assert job.log.count("error:") == 1
    assert "--global-batch-size 9 does not divide by 2 processes" in job.log
    assert [path.name for path in tmp_path.iterdir()] == ["log.txt"]
