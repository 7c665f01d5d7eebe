"""The cache of decoded images: built once, mapped, mended, shared by jobs and processes."""

import json
import os
import time
import warnings
from multiprocessing.pool import ThreadPool

import numpy as np
import pytest
import torch
from image_folder import data_files, fail_to_decode, load
from PIL import Image

from mindiffusion.data import image_cache
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError

pytestmark = pytest.mark.usefixtures("cache")


def test_a_cache_is_built_once_and_then_mapped(faces, cache, monkeypatch):
    first = load(faces)
    assert len(first) == 12 and first.images.shape == (12, 3, 32, 32) and first.images.dtype == torch.uint8
    assert first.images[:, 0, 0, 0].tolist() == [20 * i for i in range(12)]
    assert (first.images[:, 1] == 100).all() and (first.images[:, 2] == 7).all()
    assert data_files(cache) == [".bin", ".json"]

    monkeypatch.setattr(image_cache, "read_image", fail_to_decode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyTorch warns of memory that it may not write
        second = load(faces)
    assert torch.equal(first.images, second.images) and first.fingerprint == second.fingerprint
    second.images[0] = 99
    assert load(faces).images[0, 0, 0, 0] == 0  # the file stays as it was


def test_every_change_of_the_data_or_the_options_makes_a_new_cache(faces, cache):
    def number_of_caches():
        return len(list(cache.glob("*.bin")))

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


DAMAGES = {  # done to the array and to the JSON file beside it
    "cut short": lambda array, about: array.write_bytes(array.read_bytes()[:-1]),
    "a block zeroed": lambda array, about: np.memmap(array, np.uint8, "r+")[2000:2512].fill(0),
    "a pipe": lambda array, about: (array.unlink(), os.mkfifo(array)),
    "json lost": lambda array, about: about.unlink(),
    "json of another kind": lambda array, about: about.write_text("[1]"),
    "json without shape": lambda array, about: about.write_text("{}"),
    **{
        f"json of {key} {value!r}": lambda array, about, new={key: value}: about.write_text(
            json.dumps(json.loads(about.read_text()) | new)
        )
        for key, value in (("shape", [2, 3, 32, 32]), ("skipped", 5), ("skipped", [1, 2]), ("enlarged", [1]))
    },
    "json cut": lambda array, about: about.write_text(about.read_text()[:10]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_built_again(faces, cache, damage, capsys):
    expected = load(faces).images.clone()
    DAMAGES[damage](*cache.glob("*.bin"), *cache.glob("*.json"))
    capsys.readouterr()
    assert torch.equal(load(faces).images, expected)
    assert ("is damaged: making it again" in capsys.readouterr().err) == (damage != "json lost")
    load(faces)
    assert "making it again" not in capsys.readouterr().err


def test_an_image_that_is_replaced_in_secret_is_read_again(faces):
    """The same name, size and time of change: what a hurried rsync, or nobody honest, leaves."""
    Image.new("RGB", (32, 32), (1, 2, 3)).save(faces / "x.bmp")
    first, status = load(faces), (faces / "x.bmp").stat()
    Image.new("RGB", (32, 32), (4, 5, 6)).save(faces / "x.bmp")
    os.utime(faces / "x.bmp", ns=(status.st_atime_ns, status.st_mtime_ns))
    second = load(faces)
    assert (faces / "x.bmp").stat().st_size == status.st_size and second.images[12, :, 0, 0].tolist() == [4, 5, 6]
    assert first.fingerprint.pop("pixels") != second.fingerprint.pop("pixels")
    assert first.fingerprint == second.fingerprint


def test_the_digest_takes_all_pixels_in_their_order(monkeypatch):
    images = np.arange(6 * 3 * 4, dtype=np.uint8).reshape(6, 3, 2, 2)
    monkeypatch.setattr(image_cache, "PIECE", 7)
    digests = {image_cache.pixel_digest(images), image_cache.pixel_digest(images[::-1].copy())}
    for place in range(images.size):
        other = images.copy()
        other.reshape(-1)[place] ^= 1
        digests.add(image_cache.pixel_digest(other))
    assert len(digests) == images.size + 2


def test_the_leftovers_of_a_killed_build_are_removed(faces, cache):
    load(faces)
    (about,) = cache.glob("*.json")
    about.unlink()
    for name in (f".{about.stem}.bin.dead.tmp.bin", ".of_another_build.bin.dead.tmp.bin"):
        (cache / name).write_bytes(b"half")
    load(faces)
    assert [path.name for path in cache.glob("*.tmp*")] == [".of_another_build.bin.dead.tmp.bin"]


def test_two_jobs_at_once_build_one_cache(faces, monkeypatch):
    """Two threads stand for two processes: their locks are as apart."""
    decode, decoded = image_cache.read_image, []

    def slow_decode(path, *arguments):
        decoded.append(str(path))
        time.sleep(0.05)
        return decode(path, *arguments)

    monkeypatch.setattr(image_cache, "read_image", slow_decode)
    with ThreadPool(2) as jobs:
        one, two = jobs.map(load, [faces, faces])
    assert sorted(decoded) == sorted(str(path) for path in faces.iterdir()) and torch.equal(one.images, two.images)


def test_only_the_first_process_of_a_machine_builds(faces, monkeypatch):
    load(faces)
    monkeypatch.setattr(image_cache, "_build", fail_to_decode)
    assert len(load(faces, ranks=Ranks(rank=9, local_rank=1))) == 12
    with pytest.raises(UserError, match="gone"):
        load(faces, crop="none", ranks=Ranks(rank=9, local_rank=1))
