"""Folders of samples: what --overwrite deletes and what is refused."""

import pytest

from mindiffusion.reports.sample_files import prepare_samples
from mindiffusion.runtime.errors import UserError


def test_overwrite_deletes_numbered_samples_alone(tmp_path):
    mine = ["1.png", "0000001.png", "000001 copy.png", "2024-holiday.png", "notes.txt"]
    for name in [*mine, "000000.png", "000001.png"]:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="holds images already"):
        prepare_samples(tmp_path, overwrite=False)
    prepare_samples(tmp_path, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(mine)


def test_a_folder_with_the_name_of_a_grid_is_refused_and_left_alone(tmp_path):
    folder = tmp_path / "samples.png"
    folder.mkdir()
    (folder / "000000.png").touch()
    with pytest.raises(UserError, match="a folder with the name of a grid"):
        prepare_samples(folder, overwrite=True)
    assert (folder / "000000.png").exists()
