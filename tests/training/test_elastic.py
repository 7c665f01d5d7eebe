"""Jobs that lose a worker, two machines' worth of launchers, and waits that are longer than the processes' patience."""

import json
import os
import subprocess
import sys

import faults
import pytest
from helpers import ROOT, SCRIPTS, assert_same_run, launch, write_pngs

from mindiffusion.runtime.errors import UserError

CS = SCRIPTS[2]
KILL_ONE = {"kill": {"place": "step", "nth": 8}, "rank": "1", "attempt": 0}
GRIDS = ("--num-samples", "2", "--sample-steps", "2")


def torchrun(folder, *options):
    """Start the launcher with one worker that is killed in its first attempt."""
    command = [sys.executable, "-m", "torch.distributed.run", "--max-restarts=2", "--monitor-interval=0.1", *options]
    script = [str(ROOT / "tests/faults.py"), CS, str(folder), json.dumps(KILL_ONE), *GRIDS]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *script], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_two_launchers_restart_together_after_the_loss_of_a_worker(finished, tmp_path):
    """Two agents that meet on the loopback stand for two machines with a common file system."""
    rendezvous = ["--nnodes=2", "--nproc_per_node=1", "--rdzv-backend=c10d", "--rdzv-id=test"]
    endpoint = f"--rdzv-endpoint=127.0.0.1:{faults.free_port()}"
    jobs = [torchrun(tmp_path, *rendezvous, endpoint) for _ in range(2)]
    texts = [job.communicate(timeout=faults.PATIENCE)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], "\n".join(texts)
    assert any("exitcode: -9" in text for text in texts)
    assert_same_run(CS, tmp_path, finished(CS, 2))


def test_a_restarted_job_goes_on_without_being_told_and_never_deletes_its_own_work(tmp_path, monkeypatch, capsys):
    launch(CS, tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    launch(CS, tmp_path)
    assert "continuing" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"--overwrite would now delete.*--resume"):
        launch(CS, tmp_path, "--overwrite")


@pytest.mark.parametrize("place", ["cache", "sampling", "checkpoint", "grid"])
def test_ranks_wait_for_rank_0_for_longer_than_a_step_may_take(place, tmp_path, monkeypatch):
    monkeypatch.setenv("MINDIFFUSION_CACHE", str(tmp_path / "cache"))
    data = ("--data-path", str(write_pngs(tmp_path / "images")))
    fault = {"timeout": 2, "slow": {place: {"cache": 0.3, "sampling": 2.0}.get(place, 4.0)}}
    flags = (*data, "--num-samples", "2", "--sample-steps", "2", "--epochs-per-stage", "1")
    job = faults.start(SCRIPTS[0], tmp_path, *flags, world_size=2, fault=fault)
    assert job.wait() == [0, 0], job.log
