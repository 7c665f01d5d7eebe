"""pytest tests/soak -s

Long tests that `make test` leaves out, with real processes: random SIGKILLs until each variant has survived
SOAK_KILLS of them (default 8), and bf16 and compiled resume.
"""

import os
import random
import subprocess
import sys
import time

import faults
import pytest
from helpers import CS, ROOT, SCRIPTS, UNIFORM, assert_identical, assert_same_run, final_state

KILLS = int(os.environ.get("SOAK_KILLS", "8"))
FLAGS = ("--epochs-per-stage", "4", "4", "4", "4", "4", "--num-samples", "2", "--sample-steps", "5")


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("name", SCRIPTS)
def test_random_kills(name, world_size, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    flags = FLAGS if name != UNIFORM else ("--epochs-per-stage", "20", *FLAGS[6:])
    assert faults.finish(name, whole, *flags, world_size=world_size) == [0] * world_size
    dice, kills = random.Random(f"{name}{world_size}"), 0
    while True:
        attempt = faults.start(name, killed, *flags, "--resume", world_size=world_size, log=tmp_path / "log")
        began = time.monotonic()
        if kills < KILLS:
            patience = dice.uniform(0.05, 2.5)
            while time.monotonic() - began < patience and all(p.is_alive() for p in attempt.processes):
                time.sleep(0.001)
            victim = dice.choice(attempt.processes)
            if victim.is_alive():
                os.kill(victim.pid, 9)
                kills += 1
        codes = attempt.wait()
        if codes == [0] * world_size:
            break
    assert_same_run(name, killed, whole)
    print(f"\n{name}, {world_size} process(es): {kills} kills survived")


def test_time_to_recover(tmp_path):
    """From the launch of a real process to the line that says where it goes on: imports included."""
    assert faults.finish(CS, tmp_path, *FLAGS) == [0]
    times = []
    for _ in range(5):
        began = time.monotonic()
        script = [str(ROOT / "tests/faults.py"), CS, str(tmp_path), "{}", *FLAGS, "--resume"]
        job = subprocess.Popen(
            [sys.executable, *script], env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True
        )
        for line in job.stdout:
            if line.startswith("continuing"):
                times.append(time.monotonic() - began)
        assert job.wait() == 0
    assert len(times) == 5
    print(f"\nrecovery: {min(times):.1f} to {max(times):.1f} s from launch to going on")


@pytest.mark.parametrize("flags", [("--precision", "bf16"), ("--compile",), ("--compile", "--precision", "bf16")])
def test_resume_off_the_reference_path(flags, tmp_path):
    """bf16 and compiled code are not promised to repeat bits; on one CPU they do."""
    small = ("--epochs-per-stage", "1", "1", "1", "1", "1", *flags)
    assert faults.start(CS, tmp_path / "whole", *small).wait(400) == [0]
    job = faults.start(CS, tmp_path / "parts", *small, fault={"kill": {"place": "step", "nth": 8}})
    assert job.wait(400) == [-9], job.log
    assert faults.start(CS, tmp_path / "parts", *small, "--resume").wait(400) == [0]
    assert_identical(final_state(CS, tmp_path / "parts"), final_state(CS, tmp_path / "whole"))
