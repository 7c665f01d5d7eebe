"""Whole runs of the four scripts: what they write, how they go on after an end, and what they refuse."""

import json

import pytest
import torch
from helpers import (
    ALL_SCRIPTS,
    CR,
    CS,
    STEPS_PER_EPOCH,
    VARIANTS,
    C,
    assert_close_curves,
    checkpoints,
    contents,
    exit_code,
    final_state,
    launch,
    launch_until,
    load_script,
    metrics,
)

from mindiffusion.checkpoints.checkpoint import load_checkpoint
from mindiffusion.config import TrainConfig
from mindiffusion.reports.row_file import METRICS, read_rows
from mindiffusion.runtime.errors import UserError
from mindiffusion.sparse_unet import num_active_channels
from mindiffusion.training import step
from mindiffusion.unet import NaiveUnet

CHANNELS = 16  # at the bottleneck of n_feat 8


@pytest.mark.parametrize("name", ALL_SCRIPTS)
def test_a_run_leaves_its_grids_and_checkpoints_and_nothing_else(name, finished):
    stages = range(1, len(load_script(name).STAGES) + 1)
    tables = {"metrics.csv", "recovery.csv", "bands.csv", "config.json"}
    grids = {f"stage{stage}_epoch{stage:03d}.png" for stage in stages}
    saved = {"latest.pt", *(f"stage{stage}.pt" for stage in stages), *(["previous.pt"] if len(stages) > 1 else [])}
    assert {path.name for path in contents(name, finished(name)).iterdir()} == tables | grids
    assert {path.name for path in checkpoints(name, finished(name)).iterdir()} == saved


@pytest.mark.parametrize("name", ALL_SCRIPTS)
def test_metrics_have_the_promised_columns_and_a_row_per_epoch(name, finished):
    rows = read_rows(contents(name, finished(name)) / "metrics.csv")[0]
    assert tuple(rows[0]) == (*METRICS, *(("active_channels",) if name == CS else ()))
    epochs = range(1, len(load_script(name).STAGES) + 1)
    assert [(int(row["stage"]), int(row["epoch"])) for row in rows] == [(epoch, epoch) for epoch in epochs]
    assert [int(row["step"]) for row in rows] == [STEPS_PER_EPOCH * epoch for epoch in epochs]
    assert [int(row["images"]) for row in rows] == [8 * STEPS_PER_EPOCH * epoch for epoch in epochs]
    for row in rows:
        weighted = name == ALL_SCRIPTS[-1] and row != rows[-1]  # S, but for its last stage
        assert (float(row["loss"]) == pytest.approx(float(row["mse"]) + float(row["penalty"]), rel=1e-4)) != weighted
        assert 0 < float(row["mse"]) < 10
        assert float(row["grad_norm"]) > 0
        assert float(row["images_per_s"]) > 0


@pytest.mark.parametrize("name", ALL_SCRIPTS)
def test_config_json_holds_every_option_resolved_and_the_data(name, finished):
    config = json.loads((contents(name, finished(name)) / "config.json").read_text())
    assert set(TrainConfig.__dataclass_fields__) <= set(config)
    assert (config["variant"], config["n_feat"], config["precision"]) == (VARIANTS[name], 8, "fp32")
    assert config["data"]["images"] == 24
    assert config["world_size"] == 1


def test_cs_opens_its_channels_stage_by_stage(finished):
    active = [num_active_channels(CHANNELS, stage.sparsity) for stage in load_script(CS).STAGES]
    assert [int(row["active_channels"]) for row in metrics(CS, finished(CS))] == active
    births = final_state(CS, finished(CS))["model"]["channel_birth_stage"].tolist()
    assert [sum(birth <= stage for birth in births) for stage in (1, 2, 3, 4, 5)] == active
    assert sum(birth == 0 for birth in births) == active[0]
    assert active[-1] == CHANNELS


def test_cr_penalizes_early_and_not_at_all_in_the_last_stage(finished):
    penalties = [float(row["penalty"]) for row in metrics(CR, finished(CR))]
    assert all(penalty > 0 for penalty in penalties[:-1])
    assert penalties == sorted(penalties, reverse=True)
    assert penalties[-1] == 0


def test_too_few_images_for_a_batch_are_an_error(tmp_path):
    with pytest.raises(UserError, match="the data has 24 images, fewer than one global batch of 32"):
        launch(C, tmp_path, "--global-batch-size", "32")


def test_micro_batches_that_do_not_fit_and_a_missing_path_are_errors(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="does not divide the 8 images"):
        launch(C, tmp_path, "--micro-batch-size", "3")
    monkeypatch.delenv("CELEBA_PATH", raising=False)
    with pytest.raises(UserError, match="CELEBA_PATH"):
        launch(C, tmp_path, "--data-path", "")


def test_init_from_starts_with_the_weights_of_a_bare_state_dict(tmp_path):
    torch.manual_seed(99)
    start = NaiveUnet(3, 3, 8).state_dict()
    torch.save({f"eps_model.{key}": value for key, value in start.items()}, tmp_path / "bare.pth")
    launch(C, tmp_path, "--init-from", str(tmp_path / "bare.pth"), "--lr", "1e-12")
    trained = final_state(C, tmp_path)["model"]
    for key, value in start.items():
        torch.testing.assert_close(trained[key], value, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ALL_SCRIPTS)
def test_a_dry_run_prints_the_plan_and_writes_nothing(name, tmp_path, capsys):
    launch(name, tmp_path, "--dry-run")
    plan = capsys.readouterr().out
    stages = load_script(name).STAGES
    assert all(stage.name in plan for stage in stages)
    assert max(len(line) for line in plan.splitlines() if not line.startswith("outputs")) <= 80  # but for a path
    total = [line.split() for line in plan.splitlines() if line.startswith("total")]
    assert total == [["total", str(len(stages)), str(3 * len(stages)), str(24 * len(stages))]]
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_the_run_would_meet_in_its_folder(tmp_path, capsys):
    launch_until(4, C, tmp_path)
    assert exit_code(C, tmp_path, "--dry-run") == 2
    assert "an earlier run is in" in capsys.readouterr().err
    launch(C, tmp_path, "--dry-run", "--resume")
    assert "at step 5 of these" in capsys.readouterr().out


def test_micro_batches_give_the_loss_of_the_whole_batch(finished, tmp_path):
    for name in (C, CR):
        launch(name, tmp_path, "--micro-batch-size", "2")
        # On a CPU whose kernels round otherwise for 2 images one ReLU may be decided otherwise: 1.4e-3 on an AMD EPYC.
        assert_close_curves(metrics(name, tmp_path), metrics(name, finished(name)), first=(1e-5, 5e-3))


@pytest.mark.parametrize("minutes", ["10", "1e-9"])
def test_a_broken_loss_stops_with_a_message_and_leaves_good_checkpoints(minutes, tmp_path, monkeypatch):
    backward_pass = step.backward_pass
    calls = []

    def break_the_fifth_gradient(losses, *rest):
        calls.append(1)
        measured = backward_pass(losses, *rest)
        if len(calls) == 5:
            next(losses.parameters()).grad.fill_(float("nan"))
        return measured

    monkeypatch.setattr(step, "backward_pass", break_the_fifth_gradient)
    with pytest.raises(UserError, match=r"the loss is .* by step .*, stage 2/5, epoch 2/5 .*Lower --lr"):
        launch(CS, tmp_path, "--checkpoint-minutes", minutes)
    for path in checkpoints(CS, tmp_path).iterdir():
        saved = load_checkpoint(path)
        assert all(value.isfinite().all() for part in ("model", "ema") for value in saved[part].values())
    assert load_checkpoint(checkpoints(CS, tmp_path) / "latest.pt")["next_step"] == (3 if minutes == "10" else 4)
    assert len(metrics(CS, tmp_path)) == 1


def test_an_absurd_learning_rate_ends_with_exit_code_2_and_no_checkpoint_and_its_folder_is_of_use(tmp_path, capsys):
    assert exit_code(C, tmp_path, "--lr", "1e30") == 2
    message = capsys.readouterr().err
    assert "Lower --lr" in message and "fp32" not in message  # which it is in
    assert not checkpoints(C, tmp_path).exists() and "--overwrite" in message
    assert exit_code(C, tmp_path, "--overwrite") == 0
