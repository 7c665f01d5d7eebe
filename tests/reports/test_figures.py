"""Figures of whole runs: which are drawn, from what, and that they never end a run."""

import shutil

import pytest
from helpers import CR, CS, UNIFORM, C, checkpoints, contents, exit_code, launch
from PIL import Image

from mindiffusion.runtime.files import CannotWrite

pytest.importorskip("matplotlib")
from mindiffusion.reports import figures
from mindiffusion.reports.run_record import read_record

COMMON = {"figure_loss.png", "figure_bands.png"}
OWN = {UNIFORM: set(), C: set(), CS: {"figure_channels.png"}, CR: {"figure_norms.png"}}


@pytest.mark.parametrize("name", OWN)
def test_each_variant_has_its_figures_at_readme_width(name, finished):
    paths = figures.draw_figures(contents(name, finished(name)))
    assert {*paths} == {*contents(name, finished(name)).glob("figure_*.png")}
    assert {path.name for path in paths} == COMMON | OWN[name]
    for path in paths:
        with Image.open(path) as image:
            assert image.width == 990
            assert len(image.convert("RGB").getcolors(1 << 20)) > 10  # something is in it
        path.unlink()


def test_training_draws_at_each_stage_end_and_says_nothing(tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(figures, "draw_figures", lambda folder: seen.append(read_record(folder).stages_begun))
    launch(C, tmp_path, "--figures")
    assert seen == [1, 2, 3, 4, 5]
    assert "figures" not in capsys.readouterr().out


def test_a_figure_that_cannot_be_drawn_does_not_end_the_run_but_a_full_disk_does(tmp_path, monkeypatch, capsys):
    def fail(folder):
        raise error

    monkeypatch.setattr(figures, "draw_figures", fail)
    error = ZeroDivisionError("a bug")
    launch(C, tmp_path / "a", "--figures")
    assert "no figures this time: ZeroDivisionError: a bug" in capsys.readouterr().out
    error = CannotWrite("cannot write it: the disk is full")
    assert exit_code(C, tmp_path / "b", "--figures") == 2


@pytest.mark.parametrize("name", [CS, C])
def test_a_missing_stage_checkpoint_leaves_its_figure_out_and_one_that_is_not_needed_is_not_opened(
    name, finished, tmp_path
):
    shutil.copytree(contents(name, finished(name)), contents(name, tmp_path))
    if name == C:
        checkpoints(name, tmp_path).mkdir()
        (checkpoints(name, tmp_path) / "stage1.pt").write_bytes(b"damaged")
    assert {path.name for path in figures.draw_figures(contents(name, tmp_path))} == COMMON
