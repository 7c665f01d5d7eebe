"""Several processes, and signals to a real one."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers import ROOT, assert_close_curves, checkpoints, contents, end_at, launch, metrics, tiny_flags, write_pngs

from mindiffusion.checkpoint import load_checkpoint
from mindiffusion.errors import Stopped

C, CS = "train_celeba_c_32", "train_celeba_cs_32"


def environment(folder) -> dict[str, str]:
    cache = {"MINDIFFUSION_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **cache}


def test_two_processes_train_the_same_model_as_one(tmp_path, monkeypatch):
    monkeypatch.setenv("MINDIFFUSION_CACHE", str(tmp_path / "cache"))
    data = ["--data-path", str(write_pngs(tmp_path / "images"))]
    flags = [*tiny_flags(CS, tmp_path / "two"), *data, "--num-samples", "3", "--sample-steps", "2"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    job = subprocess.run(
        [*torchrun, str(ROOT / f"{CS}.py"), *flags],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert job.returncode == 0, job.stderr
    launch(CS, tmp_path / "one", *data, "--num-samples", "3", "--sample-steps", "2")

    one, two = metrics(CS, tmp_path / "one"), metrics(CS, tmp_path / "two")
    assert len(one) == len(two) == 5
    assert_close_curves(one, two)
    for a, b in zip(one, two, strict=True):
        assert a["active_channels"] == b["active_channels"]
    models = [load_checkpoint(checkpoints(CS, tmp_path / side) / "latest.pt")["model"] for side in ("one", "two")]
    for name in ("channel_mask", "channel_birth_stage"):
        assert torch.equal(models[0][name], models[1][name])
    grids = [sorted(path.name for path in contents(CS, tmp_path / side).glob("*.png")) for side in ("one", "two")]
    assert grids[0] == grids[1]
    assert len(grids[0]) == 5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs-per-stage", "1", "2"], "--epochs-per-stage has 2 numbers, but this script has 5 stage(s)"),
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
    ],
)
def test_a_mistake_gives_one_message_and_exit_code_2(tmp_path, flags, message):
    command = [sys.executable, str(ROOT / f"{C}.py"), "--data-path", "synthetic", *flags]
    job = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=60)
    assert job.returncode == 2
    assert message in job.stderr
    assert "Traceback" not in job.stderr


def test_sigterm_ends_a_run_with_143_and_one_line_and_it_can_be_resumed(tmp_path, monkeypatch):
    data = ["--data-path", str(write_pngs(tmp_path / "images"))]
    long = [*data, "--epochs-per-stage", "9999", "1", "1", "1", "1"]
    job = subprocess.Popen(
        [sys.executable, str(ROOT / f"{C}.py"), *tiny_flags(C, tmp_path), *long],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (checkpoints(C, tmp_path) / "latest.pt").exists() and job.poll() is None:
            assert time.monotonic() < deadline, "the run did not begin"
            time.sleep(0.05)
        job.send_signal(signal.SIGTERM)
        _, errors = job.communicate(timeout=30)
    finally:
        job.kill()
    assert job.returncode == 143
    (line,) = errors.strip().splitlines()
    assert line.startswith("stopped by signal 15")
    assert line.endswith("Continue with --resume.")

    saved = load_checkpoint(checkpoints(C, tmp_path) / "latest.pt")["next_step"]
    assert f"step {saved:,} is saved" in line
    monkeypatch.setenv("MINDIFFUSION_CACHE", str(tmp_path / "cache"))
    end_at(monkeypatch, saved + 1, "stopped")
    with pytest.raises(Stopped, match=f"step {saved + 2:,} is saved"):
        launch(C, tmp_path, *long, "--resume")
