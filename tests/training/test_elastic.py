"""Jobs that lose a worker, two machines' worth of launchers, and waits that are longer than the processes' patience."""

from subprocess import PIPE

import faults
import pytest
from helpers import CS, GRIDS, UNIFORM, assert_same_run, launch, write_pngs

from mindiffusion.runtime.errors import UserError

KILL_ONE = {"kill": {"place": "step", "nth": 8}, "rank": "1", "attempt": 0}


def test_two_launchers_restart_together_after_the_loss_of_a_worker(finished, tmp_path):
    """Two agents that meet on the loopback stand for two machines with a common file system."""
    options = ["--nnodes=2", "--nproc_per_node=1", "--max-restarts=2", "--rdzv-backend=c10d", "--rdzv-id=test"]
    options += [f"--rdzv-endpoint=127.0.0.1:{faults.free_port()}"]
    jobs = [faults.torchrun(CS, tmp_path, KILL_ONE, *options, flags=GRIDS, stdout=PIPE) for _ in range(2)]
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
    job = faults.start(UNIFORM, tmp_path, *data, *GRIDS, "--epochs-per-stage", "1", world_size=2, fault=fault)
    assert job.wait() == [0, 0], job.log
