"""Where a run stands: epochs shorter than the data, the learning rate of each step, and how long it will take."""

import itertools
import time

import pytest
import torch
from helpers import UNIFORM, C, checkpoints, contents, exit_code, launch, launch_until, metrics

from mindiffusion.checkpoints.checkpoint import load_checkpoint
from mindiffusion.config import TrainConfig
from mindiffusion.ddpm import DDPM
from mindiffusion.reports.run_record import read_record
from mindiffusion.runtime.errors import UserError
from mindiffusion.stages import Stage
from mindiffusion.training import plan
from mindiffusion.training.schedule import Schedule
from mindiffusion.unet import NaiveUnet


def config(**options) -> TrainConfig:
    return TrainConfig("c", (Stage("one", 1), Stage("two", 3)), **{"global_batch_size": 8, **options})


def test_a_short_epoch_is_drawn_anew_from_all_images():
    schedule = Schedule(config(images_per_epoch=16), 24)
    assert schedule.steps_per_epoch == 2
    first, second = (set(schedule.order(epoch)[:16].tolist()) for epoch in (0, 1))
    assert len(first) == len(second) == 16 and first != second and max(first | second) > 15


@pytest.mark.parametrize("count", [7, 25])
def test_an_epoch_of_less_than_a_batch_or_more_than_the_data_is_refused(count):
    with pytest.raises(UserError, match="--images-per-epoch"):
        Schedule(config(images_per_epoch=count), 24)


def test_a_run_of_short_epochs_counts_its_images_and_knows_its_range(tmp_path):
    launch(C, tmp_path, "--images-per-epoch", "16")
    assert [row["images"] for row in metrics(C, tmp_path)] == ["16", "32", "48", "64", "80"]
    assert read_record(contents(C, tmp_path)).stage_borders == [0, 16, 32, 48, 64, 80]
    folder = checkpoints(C, tmp_path)
    assert [load_checkpoint(folder / f"stage{k}.pt")["t_stop"] for k in range(1, 6)] == [800, 600, 400, 200, 0]
    assert exit_code(C, tmp_path, "--resume") == 2  # another schedule is another run


def test_grids_are_drawn_every_so_many_epochs_and_at_the_end_of_a_stage(tmp_path):
    grids = ("--grid-every", "2", "--num-samples", "2", "--sample-steps", "1")
    launch(UNIFORM, tmp_path, "--images-per-epoch", "8", "--epochs-per-stage", "5", *grids)
    drawn = [path.stem for path in sorted(contents(UNIFORM, tmp_path).glob("stage*.png"))]
    assert drawn == ["stage1_epoch002", "stage1_epoch004", "stage1_epoch005"]


def test_linear_falls_by_equal_steps_from_the_peak_over_all_stages_to_the_last_step():
    for kind, expected in (("constant", [1e-3] * 8), ("linear", [1e-3 * (8 - step) / 8 for step in range(8)])):
        schedule = Schedule(config(lr=1e-3, lr_schedule=kind), 16)
        assert [schedule.lr(step) for step in range(schedule.total_steps)] == pytest.approx(expected)


def test_a_run_steps_with_its_learning_rate_logs_it_and_resumes_with_it(tmp_path):
    flags = ("--lr-schedule", "linear", "--lr", "1e-2")
    launch(C, tmp_path / "whole", *flags)
    launch_until(7, C, tmp_path / "parts", *flags, kind="killed")
    launch(C, tmp_path / "parts", *flags, "--resume")
    whole, parts = (metrics(C, tmp_path / name) for name in ("whole", "parts"))
    assert whole == parts
    rates = [float(row["lr"]) for row in whole]
    assert rates == pytest.approx([1e-2 * (15 - step) / 15 for step in (2, 5, 8, 11, 14)], rel=1e-3)


def test_other_work_on_the_machine_does_not_change_the_estimate(monkeypatch):
    monkeypatch.setattr(time, "monotonic", itertools.count(0, 1000).__next__)  # seconds, in which others work
    shape = (plan.IMAGES, 3, 32, 32)
    speed = plan.images_per_second(DDPM(NaiveUnet(3, 3, 8)), "fp32", shape, torch.device("cpu"))
    assert speed > plan.STEPS * plan.IMAGES / 1000
