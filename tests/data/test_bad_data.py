"""What is said of mistakes: no folder, no room, images that cannot be read; nothing half-made stays behind."""

import resource
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from image_folder import data_files, fail_to_decode, load
from PIL import Image

from mindiffusion.data import image_cache
from mindiffusion.data.images import count_images, load_images
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("path", [None, "", "  "])
def test_no_path(path):
    with pytest.raises(UserError, match=r"CELEBA_PATH in \.env.*--data-path synthetic"):
        load_images(path, 32, "square", 0, Ranks())


def test_a_path_that_is_no_folder_of_images(tmp_path):
    with pytest.raises(UserError, match=r"nowhere does not exist.*CELEBA_PATH"):
        load(tmp_path / "nowhere")
    (tmp_path / "celeba.zip").write_bytes(b"")
    with pytest.raises(UserError, match=r"celeba\.zip is a file, not a folder"):
        load(tmp_path / "celeba.zip")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=r"no images in .*empty .*\.webp.*--data-path"):
        load(tmp_path / "empty")


def test_places_in_synthetic_data_are_refused_by_a_dry_run_too():
    with pytest.raises(UserError, match="--train-images chooses files of a folder"):
        count_images("synthetic", places=(1, 100))


def test_a_home_relative_path_is_understood(faces, monkeypatch):
    monkeypatch.setenv("HOME", str(faces.parent))  # .env files know no shell expansion
    assert len(load("~/faces")) == 12


def test_a_cache_folder_that_cannot_be_made(faces, monkeypatch):
    monkeypatch.setenv("MINDIFFUSION_CACHE", str(faces / "00.png" / "cache"))
    with pytest.raises(UserError, match=r"cannot write .*00\.png/cache: .*set MINDIFFUSION_CACHE"):
        load(faces)


def test_too_little_space_is_told_before_the_work(faces, cache, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(12 * 3 * 32 * 32))
    monkeypatch.setattr(image_cache, "read_image", fail_to_decode)
    with pytest.raises(UserError, match=r"no room for .*cache.*needs 0\.1 MB there"):
        load(faces)
    assert data_files(cache) == []


def test_a_write_that_really_fails(faces, cache):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*\.npy: File too large.*set MINDIFFUSION_CACHE"):
            load(faces)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert data_files(cache) == []


def spoil(folder: Path) -> list[str]:
    """Add images that cannot be read, one of each kind. Returns their names."""
    (folder / "05b_text.jpg").write_text("<html>not found</html>")
    (folder / "05c_empty.png").write_bytes(b"")
    Image.new("RGB", (300, 300), (255, 0, 0)).save(folder / "whole.jpg")
    (folder / "05d_cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:-400])
    (folder / "whole.jpg").unlink()
    (folder / "05e_broken_link.png").symlink_to(folder / "nowhere.png")
    return ["05b_text.jpg", "05c_empty.png", "05d_cut.jpg", "05e_broken_link.png"]


def test_an_unreadable_image_is_named(faces, cache):
    for name in spoil(faces):
        with pytest.raises(UserError, match=f"{name} cannot be read.*--skip-bad-images") as caught:
            load(faces)
        assert str(caught.value).count(name) == 1
        (faces / name).unlink()
    assert data_files(cache) == []
    assert len(load(faces)) == 12


def test_bad_images_are_skipped_and_listed_if_asked(faces, cache, capsys, monkeypatch):
    clean = load(faces).images
    bad = spoil(faces)
    capsys.readouterr()
    data = load(faces, skip_bad_images=True)
    message = f"16 images in {faces}\nSkipped 4 unreadable images: {', '.join(bad)}\n"
    assert capsys.readouterr().err == message
    assert torch.equal(data.images, clean)
    assert data.fingerprint["skipped"] == 4 and data.fingerprint["images"] == 12

    monkeypatch.setattr(image_cache, "read_image", fail_to_decode)  # the cache remembers them
    again = load(faces, skip_bad_images=True)
    assert capsys.readouterr().err == message and again.fingerprint == data.fingerprint and len(again) == 12
    load(faces, skip_bad_images=True, ranks=Ranks(rank=1, local_rank=1))
    assert capsys.readouterr().err == ""  # one rank speaks
    with pytest.raises(UserError, match="--skip-bad-images"):  # and forgives only who asks
        load(faces)


def test_all_images_are_bad(tmp_path, cache):
    spoil(tmp_path)
    with pytest.raises(UserError, match=r"None of the 4 images in .* can be read"):
        load(tmp_path, skip_bad_images=True)
    assert data_files(cache) == []
