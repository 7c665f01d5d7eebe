"""Folders of samples: which numbers are missing, what --overwrite deletes and what is refused."""

import json

import pytest
import torch

from mindiffusion.reports.sample_files import claimed, is_grid, prepare_folder, save_images
from mindiffusion.runtime.errors import UserError

ASKED = {"seed": 0, "sampler": "DDIM"}


def test_overwrite_deletes_numbered_samples_alone(tmp_path):
    mine = ["1.png", "0000001.png", "000001 copy.png", "2024-holiday.png", "notes.txt"]
    for name in [*mine, "000000.png", "000001.png"]:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"holds images already, and no samples\.json"):
        prepare_folder(tmp_path, ASKED, 2, overwrite=False)
    (tmp_path / "000002.png").mkdir()
    with pytest.raises(UserError, match=r"000002\.png is a folder"):
        prepare_folder(tmp_path, ASKED, 2, overwrite=True)
    (tmp_path / "000002.png").rmdir()
    assert (tmp_path / "000000.png").exists() and prepare_folder(tmp_path, ASKED, 2, overwrite=True) == [0, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*mine, "samples.json"])


def test_a_folder_is_filled_up_with_the_numbers_that_are_missing_of_the_same(tmp_path):
    assert prepare_folder(tmp_path, ASKED, 3, overwrite=False) == [0, 1, 2]
    save_images(tmp_path, torch.zeros(2, 1, 4, 4), 1)
    (tmp_path / ".000004.png.1.tmp.png").touch()  # of a process that was killed
    assert prepare_folder(tmp_path, ASKED, 5, overwrite=False) == [0, 3, 4]
    assert not list(tmp_path.glob(".0*"))
    for damaged in ("{", "[]", json.dumps({"seed": 0})):
        (tmp_path / "samples.json").write_text(damaged)
        with pytest.raises(UserError, match="--overwrite"):
            prepare_folder(tmp_path, ASKED, 5, overwrite=False)


@pytest.mark.parametrize("name", ["folder", "grid.png"])
def test_an_output_has_one_writer_at_a_time(tmp_path, name):
    with claimed(tmp_path / name):
        with claimed(tmp_path / "other"):
            pass
        with pytest.raises(UserError, match=r"another sample\.py is writing"), claimed(tmp_path / name):
            pass
    with claimed(tmp_path / name):
        pass
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_with_the_name_of_a_grid_is_refused_and_left_alone(tmp_path):
    folder = tmp_path / "samples.png"
    folder.mkdir()
    (folder / "000000.png").touch()
    with pytest.raises(UserError, match=r"samples\.png is a folder"), claimed(folder):
        pass
    assert (folder / "000000.png").exists() and is_grid(tmp_path / "a.png") and not is_grid(tmp_path / "a")
