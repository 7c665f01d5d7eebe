"""docs/figure1_timeline.py: a row for each run, of grids, or of the checkpoints of its stages."""

import importlib.util
import shutil

import numpy as np
import pytest
from helpers import CS, ROOT, UNIFORM, C, S, checkpoints, contents
from PIL import Image

from mindiffusion.runtime.errors import UserError

pytest.importorskip("matplotlib")
spec = importlib.util.spec_from_file_location("timeline", ROOT / "docs" / "figure1_timeline.py")
timeline = importlib.util.module_from_spec(spec)
spec.loader.exec_module(timeline)
TOLD = {UNIFORM: set(), C: {"t_min"}, CS: {"t_min", "sparsity"}, S: {"power"}}  # by the stages of each script


@pytest.fixture(autouse=True)
def two_steps(monkeypatch):
    """As the grids of the finished runs."""
    monkeypatch.setattr(timeline, "SAMPLER", timeline.Sampler("dpm", 2))


def without_grids(folder, to):
    """The contents folder of a run, in ``to``, as if it had drawn no grids."""
    return shutil.copytree(folder, to / folder.name, ignore=shutil.ignore_patterns("stage*.png"))


@pytest.mark.parametrize("name", TOLD)
def test_a_run_without_grids_is_drawn_from_the_checkpoints_of_its_stages_on_the_same_noise(name, finished, tmp_path):
    folder = contents(name, finished(name))
    checkpoints(name, tmp_path).symlink_to(checkpoints(name, finished(name)))
    shown, drawn = timeline.read_rows([folder, without_grids(folder, tmp_path)], ["", ""])
    assert [share for share, _ in drawn.pictures] == [share for share, _ in shown.pictures] == drawn.borders[1:]
    for (_, samples), (_, grid) in zip(drawn.pictures, shown.pictures, strict=True):
        assert len(samples) == (6 if len(drawn.stages) > 1 else 30)
        assert np.abs(samples[:2].astype(int) - grid).max() <= 1
    assert timeline.changing_values(drawn.stages)[0].keys() == TOLD[name]


def test_runs_and_models_become_one_picture(finished, tmp_path):
    paths = [contents(name, finished(name)) for name in (C, S)]
    timeline.main([*map(str, paths), str(ROOT / "pretrained" / "cs_32"), "-o", str(tmp_path / "a.png")])
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == 1100 and len(image.convert("RGB").getcolors(1 << 20)) > 1000
    with pytest.raises(UserError, match="no sample grids, and there are no checkpoints"):
        timeline.main([str(without_grids(paths[0], tmp_path))])
