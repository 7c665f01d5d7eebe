"""Images from a folder: what is found, how it is decoded, cached and batched."""

import json
import shutil

import numpy as np
import pytest
import torch
from image_folder import BLUE, GREEN, RED, load
from PIL import Image

from mindiffusion.data import images
from mindiffusion.data.decode import crop_box, read_image
from mindiffusion.data.image_files import find_images
from mindiffusion.data.images import ImageData, device_images, get_batch

pytestmark = pytest.mark.usefixtures("cache")


def decode(path, image_size, crop) -> np.ndarray:
    return read_image(path, image_size, crop)[0]


def test_folders_are_searched_recursively_and_sorted(tmp_path):
    names = ["b/2.PNG", "a/ü ß.jpeg", "a.jpg", "b/c/d/1.webp", "z.BMP", "日本/x y.png", "t.tif", "g.GIF"]
    for name in [*names, "notes.txt", "b/._2.png", ".trash/old.png", "png"]:
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    found = find_images(tmp_path / "set")
    assert [file.name for file in found.files] == sorted(names)
    assert {file.size for file in found.files} == {5}
    assert found.left_out == {".txt": 1, "without an ending": 1}


def test_links_are_followed_once(tmp_path, faces):
    root = tmp_path / "set"
    (root / "inner").mkdir(parents=True)
    (root / "linked").symlink_to(faces)
    (root / "inner" / "loop").symlink_to(root)
    (root / "self").symlink_to(".")
    shutil.copy(faces / "00.png", root / "inner" / "own.png")
    names = [file.name for file in find_images(root).files]
    assert names == ["inner/own.png"] + [f"linked/{i:02}.png" for i in range(12)]
    assert len(load(root)) == 13


@pytest.mark.parametrize(
    ("size", "crop", "box"),
    [
        ((178, 218), "none", (0, 0, 178, 218)),
        ((178, 218), "square", (0, 20, 178, 198)),
        ((178, 218), "140", (19, 39, 159, 179)),
        ((178, 218), "148", (15, 35, 163, 183)),
        ((356, 436), "140", (38, 78, 318, 358)),
        ((400, 100), "148", (150, 0, 250, 100)),
        ((1, 300), "140", (0, 149, 1, 150)),
    ],
)
def test_crop_boxes(size, crop, box):
    assert crop_box(*size, crop) == box


@pytest.mark.parametrize("crop", ["square", "140", "148"])
def test_a_crop_shows_its_box_and_nothing_else(tmp_path, crop):
    image = Image.new("RGB", (178, 218), RED)
    box = crop_box(178, 218, crop)
    image.paste(GREEN, box)
    image.save(tmp_path / "x.png")
    assert (decode(str(tmp_path / "x.png"), 32, crop) == np.array(GREEN).reshape(3, 1, 1)).all()


@pytest.mark.parametrize(("size", "crop", "orientation"), [((64, 128), "none", 1), ((64, 64), "square", 6)])
def test_no_crop_squashes_the_whole_image_and_photos_are_turned_upright(size, crop, orientation, tmp_path):
    image = Image.new("RGB", size, RED)
    image.paste(GREEN, (0, 0, 64, 64) if orientation == 1 else (0, 0, 32, 64))
    exif = Image.Exif()
    exif[0x0112] = orientation  # 6: the camera lay on its side: turn clockwise, left becomes top
    image.save(tmp_path / "x.png", exif=exif)
    pixels = decode(str(tmp_path / "x.png"), 32, crop)
    assert pixels.shape == (3, 32, 32) and pixels.dtype == np.uint8
    assert (pixels[1, :14] == 255).all() and (pixels[0, 18:] == 255).all()


def test_shrinking_is_antialiased(tmp_path):
    checkerboard = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checkerboard).save(tmp_path / "x.png")
    pixels = decode(str(tmp_path / "x.png"), 32, "square")
    assert abs(pixels.astype(int) - 127).max() <= 3


def palette_image() -> Image.Image:
    image = Image.new("P", (9, 9), 1)
    image.putpalette([*BLUE, *GREEN])
    return image


@pytest.mark.parametrize(
    ("image", "name", "options", "color"),
    [
        (Image.new("L", (9, 9), 80), "grey.png", {}, (80, 80, 80)),
        (Image.new("1", (9, 9), 1), "bit.png", {}, (255, 255, 255)),
        (Image.fromarray(np.full((9, 9), 0x50AA, np.uint16)), "grey16.png", {}, (0x50, 0x50, 0x50)),
        (Image.new("LA", (9, 9), (0, 51)), "grey_alpha.png", {}, (204, 204, 204)),
        (Image.new("RGBA", (9, 9), (*RED, 0)), "clear.png", {}, (255, 255, 255)),
        (Image.new("RGBA", (9, 9), (*RED, 51)), "faint.webp", {"lossless": True, "exact": True}, (255, 204, 204)),
        (palette_image(), "palette.png", {}, GREEN),
        (palette_image(), "palette_clear.png", {"transparency": 1}, (255, 255, 255)),
        (Image.new("RGB", (9, 9), GREEN), "key_color.png", {"transparency": GREEN}, (255, 255, 255)),
        (Image.new("CMYK", (9, 9), (0, 255, 255, 0)), "print.jpg", {"quality": 100}, RED),
        (Image.new("RGB", (1, 1), BLUE), "dot.png", {}, BLUE),
        (Image.new("RGB", (1, 500), BLUE), "line.JPEG", {"quality": 100, "subsampling": 0}, BLUE),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_odd_kinds_of_images(tmp_path, image, name, options, color):
    image.save(tmp_path / name, **options)
    pixels = decode(str(tmp_path / name), 32, "square").astype(int)
    assert abs(pixels - np.array(color).reshape(3, 1, 1)).max() <= 2


def test_of_an_animation_the_first_picture_is_read(tmp_path):
    pictures = [Image.new("RGB", (9, 9), color) for color in (GREEN, RED, BLUE)]
    for name in ("x.gif", "x.webp", "x.png", "x.tif"):
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:])
        pixels = decode(tmp_path / name, 32, "square").astype(int)
        assert abs(pixels - np.array(GREEN).reshape(3, 1, 1)).max() <= 4, name


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_unknown_range_are_refused(mode, tmp_path):
    Image.new(mode, (9, 9), 70).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match="32-bit numbers"):
        decode(tmp_path / "x.tif", 32, "square")


def test_a_copy_of_the_folder_is_the_same_data_set(faces, tmp_path):
    fingerprint = load(faces).fingerprint
    shutil.copytree(faces, tmp_path / "copy", copy_function=shutil.copy)  # other times
    assert load(tmp_path / "copy").fingerprint == fingerprint
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    assert {k: v for k, v in fingerprint.items() if k not in ("files", "pixels")} == {
        "kind": "folder",
        "images": 12,
        "image_size": 32,
        "crop": "square",
        "skipped": 0,
    }
    assert load(faces, crop="148").fingerprint != fingerprint
    (faces / "00.png").rename(faces / "000.png")
    assert load(faces).fingerprint["files"] != fingerprint["files"]


def test_synthetic_data_need_no_disk(cache, monkeypatch):
    monkeypatch.setattr(images, "NUM_SYNTHETIC", 70)
    data = load("synthetic", seed=4)
    assert data.images.shape == (70, 3, 32, 32) and data.images.dtype == torch.uint8
    assert data.fingerprint == {"kind": "synthetic", "images": 70, "image_size": 32, "seed": 4}
    assert not torch.equal(data.images, load("synthetic", seed=5).images)
    demo = load("synthetic-tiles", seed=4)
    assert demo.fingerprint == {**data.fingerprint, "set": "synthetic-tiles"}  # no run of one goes on with the other
    assert not torch.equal(data.images, demo.images)
    assert not cache.exists()


def test_a_batch_is_gathered_scaled_and_flipped():
    images = torch.randint(0, 256, (20, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    images[7, 0, 0, :2] = torch.tensor([0, 255])
    indices, flips = torch.tensor([7, 3, 7, 19]), torch.tensor([False, True, True, False])
    batch = get_batch(images, indices, flips, torch.device("cpu"))
    assert batch.shape == (4, 3, 32, 32) and batch.dtype == torch.float32
    assert batch[0, 0, 0, 0] == -1 and batch[0, 0, 0, 1] == 1 and batch[2, 0, 0, 31] == -1
    for row, index, flip in zip(batch, indices, flips, strict=True):
        expected = images[index].double() / 127.5 - 1
        assert torch.allclose(row.double(), expected.flip(2) if flip else expected, atol=1e-6)


def test_images_stay_on_the_host_if_the_gpu_is_nearly_full(monkeypatch):
    data = ImageData(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), {})
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 * data.images.nbytes - 1, 10**9))
    assert device_images(data, torch.device("cuda")) is data.images
    assert device_images(data, torch.device("cpu")) is data.images
