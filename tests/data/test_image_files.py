"""Image files as the world has them, and what is said of mistakes: nothing half-made stays behind."""

import io
import os
import resource
import subprocess
from pathlib import Path

import pytest
import torch
from image_folder import BLUE, GREEN, data_files, fail_to_decode, load, png_header
from PIL import Image

from mindiffusion.data import image_cache
from mindiffusion.data.images import count_images
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError

pytestmark = pytest.mark.usefixtures("cache")


def test_a_very_wide_image_is_read_and_an_absurd_one_refused(tmp_path):
    Image.new("RGB", (20_000, 40), BLUE).save(tmp_path / "wide.jpg", quality=95, subsampling=0)
    assert (load(tmp_path).images[0, 2] >= 250).all()
    (tmp_path / "bomb.png").write_bytes(png_header(20_000, 20_000))  # 1.2 GB of pixels in 100 bytes
    with pytest.raises(UserError, match=r"bomb\.png cannot be read .*--skip-bad-images"):
        load(tmp_path)


def test_a_program_named_like_an_image_is_not_run(tmp_path, monkeypatch):
    eps = io.BytesIO()
    Image.new("RGB", (40, 40), GREEN).save(eps, "EPS")
    (tmp_path / "x.jpg").write_bytes(eps.getvalue())
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("Ghostscript was started"))
    with pytest.raises(UserError, match=r"x\.jpg cannot be read \(it is no JPEG, PNG, WEBP.* image"):
        load(tmp_path)


def test_what_is_found_and_left_out_is_told_in_a_line_and_a_pipe_is_named_and_not_waited_for(tmp_path, capsys):
    for name in ("a.png", "b.jfif", "c.tif", "d.gif", "e.avif"):
        Image.new("RGB", (40, 40), GREEN).save(tmp_path / name, "JPEG" if name == "b.jfif" else None)
    for name in ("list.txt", "f.heic", "g.heic"):
        (tmp_path / name).touch()
    assert len(load(tmp_path)) == 5
    assert capsys.readouterr().err == f"5 images in {tmp_path}; left out: 2 .heic, 1 .txt\n"
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match=r"pipe\.png cannot be read \(not a regular file\)"):
        load(tmp_path)


def test_images_that_are_enlarged_or_cut_are_counted_whenever_the_cache_is_used(tmp_path, capsys):
    for number, size in enumerate([(16, 16), (31, 40), (20, 300), (300, 33), (64, 32), (32, 32)]):
        Image.new("RGB", size, GREEN).save(tmp_path / f"{number}.png")
    for crop, words in (("square", "lose"), ("square", "lose"), ("none", "are squeezed")):
        load(tmp_path, crop=crop)
        said = capsys.readouterr().err
        assert "Of 6 images 3 are smaller" in said and "Of 6 images 2 are more than twice" in said and words in said


@pytest.mark.parametrize(
    "name", ["a face.png", "Gesicht ä.png", "顔.png", "'quote\".png", "new\nline.png", os.fsdecode(b"\xff\xfe.png")]
)
def test_any_file_name_will_do(name, tmp_path):
    (tmp_path / "folder").mkdir()
    Image.new("RGB", (40, 40), GREEN).save(tmp_path / "folder" / name)
    data = load(tmp_path / "folder")
    assert (data.images[0, 1] == 255).all() and len(data) == 1
    (tmp_path / "folder" / name).write_bytes(b"no image")
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path / "folder")


def test_a_path_that_is_no_folder_of_images(tmp_path):
    for path in (None, "", "  "):
        with pytest.raises(UserError, match=r"CELEBA_PATH in \.env.*--data-path synthetic"):
            count_images(path)
    with pytest.raises(UserError, match=r"nowhere does not exist.*CELEBA_PATH"):
        load(tmp_path / "nowhere")
    (tmp_path / "celeba.zip").write_bytes(b"")
    with pytest.raises(UserError, match=r"celeba\.zip is a file, not a folder"):
        load(tmp_path / "celeba.zip")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=r"no images in .*empty .*\.webp.*--data-path"):
        load(tmp_path / "empty")


def test_a_home_relative_path_is_understood(faces, monkeypatch):
    monkeypatch.setenv("HOME", str(faces.parent))  # .env files know no shell expansion
    assert len(load("~/faces")) == 12


def test_a_cache_folder_that_cannot_be_made(faces, monkeypatch):
    monkeypatch.setenv("MINDIFFUSION_CACHE", str(faces / "00.png" / "cache"))
    with pytest.raises(UserError, match=r"cannot write .*00\.png/cache: .*set MINDIFFUSION_CACHE") as caught:
        load(faces)
    assert type(caught.value) is UserError  # to which a run adds no advice about its own folders


def test_a_write_that_really_fails(faces, cache):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*\.bin: File too large.*needs 0\.1 MB there; set MIND"):
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
