"""The learning rate of each step: constant as in the brief, or falling linearly to 0."""

import pytest
from helpers import Killed, contents, end_at, launch, metrics

from mindiffusion.config import TrainConfig
from mindiffusion.stages import Stage
from mindiffusion.training.schedule import Schedule

STAGES = (Stage("one", 1, t_min=0.5, t_max=1.0), Stage("two", 3, t_min=0.0, t_max=1.0))


def learning_rates(kind: str) -> list[float]:
    schedule = Schedule(TrainConfig("c", STAGES, global_batch_size=8, lr=1e-3, lr_schedule=kind), 16)
    return [schedule.lr(step) for step in range(schedule.total_steps)]


def test_linear_falls_by_equal_steps_from_the_peak_over_all_stages_to_the_last_step():
    assert learning_rates("constant") == [1e-3] * 8
    assert learning_rates("linear") == pytest.approx([1e-3 * (8 - step) / 8 for step in range(8)])


def test_a_run_steps_with_it_logs_it_and_resumes_with_it(tmp_path, monkeypatch):
    flags = ("--lr-schedule", "linear", "--lr", "1e-2")
    launch("train_celeba_c_32", tmp_path / "whole", *flags)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        end_at(patch, 7, "killed")
        launch("train_celeba_c_32", tmp_path / "parts", *flags)
    launch("train_celeba_c_32", tmp_path / "parts", *flags, "--resume")
    whole, parts = (metrics("train_celeba_c_32", tmp_path / name) for name in ("whole", "parts"))
    assert whole == parts
    rates = [float(row["lr"]) for row in whole]
    assert rates == pytest.approx([1e-2 * (15 - step) / 15 for step in (2, 5, 8, 11, 14)], rel=1e-3)
    assert (contents("train_celeba_c_32", tmp_path / "whole") / "config.json").read_text().count("linear") == 1
