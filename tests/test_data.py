"""Images from a folder: what is found, how it is decoded, cached and batched, and what is said of mistakes."""

import json
import os
import resource
import shutil
import subprocess
import sys
import warnings
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mindiffusion import image_cache
from mindiffusion.data import ImageData, device_images, find_images, get_batch, load_images
from mindiffusion.distributed import Ranks
from mindiffusion.errors import UserError
from mindiffusion.image_cache import crop_box, decode

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("MINDIFFUSION_CACHE", str(folder))
    return folder


@pytest.fixture
def faces(tmp_path) -> Path:
    """A folder of 12 one-colour images; image i has red = 20·i."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for i in range(12):
        Image.new("RGB", (40, 50), (20 * i, 100, 7)).save(folder / f"{i:02}.png")
    return folder


def load(path, **changes) -> ImageData:
    arguments = {"image_size": 32, "crop": "square", "seed": 0, "ranks": Ranks()}
    return load_images(str(path), **(arguments | changes))


def fail_to_decode(*_):
    raise AssertionError("decoded again")


def data_files(cache: Path) -> list[str]:
    return sorted(path.suffix for path in cache.glob("*") if path.suffix != ".lock")


# Finding


def test_folders_are_searched_recursively_and_sorted(tmp_path):
    names = ["b/2.PNG", "a/ü ß.jpeg", "a.jpg", "b/c/d/1.webp", "z.BMP", "日本/x y.png"]
    for name in [*names, "notes.txt", "b/._2.png", ".trash/old.png", "png"]:
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    found = find_images(tmp_path / "set")
    assert [file.name for file in found] == sorted(names)
    assert {file.size for file in found} == {5}


def test_links_are_followed_once(tmp_path, faces):
    root = tmp_path / "set"
    (root / "inner").mkdir(parents=True)
    (root / "linked").symlink_to(faces)
    (root / "inner" / "loop").symlink_to(root)
    (root / "self").symlink_to(".")
    shutil.copy(faces / "00.png", root / "inner" / "own.png")
    names = [file.name for file in find_images(root)]
    assert names == ["inner/own.png"] + [f"linked/{i:02}.png" for i in range(12)]
    assert len(load(root)) == 13


# Decoding


@pytest.mark.parametrize(
    ("size", "crop", "box"),
    [
        ((178, 218), "none", (0, 0, 178, 218)),
        ((178, 218), "square", (0, 20, 178, 198)),
        ((178, 218), "140", (19, 39, 159, 179)),
        ((178, 218), "148", (15, 35, 163, 183)),
        ((356, 436), "140", (38, 78, 318, 358)),
        ((400, 100), "148", (150, 0, 250, 100)),
        ((1, 1), "140", (0, 0, 1, 1)),
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
    image.paste(BLUE, (box[0], box[1], box[0] + 10, box[3]))  # its left columns, and they land on the left
    image.save(tmp_path / "x.png")
    pixels = decode(str(tmp_path / "x.png"), 32, crop)
    assert (pixels[2, :, 0] == 255).all() and (pixels[1, :, 16:] == 255).all() and (pixels[0] == 0).all()


def test_no_crop_squashes_the_whole_image(tmp_path):
    image = Image.new("RGB", (64, 128), RED)
    image.paste(GREEN, (0, 0, 64, 64))
    image.save(tmp_path / "x.png")
    pixels = decode(str(tmp_path / "x.png"), 32, "none")
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
        (palette_image(), "palette.bmp", {}, GREEN),
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


def test_photos_are_turned_upright(tmp_path):
    image = Image.new("RGB", (64, 64), RED)
    image.paste(BLUE, (0, 0, 32, 64))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn clockwise, left becomes top
    image.save(tmp_path / "x.png", exif=exif)
    pixels = decode(str(tmp_path / "x.png"), 32, "square")
    assert (pixels[2, :14] == 255).all() and (pixels[0, 18:] == 255).all()


# Caching


def test_a_cache_is_built_once_and_then_mapped(faces, cache, monkeypatch):
    first = load(faces)
    assert len(first) == 12 and first.images.shape == (12, 3, 32, 32) and first.images.dtype == torch.uint8
    assert first.images[:, 0, 0, 0].tolist() == [20 * i for i in range(12)]
    assert (first.images[:, 1] == 100).all() and (first.images[:, 2] == 7).all()
    assert data_files(cache) == [".json", ".npy"]

    monkeypatch.setattr(image_cache, "decode", fail_to_decode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyTorch warns of memory that it may not write
        second = load(faces)
    assert torch.equal(first.images, second.images) and first.fingerprint == second.fingerprint
    second.images[0] = 99
    assert load(faces).images[0, 0, 0, 0] == 0  # the file stays as it was


def test_a_read_only_cache_serves(faces, cache, monkeypatch):
    load(faces)
    monkeypatch.setattr(image_cache, "build_cache", fail_to_decode)
    monkeypatch.setattr("mindiffusion.data.build_cache", fail_to_decode)
    assert len(load(faces)) == 12


def test_every_change_of_the_data_or_the_options_makes_a_new_cache(faces, cache):
    def number_of_caches():
        return len(list(cache.glob("*.npy")))

    load(faces)
    load(faces, crop="none")
    load(faces, image_size=64)
    assert number_of_caches() == 3
    os.utime(faces / "03.png", ns=(1, 1))  # the same size, another time
    Image.new("RGB", (40, 50), (1, 2, 3)).save(faces / "extra.png")
    assert load(faces).images[12, :, 0, 0].tolist() == [1, 2, 3] and number_of_caches() == 4
    os.utime(faces / "03.png", ns=(2, 2))
    load(faces)
    assert number_of_caches() == 5
    (faces / "00.png").rename(faces / "renamed.png")
    assert load(faces).images[12, 0, 0, 0] == 0 and number_of_caches() == 6


@pytest.mark.parametrize("damage", ["cut short", "of another shape", "json lost", "json cut"])
def test_a_damaged_cache_is_built_again(faces, cache, damage):
    expected = load(faces).images.clone()
    (array,), (about,) = cache.glob("*.npy"), cache.glob("*.json")
    if damage == "cut short":
        array.write_bytes(array.read_bytes()[:-1])
    elif damage == "of another shape":
        np.save(array, np.zeros((2, 3, 32, 32), np.uint8))
    elif damage == "json lost":
        about.unlink()
    else:
        about.write_text(about.read_text()[:10])
    assert torch.equal(load(faces).images, expected)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupted_build_leaves_nothing_behind(faces, cache, monkeypatch, stop):
    monkeypatch.setattr(image_cache, "CHUNK", 2)
    half_written = []

    def interrupted(path, *arguments):
        if path.endswith("07.png"):
            half_written.extend(cache.glob("*.tmp"))
            raise stop
        return decode(path, *arguments)

    monkeypatch.setattr(image_cache, "decode", interrupted)
    with pytest.raises(stop):
        load(faces)
    assert len(half_written) == 1 and data_files(cache) == []
    monkeypatch.setattr(image_cache, "decode", decode)
    assert len(load(faces)) == 12


def test_the_leftovers_of_a_killed_build_are_removed(faces, cache):
    load(faces)
    (about,) = cache.glob("*.json")
    about.unlink()
    about.with_suffix(".dead.tmp").write_bytes(b"half")
    (cache / "of_another_build.dead.tmp").write_bytes(b"half")
    load(faces)
    assert [path.name for path in cache.glob("*.tmp")] == ["of_another_build.dead.tmp"]


def test_two_jobs_at_once_build_one_cache(faces, cache, tmp_path):
    log = tmp_path / "decoded"
    job = f"""
import time
from mindiffusion import data, image_cache
from mindiffusion.distributed import Ranks
decode = image_cache.decode
def slow_decode(path, *arguments):
    with open({str(log)!r}, "a") as log:
        log.write(path + "\\n")
    time.sleep(0.1)
    return decode(path, *arguments)
image_cache.decode = slow_decode
open({str(tmp_path)!r} + f"/ready{{__import__('os').getpid()}}", "w").close()
while len(list(data.Path({str(tmp_path)!r}).glob("ready*"))) < 2:
    time.sleep(0.01)
print(int(data.load_images({str(faces)!r}, 32, "square", 0, Ranks()).images.sum()))
"""
    command = [sys.executable, "-c", job]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    jobs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = [job.communicate(timeout=120)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert sums[0] == sums[1] == f"{int(load(faces).images.sum())}\n"
    assert sorted(log.read_text().split()) == sorted(str(path) for path in faces.iterdir())


def test_only_the_first_process_of_a_machine_builds(faces, monkeypatch):
    load(faces)
    monkeypatch.setattr("mindiffusion.data.build_cache", fail_to_decode)
    assert len(load(faces, ranks=Ranks(rank=9, local_rank=1))) == 12
    with pytest.raises(UserError, match="gone"):
        load(faces, crop="none", ranks=Ranks(rank=9, local_rank=1))


def test_a_mistake_on_another_machine_is_raised_here_too(faces):
    class TwoMachines(Ranks):
        def gather(self, part):
            return torch.cat([part, torch.tensor(list("disk füll\n".encode()), dtype=torch.uint8)])

    with pytest.raises(UserError, match=r"^disk füll$"):
        load(faces, ranks=TwoMachines())
    with pytest.raises(UserError, match=r"(?s)does not exist.*disk füll"):
        load(faces / "nowhere", ranks=TwoMachines())


# The fingerprint


def test_a_copy_of_the_folder_is_the_same_data_set(faces, tmp_path):
    fingerprint = load(faces).fingerprint
    shutil.copytree(faces, tmp_path / "copy", copy_function=shutil.copy)  # other times
    assert load(tmp_path / "copy").fingerprint == fingerprint
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    assert {k: v for k, v in fingerprint.items() if k != "files"} == {
        "kind": "folder",
        "images": 12,
        "image_size": 32,
        "crop": "square",
        "skipped": 0,
    }
    assert load(faces, crop="148").fingerprint != fingerprint
    (faces / "00.png").rename(faces / "000.png")
    assert load(faces).fingerprint["files"] != fingerprint["files"]


def test_synthetic_data_need_no_disk(cache):
    data = load("synthetic", seed=4, num_synthetic=70)
    assert data.images.shape == (70, 3, 32, 32) and data.images.dtype == torch.uint8
    assert data.fingerprint == {"kind": "synthetic", "images": 70, "image_size": 32, "seed": 4}
    assert not torch.equal(data.images, load("synthetic", seed=5, num_synthetic=70).images)
    assert not cache.exists()


# Mistakes


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


def test_a_home_relative_path_is_understood(faces, monkeypatch):
    monkeypatch.setenv("HOME", str(faces.parent))  # .env files know no shell expansion
    assert len(load("~/faces")) == 12


def test_an_unknown_crop(faces):
    with pytest.raises(UserError, match=r"'139'.*square, 140, 148, none"):
        load(faces, crop="139")


def test_a_subfolder_that_may_not_be_read(faces, monkeypatch):
    (faces / "secret").mkdir()
    scandir = os.scandir

    def guarded(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(UserError, match=r"secret cannot be read \(Permission denied\)"):
        load(faces)


def test_a_cache_folder_that_cannot_be_made(faces, monkeypatch):
    monkeypatch.setenv("MINDIFFUSION_CACHE", str(faces / "00.png" / "cache"))
    with pytest.raises(UserError, match=r"00\.png/cache cannot be written.*Set MINDIFFUSION_CACHE"):
        load(faces)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_folder_without_write_permission(faces, cache):
    cache.mkdir(mode=0o500)
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\).*MINDIFFUSION_CACHE"):
        load(faces)


def test_too_little_space_is_told_before_the_work(faces, cache, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(12 * 3 * 32 * 32))
    monkeypatch.setattr(image_cache, "decode", fail_to_decode)
    with pytest.raises(UserError, match=r"needs 0\.1 MB in .*cache.*MINDIFFUSION_CACHE"):
        load(faces)
    assert data_files(cache) == []


def test_a_disk_that_fills_up_during_the_work(faces, cache, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"needs 0\.1 MB .*No space left on device.*MINDIFFUSION_CACHE"):
        load(faces)
    assert data_files(cache) == []


def test_a_write_that_really_fails(faces, cache):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot be written \(File too large"):
            load(faces)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert data_files(cache) == []


def spoil(folder: Path) -> list[str]:
    """Add images that cannot be read, one of each kind. Returns their names."""
    (folder / "05b_text.jpg").write_text("<html>not found</html>")
    (folder / "05c_empty.png").write_bytes(b"")
    Image.new("RGB", (300, 300), RED).save(folder / "whole.jpg")
    (folder / "05d_cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:-400])
    (folder / "whole.jpg").unlink()
    (folder / "05e_broken_link.png").symlink_to(folder / "nowhere.png")
    return ["05b_text.jpg", "05c_empty.png", "05d_cut.jpg", "05e_broken_link.png"]


def test_an_unreadable_image_is_named(faces, cache):
    for name in spoil(faces):
        with pytest.raises(UserError, match=f"{name} cannot be read.*--skip-bad-images"):
            load(faces)
        (faces / name).unlink()
    assert data_files(cache) == []
    assert len(load(faces)) == 12


def test_a_decompression_bomb_is_an_unreadable_image(faces, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    with pytest.raises(UserError, match=r"00\.png cannot be read .*bomb"):
        load(faces)


def test_bad_images_are_skipped_and_listed_if_asked(faces, cache, capsys, monkeypatch):
    clean = load(faces).images
    bad = spoil(faces)
    capsys.readouterr()
    data = load(faces, skip_bad_images=True)
    message = f"Skipped 4 unreadable images: {', '.join(bad)}\n"
    assert capsys.readouterr().err == message
    assert torch.equal(data.images, clean)
    assert data.fingerprint["skipped"] == 4 and data.fingerprint["images"] == 12

    monkeypatch.setattr(image_cache, "decode", fail_to_decode)  # the cache remembers them
    again = load(faces, skip_bad_images=True)
    assert capsys.readouterr().err == message and again.fingerprint == data.fingerprint and len(again) == 12
    load(faces, skip_bad_images=True, ranks=Ranks(rank=1, local_rank=1))
    assert capsys.readouterr().err == ""  # one rank speaks
    with pytest.raises(UserError, match="--skip-bad-images"):  # and forgives only who asks
        load(faces)


def test_a_long_list_of_skipped_images_is_cut(faces, capsys):
    for i in range(25):
        (faces / f"bad{i:02}.jpg").write_bytes(b"")
    assert len(load(faces, skip_bad_images=True)) == 12
    message = capsys.readouterr().err
    assert message.startswith("Skipped 25 ") and message.endswith("bad09.jpg and 15 more\n")


def test_all_images_are_bad(tmp_path, cache):
    spoil(tmp_path)
    with pytest.raises(UserError, match=r"None of the 4 images in .* can be read"):
        load(tmp_path, skip_bad_images=True)
    assert data_files(cache) == []


# Batches


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("images_on_device", [True, False])
@pytest.mark.parametrize("indices_on_device", [True, False])
def test_batches_on_a_gpu_equal_those_on_the_cpu(images_on_device, indices_on_device):
    device = torch.device("cuda", 0)
    data = load("synthetic", num_synthetic=50)
    images = device_images(data, device) if images_on_device else data.images
    assert images.is_cuda == images_on_device
    indices, flips = torch.arange(49, 0, -3), torch.arange(17) % 2 == 0
    expected = get_batch(data.images, indices, flips, torch.device("cpu"))
    if indices_on_device:
        indices, flips = indices.to(device), flips.to(device)
    batch = get_batch(images, indices, flips, device)
    assert batch.device == device and torch.allclose(batch.cpu(), expected, atol=1e-6)
