"""pytest tests/soak -s

Long tests that `make test` leaves out, with real processes: random SIGKILLs until each variant has survived
SOAK_KILLS of them (default 8), bf16 and compiled resume, and two launchers in two network namespaces.
"""

import json
import os
import random
import subprocess
import sys
import time

import faults
import pytest
from helpers import ROOT, SCRIPTS, assert_identical, assert_same_run, final_state

KILLS = int(os.environ.get("SOAK_KILLS", "8"))
FLAGS = ("--epochs-per-stage", "4", "4", "4", "4", "4", "--num-samples", "2", "--sample-steps", "5")


def flags_of(name):
    return FLAGS if name != SCRIPTS[0] else ("--epochs-per-stage", "20", *FLAGS[6:])


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("name", SCRIPTS)
def test_random_kills(name, world_size, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert faults.finish(name, whole, *flags_of(name), world_size=world_size) == [0] * world_size
    dice, kills = random.Random(f"{name}{world_size}"), 0
    while True:
        attempt = faults.start(name, killed, *flags_of(name), "--resume", world_size=world_size, log=tmp_path / "log")
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
    assert faults.finish(SCRIPTS[2], tmp_path, *FLAGS) == [0]
    times = []
    for _ in range(5):
        began = time.monotonic()
        script = [str(ROOT / "tests/faults.py"), SCRIPTS[2], str(tmp_path), "{}", *FLAGS, "--resume"]
        job = subprocess.Popen([sys.executable, *script], env=environment(), stdout=subprocess.PIPE, text=True)
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
    assert faults.finish(SCRIPTS[2], tmp_path / "whole", *small) == [0]
    job = faults.start(SCRIPTS[2], tmp_path / "parts", *small, fault={"kill": {"place": "step", "nth": 8}})
    assert job.wait(400) == [-9], job.log
    assert faults.start(SCRIPTS[2], tmp_path / "parts", *small, "--resume").wait(400) == [0]
    assert_identical(final_state(SCRIPTS[2], tmp_path / "parts"), final_state(SCRIPTS[2], tmp_path / "whole"))


@pytest.fixture
def two_hosts():
    """Two network namespaces joined by a cable: (name, address) of each."""
    hosts = [("soak1", "10.77.0.1"), ("soak2", "10.77.0.2")]
    steps = [f"netns add {name}" for name, _ in hosts]
    steps += ["link add soakA netns soak1 type veth peer name soakB netns soak2"]
    for (name, address), cable in zip(hosts, ("soakA", "soakB"), strict=True):
        steps += [f"-n {name} addr add {address}/24 dev {cable}", f"-n {name} link set {cable} up"]
        steps += [f"-n {name} link set lo up"]
    try:
        for step in steps:
            subprocess.run(["ip", *step.split()], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces here: {error}")
    yield hosts
    for name, _ in hosts:
        subprocess.run(["ip", "netns", "delete", name], check=False)


def test_two_hosts_lose_a_worker(two_hosts, tmp_path):
    fault = json.dumps({"kill": {"place": "step", "nth": 8}, "rank": "1", "attempt": 0})
    endpoint = f"{two_hosts[0][1]}:29400"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", "--max-restarts=2"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-id=soak", f"--rdzv-endpoint={endpoint}", "--monitor-interval=0.1"]
    script = [str(ROOT / "tests/faults.py"), SCRIPTS[2], str(tmp_path / "two"), fault, "--num-samples", "0", "--resume"]
    jobs = []
    for (name, address), cable in zip(two_hosts, ("soakA", "soakB"), strict=True):
        env = environment() | {"GLOO_SOCKET_IFNAME": cable}
        host = f"--rdzv-conf=is_host={int(address == two_hosts[0][1])}"
        here = ["ip", "netns", "exec", name, *launcher, host, f"--local-addr={address}", *script]
        jobs.append(subprocess.Popen(here, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    texts = [job.communicate(timeout=240)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], "\n".join(texts)
    assert any("exitcode: -9" in text for text in texts)
    assert faults.finish(SCRIPTS[2], tmp_path / "whole", "--num-samples", "0", world_size=2) == [0, 0]
    assert_same_run(SCRIPTS[2], tmp_path / "two", tmp_path / "whole")
