"""The folders of a run: what may be continued there, what is deleted, when a checkpoint is due. Trains nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from mindiffusion.checkpoints import run_folder
from mindiffusion.checkpoints.checkpoint import Found
from mindiffusion.checkpoints.run_folder import clear_run, open_run, reserved_folders
from mindiffusion.config import RESUME_NEWEST, TrainConfig
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError
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
    return tmp_path / "old" / "latest.pt"


@pytest.mark.parametrize("trace", ["contents_c_32/metrics.csv", "checkpoints_c_32/latest.pt"])
def test_resume_from_elsewhere_leaves_another_run_alone(trace, config, old):
    config = replace(config, resume=str(old))
    assert open_run(config) == Found(old, {"next_step": 5})
    (Path(config.output_dir) / trace).touch()
    with pytest.raises(UserError, match="an earlier run is in"):
        open_run(config)


def test_resume_from_a_checkpoint_of_the_same_folder_goes_on(config, old, monkeypatch):
    (config.contents_dir / "metrics.csv").touch()
    stage = config.checkpoints_dir / "stage3.pt"
    stage.touch()
    assert open_run(replace(config, resume=str(stage))).path == stage
    monkeypatch.chdir(config.output_dir)
    assert open_run(replace(config, output_dir=".", resume=str(stage))).path == stage


def test_resume_of_a_run_that_has_lost_its_checkpoints_is_refused(config):
    (config.contents_dir / "metrics.csv").touch()
    config = replace(config, resume=RESUME_NEWEST)
    assert open_run(config) is None  # killed before its first checkpoint
    (config.contents_dir / "stage1_epoch001.png").touch()
    with pytest.raises(UserError, match=r"no checkpoint of it\. Restore .* --overwrite, or .* --output-dir"):
        open_run(config)


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


def test_a_link_in_the_place_of_the_lock_is_told(config, tmp_path):
    (tmp_path / "precious").write_text("mine")
    (config.checkpoints_dir / run_folder.LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match=r"\.lock, which guards the run, cannot be locked.*Remove it"):
        reserved_folders(config, Ranks()).__enter__()
    assert (tmp_path / "precious").read_text() == "mine"


# --- when a checkpoint is due -----------------------------------------------------------------------------------------
