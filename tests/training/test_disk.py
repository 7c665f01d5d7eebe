"""A disk that is full or read-only: the run says what to do, and the last good checkpoint stays good."""

import subprocess
from pathlib import Path

import faults
import pytest
from helpers import CS, GRIDS, assert_same_run, checkpoints, contents

from mindiffusion.checkpoints.checkpoint import find_newest, load_checkpoint
from mindiffusion.reports.row_file import COLUMNS, METRICS, RowFile
from mindiffusion.runtime.errors import UserError


@pytest.fixture
def disk(tmp_path):
    """A file system of 8 MiB of its own. Mounting takes root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no permission to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("place", "spare", "victim", "world_size"),
    [
        ("checkpoint", 0, "latest.pt", 1),
        ("checkpoint", 200_000, "latest.pt", 2),  # room for half of it
        ("grid", 0, ".png", 2),
    ],
)
def test_a_disk_that_fills_up_ends_the_run_and_it_goes_on_when_there_is_room(
    place, spare, victim, world_size, disk, finished
):
    fault = {"fill": {"place": place, "nth": 3, "folder": str(disk), "spare": spare}}
    job = faults.start(CS, disk, *GRIDS, world_size=world_size, fault=fault)
    assert job.wait() == [2] * world_size, job.log
    (line,) = [line for line in job.log.splitlines() if line.startswith("error:")]
    assert "No space left on device" in line and victim in line and "--resume" in line
    assert "Traceback" not in job.log
    assert not list(disk.rglob("*.tmp*"))
    good = find_newest(checkpoints(CS, disk))
    assert good is not None and good.bad == ()
    (disk / "ballast").unlink()
    assert faults.finish(CS, disk, *GRIDS, "--resume", world_size=world_size) == [0] * world_size
    assert_same_run(CS, disk, finished(CS, world_size))


def test_a_row_that_cannot_be_written_is_told(monkeypatch):
    monkeypatch.setitem(COLUMNS, "full", METRICS)
    row = dict.fromkeys(METRICS, 1)
    with pytest.raises(UserError, match=r"cannot write /dev/full: No space left on device.*write elsewhere"):
        RowFile(Path("/dev/full")).append(row)


def test_a_read_only_disk_is_refused_before_any_work(disk):
    assert faults.finish(CS, disk) == [0]
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    job = faults.start(CS, disk, "--resume", log=disk.parent / "log.txt")
    assert job.wait() == [2]
    assert "cannot write" in job.log and "--output-dir" in job.log
    assert load_checkpoint(checkpoints(CS, disk) / "latest.pt")["next_step"] == 15
    assert (contents(CS, disk) / "metrics.csv").exists()


def test_two_runs_never_write_in_one_folder(tmp_path, monkeypatch):
    first = faults.start(CS, tmp_path, fault={"slow": {"step": 0.3}})
    first.wait_for(lambda: "stage 1/5" in first.log)
    second = faults.start(CS, tmp_path, "--resume", fault={"lock_patience": 0.5}, log=tmp_path / "second.txt")
    assert second.wait() == [2]
    assert "another run is writing" in second.log
    first.send(9)
    first.wait()
    assert faults.finish(CS, tmp_path, "--resume") == [0]
