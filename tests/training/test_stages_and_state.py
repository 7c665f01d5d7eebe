"""What a script may bring of its own, an optimizer, values of stages, readings, and what checkpoints make of it."""

import functools

import pytest
import torch
from helpers import C, S, assert_same_run, checkpoints, launch, launch_until, load_script, metrics

from mindiffusion.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from mindiffusion.checkpoints.models import open_model
from mindiffusion.checkpoints.same_run import optimizer_options
from mindiffusion.curriculum_ddpm import CurriculumDDPM
from mindiffusion.runtime.errors import UserError
from mindiffusion.soft_curriculum_ddpm import SoftCurriculumDDPM
from mindiffusion.unet import NaiveUnet


def test_an_optimizer_of_another_class_trains_saves_and_resumes(tmp_path, monkeypatch):
    sgd = torch.optim.SGD
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim, "Adam", lambda parameters, lr, fused: sgd(parameters, lr=lr, momentum=0.9))
        launch(C, tmp_path / "whole")
        launch_until(7, C, tmp_path / "parts")
        launch(C, tmp_path / "parts", "--resume")
        assert_same_run(C, tmp_path / "parts", tmp_path / "whole")
    with pytest.raises(UserError, match="'SGD' in the checkpoint, 'Adam' now"):
        launch(C, tmp_path / "whole", "--resume")


def test_a_layer_that_is_frozen_until_a_later_stage_trains_resumes_and_samples(tmp_path, monkeypatch):
    set_time_range = CurriculumDDPM.set_time_range

    def thawed(process, low, high):
        process.eps_model.out.bias.requires_grad_(low < 0.5)  # from the third stage on
        set_time_range(process, low, high)

    monkeypatch.setattr(CurriculumDDPM, "set_time_range", thawed)
    launch(C, tmp_path / "whole")
    launch_until(7, C, tmp_path / "parts")
    assert open_model(checkpoints(C, tmp_path / "parts")).t_stop > 0
    launch(C, tmp_path / "parts", "--resume")
    assert_same_run(C, tmp_path / "parts", tmp_path / "whole")
    assert (
        len(
            {
                len(load_checkpoint(checkpoints(C, tmp_path / "whole") / f"stage{k}.pt")["optimizer"]["state"])
                for k in (1, 5)
            }
        )
        == 2
    )


def test_a_learning_rate_of_the_optimizer_that_the_schedule_would_overwrite_is_refused(tmp_path, monkeypatch):
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda parameters, lr, fused: adam(parameters, lr=0.5))
    with pytest.raises(UserError, match=r"a learning rate of 0\.5: give it config\.lr, here 2e-05"):
        launch(C, tmp_path)


def test_options_of_every_group_of_the_optimizer_are_part_of_the_run():
    first, second = {"lr": 1, "betas": 2, "params": [0]}, {"lr": 1, "betas": 3, "params": [1]}
    found = optimizer_options({"name": "Adam", "param_groups": [first, second]})
    assert found == {"name": "Adam", "betas": 2, "betas of group 2": 3}


def test_options_of_the_optimizer_that_change_results_are_part_of_the_run(tmp_path, monkeypatch):
    launch(C, tmp_path)
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", functools.partial(adam, weight_decay=0.1))
    with pytest.raises(UserError, match=r"optimizer\.weight_decay: 0 in the checkpoint, 0\.1 now"):
        launch(C, tmp_path, "--resume")


def test_a_process_that_draws_all_timesteps_is_sampled_down_to_0_whatever_its_stages_are_called(tmp_path):
    """The stopping point is the process's own: no value of a stage is taken for it."""
    stages = [stage.to_dict() | {"t_min": 0.2} for stage in load_script(S).STAGES]
    launch(S, tmp_path)
    path = checkpoints(S, tmp_path) / "stage2.pt"
    content = load_checkpoint(path)
    content["config"]["stages"] = stages
    save_checkpoint(path, content)
    assert open_model(path).t_stop == content["t_stop"] == 0


def test_a_reading_that_an_older_checkpoint_lacks_counts_as_0_and_its_column_is_unknown_before(tmp_path, monkeypatch):
    launch_until(6, C, tmp_path)
    monkeypatch.setattr(NaiveUnet, "readings", lambda self: {"warmth": 2.5})
    losses = SoftCurriculumDDPM.losses
    monkeypatch.setattr(
        "mindiffusion.curriculum_ddpm.CurriculumDDPM.losses",
        lambda self, x, t, eps: {**losses(self, x, t, eps), "brightness": x.mean()},
    )
    before = metrics(C, tmp_path)
    launch(C, tmp_path, "--resume")
    rows = metrics(C, tmp_path)
    assert rows[: len(before)] == [row | {"warmth": "nan", "brightness": "nan"} for row in before]
    assert float(rows[-1]["warmth"]) == 2.5 and float(rows[-1]["brightness"]) != 0 and rows[-1]["step"] == "15"
