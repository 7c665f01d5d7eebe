"""Whole runs of the four scripts: outputs, refusal, and exact resume."""

import csv
import hashlib
import json
from pathlib import Path

import pytest
import torch

from mindiffusion.checkpoint import load_checkpoint
from mindiffusion.errors import Stopped, UserError
from mindiffusion.metrics_log import COLUMNS
from mindiffusion.run import Run
from mindiffusion.unet import NaiveUnet

pytest_plugins = ["tiny_runs"]


VARIANTS = ("", "c_", "cs_", "cr_")


def rows(output, variant):
    with open(Path(output) / f"contents_{variant}32" / "metrics.csv") as file:
        return list(csv.DictReader(file))


def latest(output, variant):
    return load_checkpoint(Path(output) / f"checkpoints_{variant}32" / "latest.pt")


def flat(value, name=""):
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in flat(item, f"{name}.{key}").items()}
    if isinstance(value, list | tuple):
        return {k: v for i, item in enumerate(value) for k, v in flat(item, f"{name}[{i}]").items()}
    return {name: value}


def assert_same_state(one, other):
    for part in ("model", "ema", "optimizer", "regrowth", "interval"):
        ours, theirs = flat(one[part]), flat(other[part])
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            same = torch.equal(value, theirs[name]) if isinstance(value, torch.Tensor) else value == theirs[name]
            assert same, f"{part}{name}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_leaves_grids_metrics_config_and_checkpoints(launch, variant):
    launch(variant, "--num-samples", "2", "--sample-steps", "2")
    stages = 1 if variant == "" else 5
    contents = Path(f"contents_{variant}32")
    grids = [f"stage{s}_epoch{s:03d}.png" for s in range(1, stages + 1)]
    assert sorted(p.name for p in contents.iterdir()) == ["config.json", "metrics.csv", *grids]
    kept = sorted(p.name for p in Path(f"checkpoints_{variant}32").iterdir())
    assert kept == sorted(
        ["latest.pt", *(["previous.pt"] if stages > 1 else [])] + [f"stage{s + 1}.pt" for s in range(stages)]
    )
    log = rows(".", variant)
    assert tuple(log[0]) == COLUMNS and [int(row["step"]) for row in log] == [3 * s for s in range(1, stages + 1)]
    active = [3, 6, 9, 12, 16] if variant == "cs_" else [16] * stages
    assert [int(row["active_channels"]) for row in log] == active
    penalties = [float(row["penalty"]) for row in log]
    assert (penalties[0] > 0 and penalties[-1] == 0) if variant == "cr_" else not any(penalties)
    assert json.loads((contents / "config.json").read_text())["n_feat"] == 8


def test_births_follow_the_schedule(launch):
    launch("cs_")
    births = latest(".", "cs_")["model"]["channel_birth_stage"]
    assert births.bincount().tolist() == [3, 0, 3, 3, 3, 4]


@pytest.mark.parametrize(("variant", "stop_after"), [("cs_", 4), ("cs_", 6), ("c_", 8), ("cr_", 5), ("", 2)])
def test_resume_is_bit_exact_in_mid_epoch_and_at_a_stage_border(launch, monkeypatch, variant, stop_after):
    launch(variant, "--output-dir", "whole")
    finish_step = Run.finish_step

    def stopping(self, step, mse, penalty, grad_norm, stop):
        stop.received = 15 if step + 1 == stop_after else 0
        finish_step(self, step, mse, penalty, grad_norm, stop)

    monkeypatch.setattr(Run, "finish_step", stopping)
    with pytest.raises(Stopped) as stopped:
        launch(variant, "--output-dir", "parts")
    assert stopped.value.exit_code == 143 and latest("parts", variant)["next_step"] == stop_after
    monkeypatch.setattr(Run, "finish_step", finish_step)
    launch(variant, "--output-dir", "parts", "--resume")
    assert_same_state(latest("whole", variant), latest("parts", variant))
    drop = {"images_per_s": ""}
    assert [row | drop for row in rows("whole", variant)] == [row | drop for row in rows("parts", variant)]


def test_a_killed_run_repeats_what_it_had_not_saved(launch, monkeypatch):
    launch("cs_", "--output-dir", "whole")
    finish_step = Run.finish_step

    def dying(self, step, *rest):
        if step == 7:  # one step after the save at the end of stage 2
            raise KeyboardInterrupt
        finish_step(self, step, *rest)

    monkeypatch.setattr(Run, "finish_step", dying)
    with pytest.raises(KeyboardInterrupt):
        launch("cs_", "--output-dir", "parts")
    monkeypatch.setattr(Run, "finish_step", finish_step)
    launch("cs_", "--output-dir", "parts", "--resume")
    assert_same_state(latest("whole", "cs_"), latest("parts", "cs_"))


def test_an_earlier_run_is_neither_overwritten_nor_mixed_up(launch):
    launch("c_")
    before = {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in Path(".").glob("c*_c_32/*")}
    with pytest.raises(UserError, match=r"--resume.*--overwrite"):
        launch("c_")
    with pytest.raises(UserError, match=r"lr: 2e-05 in the checkpoint, 0.001 now"):
        launch("c_", "--resume", "--lr", "1e-3")
    with pytest.raises(UserError, match=r"absent\.pt does not exist"):
        launch("c_", "--resume", "absent.pt")
    assert before == {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in Path(".").glob("c*_c_32/*")}
    launch("c_", "--overwrite", "--lr", "1e-3")
    assert latest(".", "c_")["config"]["lr"] == 1e-3


def test_resume_starts_where_there_is_nothing_and_falls_back_from_a_damaged_latest(launch, capsys):
    launch("c_", "--resume")
    whole = latest(".", "c_")
    path = Path("checkpoints_c_32/latest.pt")
    path.write_bytes(path.read_bytes()[:-1000])
    launch("c_", "--resume")
    assert "latest.pt" in capsys.readouterr().err
    assert_same_state(whole, latest(".", "c_"))


def test_too_few_images_and_uneven_batches_are_named(launch):
    with pytest.raises(UserError, match="24 images, fewer than one global batch of 32"):
        launch("c_", "--global-batch-size", "32")
    with pytest.raises(UserError, match="does not divide the 8 images"):
        launch("c_", "--micro-batch-size", "3")
    with pytest.raises(UserError, match="CELEBA_PATH"):
        launch("c_", "--data-path", "")


def test_micro_batches_give_the_same_losses(launch):
    launch("cs_", "--output-dir", "one")
    launch("cs_", "--output-dir", "many", "--micro-batch-size", "2")
    ours, theirs = ([float(row["mse"]) for row in rows(out, "cs_")] for out in ("one", "many"))
    # Later steps drift: Adam turns the rounding noise of near-zero gradients into full-sized updates.
    assert ours[:2] == pytest.approx(theirs[:2], abs=1e-5)


def test_dry_run_prints_the_plan_and_writes_nothing(launch, capsys):
    launch("cs_", "--dry-run")
    assert "stage1_high_noise" in capsys.readouterr().out and not Path("contents_cs_32").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(launch, monkeypatch):
    monkeypatch.setattr("mindiffusion.training.backward_pass", nan_backward)
    with pytest.raises(UserError, match=r"loss is nan.*step 3 of stage 1"):
        launch("c_")
    assert not list(Path("checkpoints_c_32").glob("*.pt"))


def nan_backward(config, ranks, ddp, batch, penalty):
    loss = ddp(*batch)
    loss.backward()
    return loss.detach() * float("nan"), torch.zeros(())


def test_init_from_a_bare_state_dict(launch):
    net = NaiveUnet(3, 3, 8)
    torch.save(net.state_dict(), "original.pth")
    launch("cs_", "--init-from", "original.pth", "--lr", "1e-12", "--ema-decay", "0")
    trained = latest(".", "cs_")["model"]
    assert all(torch.allclose(trained[name], value, atol=1e-6) for name, value in net.state_dict().items())
