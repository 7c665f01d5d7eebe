"""Image files as the world has them: absurd sizes, odd names, permissions that hide them."""

import io
import os
import subprocess

import pytest
from image_folder import BLUE, GREEN, load, png_header
from PIL import Image

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


def test_what_is_found_and_left_out_is_told_in_a_line_and_a_pipe_is_not_waited_for(tmp_path, capsys):
    folder = tmp_path / "faces"
    folder.mkdir()
    for name in ("a.png", "b.jfif", "c.tif", "d.gif", "e.avif"):
        Image.new("RGB", (40, 40), GREEN).save(folder / name, "JPEG" if name == "b.jfif" else None)
    for name in ("list.txt", "f.heic", "g.heic"):
        (folder / name).touch()
    os.mkfifo(folder / "pipe.png")
    assert len(load(folder)) == 5
    line = f"5 images in {folder}; left out: 2 .heic, 1 .txt, 1 pipe or device\n"
    assert capsys.readouterr().err == line


def test_images_that_are_enlarged_or_cut_are_counted_whenever_the_cache_is_used(tmp_path, capsys):
    (tmp_path / "faces").mkdir()
    for number, size in enumerate([(16, 16), (31, 40), (20, 300), (300, 33), (64, 32), (32, 32)]):
        Image.new("RGB", size, GREEN).save(tmp_path / "faces" / f"{number}.png")
    for _ in range(2):
        load(tmp_path / "faces")
        said = capsys.readouterr().err
        assert "Of 6 images 3 are smaller than 32x32 and are enlarged.\n" in said
        assert "Of 6 images 2 are more than twice as long as wide and lose more than half to the crop.\n" in said
    load(tmp_path / "faces", crop="none")
    assert "2 are more than twice as long as wide and are squeezed." in capsys.readouterr().err


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
