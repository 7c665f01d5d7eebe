"""--tensorboard: the event file says what metrics.csv and the grids say."""

import numpy as np
import pytest
from helpers import GRIDS, STEPS_PER_EPOCH, C, contents, exit_code, launch, launch_until, metrics
from PIL import Image

from mindiffusion.reports.row_file import BANDS, read_rows
from mindiffusion.runtime import packages
from mindiffusion.runtime.errors import UserError

FLAGS = (*GRIDS, "--tensorboard")


def test_scalars_and_grids_are_those_of_the_contents_folder_after_a_stop_and_a_resume(tmp_path, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    launch_until(2 * STEPS_PER_EPOCH, C, tmp_path, *FLAGS)
    launch(C, tmp_path, *FLAGS, "--resume")
    folder = contents(C, tmp_path)
    events = accumulator.EventAccumulator(str(folder / "tensorboard"), {"images": 0, "scalars": 0}).Reload()
    rows = metrics(C, tmp_path)
    assert {"train/loss", "train/mse", "train/lr", "train/images_per_s"} <= set(events.Tags()["scalars"])
    logged = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert logged == [(int(row["step"]), pytest.approx(float(row["loss"]), rel=1e-5)) for row in rows]
    bands = read_rows(folder / "bands.csv")[0]
    for tag, names in (("bands/t_0.0-0.1", BANDS[:1]), ("loss over all timesteps", BANDS)):
        expected = [sum(float(row[name]) for name in names) / len(names) for row in bands]
        assert [event.value for event in events.Scalars(tag)] == [pytest.approx(each, rel=1e-4) for each in expected]
    pictures = events.Images("samples")
    assert [picture.step for picture in pictures] == [STEPS_PER_EPOCH * epoch for epoch in range(1, 6)]
    last = np.asarray(Image.open(folder / "stage5_epoch005.png").convert("RGB"))
    assert (pictures[-1].height, pictures[-1].width) == last.shape[:2]
    launch(C, tmp_path, "--tensorboard", "--overwrite")
    assert len(list((folder / "tensorboard").iterdir())) == 1  # the earlier events are gone


def test_without_the_package_the_flag_is_an_error_that_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(packages, "find_spec", lambda package: None)
    assert exit_code(C, tmp_path, "--tensorboard") == 2
    assert "pip install tensorboard" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="--anything is impossible"):
        packages.require("tensorboard", "--anything")
