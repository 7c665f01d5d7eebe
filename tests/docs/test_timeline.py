"""docs/figure1_timeline.py: a row for each run, of grids, or of the checkpoints of its stages."""

import importlib.util
import shutil

import numpy as np
import pytest
from helpers import CS, ROOT, checkpoints, contents
from PIL import Image

from mindiffusion.runtime.errors import UserError

pytest.importorskip("matplotlib")
spec = importlib.util.spec_from_file_location("timeline", ROOT / "docs" / "figure1_timeline.py")
timeline = importlib.util.module_from_spec(spec)
spec.loader.exec_module(timeline)


def test_runs_with_grids_and_without_and_models_become_one_picture(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(timeline, "SAMPLER", timeline.Sampler("dpm", 2))  # as the grids of the finished runs
    shown = contents(CS, finished(CS))
    copy = shutil.copytree(shown, tmp_path / shown.name, ignore=shutil.ignore_patterns("stage*.png"))
    with pytest.raises(UserError, match="no sample grids, and there are no checkpoints"):
        timeline.main([str(copy)])
    with pytest.raises(UserError, match="is a folder, where a file is to be written"):
        timeline.main(["nowhere", "-o", str(tmp_path)])  # before anything is drawn
    checkpoints(CS, tmp_path).symlink_to(checkpoints(CS, finished(CS)))
    grids, drawn = timeline.read_rows([shown, copy], ["", ""])
    assert [share for share, _ in drawn.pictures] == [share for share, _ in grids.pictures] == drawn.borders[1:]
    for (_, samples), (_, grid) in zip(drawn.pictures, grids.pictures, strict=True):
        assert np.abs(samples[:2].astype(int) - grid).max() <= 1  # of the same noise
    assert timeline.changing_values(drawn.stages)[0].keys() == {"t_min", "sparsity"}
    timeline.main([str(shown), str(copy), str(ROOT / "pretrained" / "cs_32"), "-o", str(tmp_path / "a.png")])
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == 1100 and len(image.convert("RGB").getcolors(1 << 20)) > 1000
