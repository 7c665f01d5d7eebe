"""What the experiments add to the harness: weights of noise levels, the search for colour drift, grids side by side."""

import csv
import shutil

import pytest
import torch
from helpers import ROOT, launch, write_pngs
from PIL import Image

from experiments import (
    c8_unlocking_costs_colour,
    candidate_ddpm,
    color_drift,
    side_by_side,
    tables,
    weighted_ddpm,
)
from mindiffusion.ddpm import DDPM
from mindiffusion.runtime.errors import UserError
from mindiffusion.soft_curriculum_ddpm import SoftCurriculumDDPM


def test_tilted_timesteps_lean_towards_high_noise_within_the_range():
    process = weighted_ddpm.WeightedDDPM(torch.nn.Identity(), (1e-4, 0.02), 1000, 1.0, 0.0)
    process.set_time_range(0.4, 1.0)
    t = process.sample_timesteps(40_000, torch.Generator().manual_seed(0))
    assert 400 <= t.min() < 430 and t.max() == 1000
    assert (t > 700).double().mean() == pytest.approx(0.75, abs=0.01)
    process.tilt = 0.0
    t = process.sample_timesteps(40_000, torch.Generator().manual_seed(0))
    assert (t > 700).double().mean() == pytest.approx(0.5, abs=0.01)
    with pytest.raises(ValueError, match="at least 0"):
        weighted_ddpm.WeightedDDPM(torch.nn.Identity(), (1e-4, 0.02), 1000, -1.0, 0.0)


def test_the_weighted_loss_counts_low_noise_less_and_without_weights_is_the_plain_one():
    generator = torch.Generator().manual_seed(0)
    x, eps = torch.rand(4, 3, 8, 8, generator=generator), torch.randn(4, 3, 8, 8, generator=generator)
    t = torch.tensor([10, 300, 700, 1000])

    def zero(x_t, t):
        return torch.zeros_like(x_t)

    process = weighted_ddpm.WeightedDDPM(zero, (1e-4, 0.02), 1000, 0.0, 0.0)
    plain = DDPM(zero)
    assert torch.allclose(process(x, t, eps), plain(x, t, eps))
    process.gamma = 2.0
    expected = ((1 - plain.alphabar_t[t]) ** 2 * eps.square().mean((1, 2, 3))).mean()
    assert torch.allclose(process(x, t, eps), expected) and expected < plain(x, t, eps)


def test_a_candidate_weighs_the_timesteps_of_its_range_by_either_weight():
    weights = {}
    for name in ("edm", "min_snr"):
        process = candidate_ddpm.CandidateDDPM(torch.nn.Identity(), (1e-4, 0.02), 1000, name)
        assert torch.all(process.loss_weight == 1.0)
        process.set_time_range(0.4, 1.0)
        process.set_power(0.5)
        assert process.loss_weight[400:].mean() == pytest.approx(1.0, rel=1e-5)
        process.set_time_range(0.0, 1.0)
        process.set_power(1.0)
        weights[name] = process.loss_weight.clone()
    soft = SoftCurriculumDDPM(torch.nn.Identity())
    soft.set_power(1.0)
    assert torch.equal(weights["edm"], soft.loss_weight)
    snr = soft.alphabar_t / (1 - soft.alphabar_t)
    relative = weights["min_snr"] / weights["min_snr"][-1]
    assert torch.allclose(relative[[10, 50]], 5 / snr[[10, 50]], rtol=1e-4) and torch.all(relative[131:] == 1.0)
    with pytest.raises(UserError, match="there is no weight"):
        candidate_ddpm.CandidateDDPM(torch.nn.Identity(), (1e-4, 0.02), 1000, "none")


def test_a_candidates_loss_is_each_images_error_times_the_weight_of_its_timestep():
    process = candidate_ddpm.CandidateDDPM(lambda x_t, t: torch.zeros_like(x_t), (1e-4, 0.02), 1000, "edm")
    process.set_power(0.75)
    generator = torch.Generator().manual_seed(0)
    x, eps = (torch.randn(2, 3, 8, 8, generator=generator) for _ in range(2))
    errors = eps.square().mean((1, 2, 3))
    expected = (process.loss_weight[10] * errors[0] + process.loss_weight[900] * errors[1]) / 2
    assert float(process(x, torch.tensor([10, 900]), eps)) == pytest.approx(float(expected), rel=1e-5)


def test_color_measures_tell_shift_saturation_and_spread_apart():
    images = torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    same = color_drift.measures(images, images)
    assert same == {"color_error": 0.0, "saturation_error": 0.0, "spread": pytest.approx(1.0)}
    shifted = color_drift.measures(images + 0.1, images)
    assert shifted["color_error"] == pytest.approx(0.1, abs=1e-5) and shifted["spread"] == pytest.approx(1.0, abs=1e-4)
    wide = color_drift.measures(2 * images, images)
    assert wide["spread"] == pytest.approx(2.0) and wide["saturation_error"] > 0.3


@pytest.fixture
def study(tmp_path):
    """The folder of a study with one finished run."""
    folder = tmp_path / "study" / "runs" / "C" / "seed0"
    launch("train_celeba_c_32", folder)
    (folder / "evaluation").mkdir()
    row = {"cell": "C", "seed": 0, "checkpoint": "final", "metric": "swd", "value": 1.0}
    tables.write_csv(tmp_path / "study" / "results.csv", tables.RESULT_COLUMNS, [row])
    return tmp_path / "study"


def test_samples_that_start_from_real_images_keep_what_is_settled_above_their_start(study):
    checkpoint = next(study.glob("runs/C/seed0/checkpoints_*/latest.pt"))
    real = (torch.rand(4, 3, 1, 1, generator=torch.Generator().manual_seed(0)) - 0.5).expand(4, 3, 32, 32).contiguous()
    late, early = (color_drift.samples(checkpoint, real, False, True, start) for start in (0.001, 1.0))
    assert (late - real).abs().mean() < 0.05 < (early - real).abs().mean()


def test_the_colour_table_has_a_row_per_run_and_setting(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINDIFFUSION_CACHE", str(tmp_path / "cache"))
    faces = write_pngs(tmp_path / "faces")
    options = ["--data-path", str(faces), "--eval-images", "17-24", "--n-samples", "4"]
    color_drift.main([str(study), *options, "--cells", "C"])
    rows = list(csv.DictReader((study / "color_drift.csv").read_text().splitlines()))
    assert len(rows) == 1 + 4 + len(color_drift.STARTS) and tuple(rows[0]) == color_drift.COLUMNS
    assert [row["start"] for row in rows[4:6]] == ["1", "0.9"] and len({row["spread"] for row in rows}) > 5
    assert "ema, clipped, from t = 0.5" in capsys.readouterr().out
    with pytest.raises(UserError, match="no finished run of CS"):
        color_drift.main([str(study), *options, "--cells", "CS"])


def test_side_by_side_draws_a_row_per_cell_and_real_images_only_if_asked(study, cache, tmp_path):
    pytest.importorskip("matplotlib")
    options = [str(study), "-o", str(tmp_path / "grid.png"), "--columns", "3", "--steps", "2"]
    side_by_side.main(options)
    with Image.open(tmp_path / "grid.png") as image:
        assert image.size == (180 + 2 * 3 * 32, 2 * 34)
    faces = write_pngs(tmp_path / "faces")
    side_by_side.main([*options, "--real", "5-24", "--data-path", str(faces)])
    with Image.open(tmp_path / "grid.png") as image, Image.open(faces / "004.png") as face:
        assert image.size == (180 + 2 * 3 * 32, 2 * 2 * 34)
        assert image.getpixel((181, 5))[:3] == face.getpixel((0, 0))
    with pytest.raises(UserError, match="no finished run of seed 7"):
        side_by_side.main([str(study), "-o", str(tmp_path / "grid.png"), "--seed", "7"])


def test_side_by_side_draws_trained_models_too(study, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    drawn = []
    monkeypatch.setattr(side_by_side, "save_strips", lambda path, rows: drawn.append({**rows}))
    folder = next(study.glob("runs/C/seed0/checkpoints_*"))
    options = ["-o", str(tmp_path / "grid.png"), "--columns", "2", "--steps", "2"]
    side_by_side.main([str(folder), str(ROOT / "pretrained" / "p_32"), *options])
    assert list(drawn[0]) == [folder.name, "p_32"]
    latest = folder / "latest.pt"
    side_by_side.main([str(latest), str(folder / "stage5.pt"), *options])
    (tmp_path / "other").mkdir()
    other = shutil.copy(latest, tmp_path / "other")
    side_by_side.main([str(latest), str(other), *options])
    assert list(drawn[2]) == [str(latest), str(other)]  # of one name: told apart by their folders
    assert torch.equal(*drawn[2].values()) and not torch.equal(*drawn[0].values())
    with pytest.raises(SystemExit):
        side_by_side.main([str(latest), *options, "--seed", "1"])
    assert "--cells and --seed choose among the runs of a study" in capsys.readouterr().err


def test_a_network_that_answers_zero_is_blind_to_colour(study, monkeypatch):
    checkpoint = next(study.glob("runs/C/seed0/checkpoints_*/latest.pt"))
    images = torch.zeros(40, 3, 32, 32)
    monkeypatch.setattr(c8_unlocking_costs_colour, "build_network", lambda weights: lambda x, t: torch.zeros_like(x))
    assert c8_unlocking_costs_colour.blindness(checkpoint, images) == pytest.approx(1.0, abs=0.1)
    monkeypatch.setattr(c8_unlocking_costs_colour, "build_network", lambda weights: lambda x, t: x)  # black: x is noise
    assert c8_unlocking_costs_colour.blindness(checkpoint, images) < 0.01
