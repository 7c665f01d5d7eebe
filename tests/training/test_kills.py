"""SIGKILL anywhere: resumed until it ends, a run equals the uninterrupted one bit for bit."""

import signal

import faults
import pytest
from helpers import CR, CS, GRIDS, UNIFORM, C, assert_same_run

# Where each try dies, and in which call of that place: each try goes on where the one before was killed.
EVERYWHERE = [
    ("config", 1),  # before anything is written
    ("write", 1),  # the first checkpoint: nothing there yet
    ("regrowth", 1),
    ("stage border", 2),
    ("sampling", 2),
    ("rename", 4),
    ("checkpoint", 2),
    ("row", 1),
    ("restore", 1),  # while resuming
    ("grid", 1),
    ("sync", 6),
    ("optimizer", 2),
    ("step", 3),
]


@pytest.mark.parametrize(
    ("name", "kills"),
    [
        (CS, EVERYWHERE),
        (UNIFORM, [("step", 2), ("sampling", 1), ("rename", 4)]),
        (C, [("stage border", 3), ("sync", 5), ("step", 2)]),
        (CR, [("step", 5), ("checkpoint", 1), ("grid", 1)]),  # at "checkpoint", a row is in the log that will be redone
    ],
)
def test_a_run_killed_again_and_again_equals_an_uninterrupted_one(name, kills, finished, tmp_path):
    for place, nth in kills:
        fault = {"kill": {"place": place, "nth": nth}}
        job = faults.start(name, tmp_path, *GRIDS, "--resume", fault=fault)
        assert job.wait() == [-signal.SIGKILL], f"{place}: the run should have been killed\n{job.log}"
    assert faults.finish(name, tmp_path, *GRIDS, "--resume") == [0]
    assert_same_run(name, tmp_path, finished(name))
    assert not list(tmp_path.rglob("*.tmp*"))


SECOND_SAVE = ("checkpoint", 3)  # of latest.pt: the first epoch also writes stage1.pt


@pytest.mark.parametrize(
    ("place", "nth"),
    [("write", 1), ("sync", 1), ("rename", 1), ("rename", 2), ("sync", 2)],  # latest to previous, new to latest
)
def test_a_kill_at_any_moment_of_a_save_leaves_a_good_checkpoint(place, nth, tmp_path):
    flags = ("--epochs-per-stage", "1", "2", "1", "1", "1")
    job = faults.start(C, tmp_path, *flags, fault={"kill": {"place": place, "nth": nth, "after": SECOND_SAVE}})
    assert job.wait() == [-signal.SIGKILL]
    assert faults.finish(C, tmp_path, *flags, "--resume") == [0], job.log
    assert "continuing" in job.log
    assert "warning" not in job.log
