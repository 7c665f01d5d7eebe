"""An end, and going on: a run that is resumed equals one that nothing interrupted, and nothing is lost by mistake."""

import shutil
import sys
from unittest.mock import Mock

import pytest
from helpers import (
    CP,
    CR,
    CS,
    GRIDS,
    STEPS_PER_EPOCH,
    C,
    P,
    S,
    assert_same_run,
    checkpoints,
    exit_code,
    files,
    launch,
    launch_until,
)

from mindiffusion.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from mindiffusion.runtime.command_line import run_script
from mindiffusion.runtime.errors import UserError
from mindiffusion.training import loop as training

MID_EPOCH, STAGE_BORDER, FIRST, LAST = 7, 2 * STEPS_PER_EPOCH - 1, 0, 5 * STEPS_PER_EPOCH - 1


@pytest.fixture
def again(finished, tmp_path):
    """Copies the finished run of a script to tmp_path; returns its folder of checkpoints there."""
    return lambda name: checkpoints(name, shutil.copytree(finished(name), tmp_path, dirs_exist_ok=True))


@pytest.mark.parametrize(
    ("name", "step"),  # of a stop; test_kills.py has kills
    [
        *((CS, step) for step in (MID_EPOCH, STAGE_BORDER, FIRST, LAST)),
        (P, FIRST),
        *((name, MID_EPOCH) for name in (C, CR, CP, S)),
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(name, step, finished, tmp_path):
    launch_until(step, name, tmp_path, *GRIDS)
    launch(name, tmp_path, *GRIDS, "--resume")
    assert_same_run(name, tmp_path, finished(name))


def test_checkpoint_minutes_saves_within_an_epoch(tmp_path):
    launch_until(1, C, tmp_path, "--checkpoint-minutes", "1e-9", kind="killed")
    assert load_checkpoint(checkpoints(C, tmp_path) / "latest.pt")["next_step"] == 1


def test_a_run_that_was_sent_back_and_killed_goes_on_from_where_it_was_sent(again, finished, tmp_path):
    stage = again(CS) / "stage3.pt"
    step = load_checkpoint(stage)["next_step"]
    launch_until(step, CS, tmp_path, *GRIDS, "--resume", str(stage), kind="killed")
    assert load_checkpoint(checkpoints(CS, tmp_path) / "latest.pt")["next_step"] == step
    launch(CS, tmp_path, *GRIDS, "--resume")
    assert_same_run(CS, tmp_path, finished(CS))


def test_a_damaged_checkpoint_is_named_and_set_aside_and_an_older_one_goes_on(again, finished, tmp_path, capsys):
    folder = again(CS)
    for name in ("latest.pt", "stage5.pt"):
        (folder / name).write_bytes(b"cut off")
    launch(CS, tmp_path, *GRIDS, "--resume")
    said = capsys.readouterr()
    for name in ("latest.pt", "stage5.pt"):
        assert name in said.err and (folder / f"{name}.bad").read_bytes() == b"cut off"
    assert "previous.pt at step 12" in said.out
    assert_same_run(CS, tmp_path, finished(CS))


def test_resume_of_a_finished_run_changes_no_result(again, tmp_path):
    again(CS)
    before = files(tmp_path)
    launch(CS, tmp_path, *GRIDS, "--resume")
    after = files(tmp_path)
    changed = {path for path in after if after[path] != before.get(path)}
    assert changed <= {"contents_cs_32/config.json"}


def test_resume_of_a_missing_path_fails(tmp_path):
    with pytest.raises(UserError, match=r"missing\.pt does not exist"):
        launch(C, tmp_path, "--resume", str(tmp_path / "missing.pt"))


def test_resume_from_weights_that_are_no_numbers_is_told_once(finished, tmp_path):
    content = load_checkpoint(checkpoints(C, finished(C)) / "latest.pt")
    content["model"]["out.bias"] *= float("nan")
    path = tmp_path / "nan.pt"
    save_checkpoint(path, content)
    with pytest.raises(UserError, match=r"^\S*nan\.pt holds model weights .*earlier checkpoint of it\.$"):
        launch(C, tmp_path, "--resume", str(path))


def test_resume_of_another_configuration_lists_the_fields_and_changes_nothing(again, tmp_path):
    again(C)
    before = files(tmp_path)
    with pytest.raises(UserError) as caught:
        launch(C, tmp_path, "--resume", "--lr", "0.5", "--seed", "3")
    text = str(caught.value)
    assert "lr: 2e-05 in the checkpoint, 0.5 now" in text
    assert "seed: 0 in the checkpoint, 3 now" in text
    assert "n_feat" not in text
    assert files(tmp_path) == before


@pytest.mark.parametrize(("script", "name"), [(S, "s"), ("train_celeba_32", "control")])
def test_resume_of_the_checkpoint_of_another_script_names_the_two_scripts_alone(script, name, finished, tmp_path):
    with pytest.raises(
        UserError, match=rf"another run:\n  script: of c the checkpoint, of {name} this one\nUse the same"
    ):
        launch(script, tmp_path, "--resume", str(checkpoints(C, finished(C)) / "latest.pt"))


def test_resume_of_a_folder_asks_for_a_file_in_it(finished, tmp_path):
    with pytest.raises(UserError, match=r"is a folder: name a \.pt file in it\.$"):
        launch(C, tmp_path, "--resume", str(checkpoints(C, finished(C))))


def test_a_run_that_is_complete_announces_no_stage(again, tmp_path, capsys):
    again(C)
    launch(C, tmp_path, "--resume")
    assert "complete already" in (said := capsys.readouterr().out) and "stage 5/5" not in said


def test_a_second_launch_refuses_and_changes_nothing(finished, capsys):
    before = files(finished(C))
    assert exit_code(C, finished(C)) == 2
    message = capsys.readouterr().err
    assert "--resume" in message and "--overwrite" in message
    assert files(finished(C)) == before


def test_overwrite_deletes_nothing_before_the_new_run_can_take_a_step(again, tmp_path, monkeypatch):
    again(C)
    before = files(tmp_path)

    monkeypatch.setattr(training, "_checked_losses", Mock(side_effect=UserError("out of memory")))
    with pytest.raises(UserError, match="out of memory"):
        launch(C, tmp_path, "--overwrite")
    assert files(tmp_path) == before


def test_what_cannot_be_resumed_is_told_with_what_can_be_done(finished, tmp_path, capsys):
    folder = shutil.copytree(finished(C), tmp_path / "my runs")
    with pytest.raises(UserError, match=r"longer.*--init-from '.*my runs/.*latest.pt' in another --output-dir"):
        launch(C, folder, *GRIDS, "--resume", "--epochs-per-stage", "1", "1", "1", "1", "2")
    launch(C, tmp_path / "my rums", "--resume")
    said, wrong = capsys.readouterr().out, tmp_path / "my rums"
    assert "NOTHING TO RESUME" in said and f"Runs of this script are in {folder}:" in said
    assert f"python sample.py '{wrong}/checkpoints_c_32' -o" in said
    assert f"python evaluate.py '{wrong}/checkpoints_c_32' --data-path synthetic" in said


def test_the_older_launcher_of_pytorch_starts_a_script_too(monkeypatch):
    monkeypatch.setattr("sys.argv", ["t.py", "--local-rank=0", "--local_rank=0", "--resume"])
    run_script(lambda: None)  # as python -m torch.distributed.launch starts it
    assert sys.argv == ["t.py", "--resume"]
