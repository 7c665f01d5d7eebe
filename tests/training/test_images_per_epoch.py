"""Epochs shorter than the data: small budgets can then follow a schedule of many epochs."""

import pytest
from helpers import checkpoints, contents, exit_code, launch, metrics

from mindiffusion.checkpoints.checkpoint import load_checkpoint
from mindiffusion.reports.run_record import read_record
from mindiffusion.runtime.errors import UserError
from mindiffusion.training.schedule import Schedule


class Config:
    global_batch_size, images_per_epoch, seed, stages = 8, 16, 0, ()
    lr, lr_schedule = 1e-3, "constant"


def test_a_short_epoch_is_drawn_anew_from_all_images():
    schedule = Schedule(Config, 24)
    assert schedule.steps_per_epoch == 2
    first, second = (set(schedule.order(epoch)[:16].tolist()) for epoch in (0, 1))
    assert len(first) == len(second) == 16 and first != second and max(first | second) > 15


@pytest.mark.parametrize("count", [7, 25])
def test_an_epoch_of_less_than_a_batch_or_more_than_the_data_is_refused(count):
    config = type("Impossible", (Config,), {"images_per_epoch": count})
    with pytest.raises(UserError, match="--images-per-epoch"):
        Schedule(config, 24)


def test_a_run_of_short_epochs_counts_its_images_and_knows_its_range(tmp_path):
    launch("train_celeba_c_32", tmp_path, "--images-per-epoch", "16")
    assert [row["images"] for row in metrics("train_celeba_c_32", tmp_path)] == ["16", "32", "48", "64", "80"]
    assert read_record(contents("train_celeba_c_32", tmp_path)).stage_borders == [0, 16, 32, 48, 64, 80]
    folder = checkpoints("train_celeba_c_32", tmp_path)
    assert [load_checkpoint(folder / f"stage{k}.pt")["t_stop"] for k in range(1, 6)] == [800, 600, 400, 200, 0]
    assert exit_code("train_celeba_c_32", tmp_path, "--resume") == 2  # another schedule is another run


def test_grids_are_drawn_every_so_many_epochs_and_at_the_end_of_a_stage(tmp_path):
    grids = ("--grid-every", "2", "--num-samples", "2", "--sample-steps", "1")
    launch("train_celeba_32", tmp_path, "--images-per-epoch", "8", "--epochs-per-stage", "5", *grids)
    drawn = [path.stem for path in sorted(contents("train_celeba_32", tmp_path).glob("stage*.png"))]
    assert drawn == ["stage1_epoch002", "stage1_epoch004", "stage1_epoch005"]
