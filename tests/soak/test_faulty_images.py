"""pytest tests/soak/test_faulty_images.py -s

Images made faulty by a seeded generator: each is refused in words, or read with the pixels that Pillow finds in its
bytes; none ends in a traceback, hangs, starts a program or fills the memory.
"""

import io
import random
import resource
import signal
import struct
import subprocess

import numpy as np
import pytest
import torch
from altered import damaged
from image_folder import load, png_header
from PIL import Image

from mindiffusion.data.decode import FORMATS
from mindiffusion.data.image_files import find_images
from mindiffusion.runtime.errors import UserError

CASES = 400
PATIENCE = 20  # seconds for one image
MEMORY = 700_000  # kB that all together may add
KINDS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "EPS", "PPM", "TGA")
ENDINGS = ("jpg", "jpeg", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "avif")


def whole(dice: random.Random) -> tuple[str, bytes]:
    """The format and the bytes of a sound image of random size, grey or in colour. (Other modes: tests/data.)"""
    kind, size = dice.choice(KINDS), dice.choice(((40, 50), (32, 32), (7, 3), (1, 1), (90, 12)))
    pixels = np.random.default_rng(dice.randrange(2**32)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(dice.choice(("RGB", "L"))).save(buffer, kind)
    return kind, buffer.getvalue()


def huge(dice: random.Random) -> bytes:
    """A small file that promises up to 65,500 pixels a side."""
    width, height = dice.choice(((65_500, 65_500), (13_300, 13_300), (9_000, 9_000), (2**31 - 1, 2)))
    bmp = struct.pack("<2sIHHIIiiHH24x", b"BM", 54, 0, 0, 54, 40, width, height, 1, 24)
    return dice.choice((bmp, png_header(width, height)))


def by_pillow(content: bytes) -> np.ndarray:
    """What Pillow alone makes of the bytes, (3, 32, 32)."""
    with Image.open(io.BytesIO(content)) as image:
        image = image.convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)


def late(*_):
    raise TimeoutError


def test_faulty_images(tmp_path, cache, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    signal.signal(signal.SIGALRM, late)
    dice, alone = random.Random(25), {}
    folder = tmp_path / "faulty"
    folder.mkdir()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(CASES):
        kind, content = whole(dice)
        fault = dice.choice(("sound", "damaged", "damaged", "damaged", "huge"))
        content = {"sound": content, "damaged": damaged(content, dice), "huge": huge(dice)}[fault]
        name, what = f"{number:03d}.{dice.choice(ENDINGS)}", f"{kind}, {fault}"
        one = tmp_path / f"one{number}" / name  # in a folder of its own: what a run says of it
        one.parent.mkdir()
        one.write_bytes(content)
        signal.alarm(PATIENCE)
        try:
            alone[name] = load(one.parent).images[0].clone()
            assert np.abs(alone[name].numpy().astype(int) - by_pillow(content)).max() <= 3, what
        except UserError as error:
            assert "cannot be read" in str(error) and "\n" not in str(error).strip(), what
        finally:
            signal.alarm(0)
        one.rename(folder / name)
        assert fault != "sound" or (name in alone) == (kind in FORMATS), what
    data = load(folder, skip_bad_images=True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY
    names = [file.name for file in find_images(folder).files if file.name in alone]
    assert len(data) == len(names) == len(alone) and data.fingerprint["skipped"] == CASES - len(names)
    assert all(torch.equal(pixels, alone[name]) for name, pixels in zip(names, data.images, strict=True))
    with capsys.disabled():
        print(f"\n{CASES} images: {len(names)} read as Pillow reads them, {CASES - len(names)} refused in words")
