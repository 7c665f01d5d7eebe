"""The folders of a run: what may be continued there, what is deleted, when a checkpoint is due. Trains nothing."""

import errno
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from mindiffusion.checkpoints import run_folder
from mindiffusion.checkpoints.checkpoint import Found
from mindiffusion.checkpoints.run_folder import clear_run, find_start, opened_run
from mindiffusion.config import RESUME_NEWEST, TrainConfig
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import remove_leftovers
from mindiffusion.stages import Stage


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    """A run of two empty folders."""
    config = TrainConfig("c", (Stage("all", 1, t_min=0, t_max=1),), output_dir=str(tmp_path / "out"))
    config.contents_dir.mkdir(parents=True)
    config.checkpoints_dir.mkdir()
    return config


@pytest.fixture
def old(tmp_path, monkeypatch) -> Path:
    """A checkpoint of another folder; every checkpoint counts as good."""
    monkeypatch.setattr(run_folder, "load_checkpoint", lambda path: {"next_step": 5})
    monkeypatch.setattr(run_folder, "check_checkpoint", lambda path, content: None)
    return tmp_path / "old" / "latest.pt"


@pytest.mark.parametrize("trace", ["contents_c_32/metrics.csv", "checkpoints_c_32/latest.pt"])
def test_resume_from_elsewhere_leaves_another_run_alone(trace, config, old):
    config = replace(config, resume=str(old))
    assert find_start(config) == Found(old, {"next_step": 5})
    (Path(config.output_dir) / trace).touch()
    with pytest.raises(UserError, match="an earlier run is in"):
        find_start(config)


def test_resume_from_a_checkpoint_of_the_same_folder_goes_on(config, old, monkeypatch):
    (config.contents_dir / "metrics.csv").touch()
    stage = config.checkpoints_dir / "stage3.pt"
    stage.touch()
    assert find_start(replace(config, resume=str(stage))).path == stage
    monkeypatch.chdir(config.output_dir)
    assert find_start(replace(config, output_dir=".", resume=str(stage))).path == stage


def test_resume_of_a_run_that_has_lost_its_checkpoints_is_refused(config):
    (config.contents_dir / "metrics.csv").touch()
    config = replace(config, resume=RESUME_NEWEST)
    assert find_start(config) is None  # killed before its first checkpoint
    (config.contents_dir / "stage1_epoch001.png").touch()
    with pytest.raises(UserError, match=r"no checkpoint of it\. Restore .* --overwrite, or .* --output-dir"):
        find_start(config)


def test_a_restarted_job_that_had_saved_nothing_begins_where_it_was_told_to(config, old, monkeypatch):
    config = replace(config, resume=str(old))
    assert find_start(config, restarted=True) == Found(old, {"next_step": 5})
    (config.contents_dir / "metrics.csv").touch()  # its header came before the loss
    assert find_start(config, restarted=True).path == old
    newest = Found(config.checkpoints_dir / "latest.pt", {"next_step": 7})
    monkeypatch.setattr(run_folder, "find_newest", lambda folder: newest)
    assert find_start(config, restarted=True) == newest


@pytest.mark.parametrize("name", ["contents_c_32/metrics.csv", "checkpoints_c_32/latest.pt"])
def test_a_folder_that_has_the_name_of_a_file_of_a_run_is_refused_and_one_that_is_no_leftover_stays(name, config):
    folder = Path(config.output_dir) / name
    for each in (folder, config.contents_dir / ".x.tmp"):
        each.mkdir()
    for options in ({"overwrite": True}, {"resume": RESUME_NEWEST}, {}):
        with pytest.raises(UserError, match=rf"{name} is a folder, where a file is to be written: rename it"):
            find_start(replace(config, **options))
    folder.rmdir()
    remove_leftovers(config.contents_dir)
    assert (config.contents_dir / ".x.tmp").is_dir()


def test_what_cannot_be_deleted_is_told(config, monkeypatch):
    for remove, name in ((clear_run, "metrics.csv.bad"), (lambda _: remove_leftovers(config.contents_dir), ".y.tmp")):
        (config.contents_dir / name).touch()
        with monkeypatch.context() as patch, pytest.raises(UserError, match=r"cannot write .*Read-only"):
            patch.setattr(Path, "unlink", Mock(side_effect=OSError(errno.EROFS, "Read-only file system")))
            remove(config)


def test_overwrite_deletes_what_a_run_writes_and_nothing_else(config):
    theirs = ["stage1_epoch001.png", "metrics.csv", "figure_loss.png", "figure_norms.png"]
    mine = ["figure_of_mine.png", "stage_epoch.png", "notes.txt"]
    their_checkpoints = ["latest.pt", "previous.pt", "stage1.pt", "stage12.pt", "latest.pt.bad"]
    for name in theirs + mine:
        (config.contents_dir / name).touch()
    for name in [*their_checkpoints, "mine.pt"]:
        (config.checkpoints_dir / name).touch()
    clear_run(config)
    assert sorted(path.name for path in config.contents_dir.iterdir()) == sorted(mine)
    assert [path.name for path in config.checkpoints_dir.iterdir()] == ["mine.pt"]


@pytest.mark.parametrize("there", [False, True])
def test_a_start_that_fails_leaves_no_folder_behind_and_none_that_was_there_is_removed(there, tmp_path):
    config = TrainConfig("c", (Stage("all", 1),), output_dir=str(tmp_path / "new" / "out"))
    if there:
        config.contents_dir.mkdir(parents=True)
    with pytest.raises(UserError, match="no images"), opened_run(config, Ranks()):
        assert config.checkpoints_dir.is_dir()
        raise UserError("no images")
    left = sorted(path.name for path in tmp_path.rglob("*"))
    assert left == (["contents_c_32", "new", "out"] if there else [])


def test_a_folder_near_by_that_is_shut_does_not_stop_a_run_that_has_nothing_to_resume(config, monkeypatch, capsys):
    def shut(folder):
        if folder != config.checkpoints_dir:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return []

    monkeypatch.setattr(run_folder, "checkpoints_in", shut)
    assert find_start(replace(config, resume=RESUME_NEWEST)) is None
    assert "NOTHING TO RESUME" in capsys.readouterr().out
