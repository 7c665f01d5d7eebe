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
from collections import Counter

import numpy as np
import pytest
import torch
from image_folder import load, png_header
from PIL import Image, ImageOps

from mindiffusion.data.decode import FORMATS
from mindiffusion.data.image_files import find_images
from mindiffusion.runtime.errors import UserError

CASES = 400
PATIENCE = 20  # seconds for one image
MEMORY = 700_000  # kB that all together may add
MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("RGB", "L", "P", "1"),
    "GIF": ("P", "L"),
    "TIFF": ("RGB", "RGBA", "L", "CMYK", "I;16", "I", "F", "1", "LAB"),
    "AVIF": ("RGB", "RGBA"),
    "EPS": ("RGB", "L"),
    "PPM": ("RGB",),
    "TGA": ("RGB",),
    "ICO": ("RGBA",),
}
ENDINGS = ("jpg", "jpeg", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "avif")


def whole(random_: random.Random) -> tuple[str, bytes]:
    """A sound image of a random format, mode and size, and what it is."""
    kind = random_.choice(list(MODES))
    mode = random_.choice(MODES[kind])
    size = random_.choice(((40, 50), (32, 32), (7, 3), (1, 1), (90, 12)))
    pixels = np.random.default_rng(random_.randrange(2**32)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    if mode in ("I;16", "I", "F"):
        kinds = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
        image = Image.fromarray(pixels[:, :, 0].astype(kinds[mode]) * 200)
    elif mode == "LAB":
        image = Image.frombytes("LAB", size, pixels.tobytes())
    else:
        image = Image.fromarray(pixels).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(pixels[:, :, 1]))
    buffer, tags = io.BytesIO(), Image.Exif()
    if kind in ("JPEG", "PNG", "WEBP"):
        tags[0x0112] = random_.choice((1, 3, 6, 8, 99))
    image.save(buffer, kind, **({"exif": tags} if tags else {}))
    return f"{kind} {mode}", buffer.getvalue()


def zeroed(random_: random.Random, content: bytes) -> bytes:
    start = random_.randrange(len(content))
    length = min(random_.choice((1, 16, 512)), len(content) - start)
    return content[:start] + bytes(length) + content[start + length :]


def flipped(random_: random.Random, content: bytes) -> bytes:
    altered = bytearray(content)
    for _ in range(random_.choice((1, 3, 30))):
        altered[random_.randrange(len(altered))] ^= 1 << random_.randrange(8)
    return bytes(altered)


def huge(random_: random.Random, content: bytes) -> bytes:
    """A small file that promises up to 65,500 pixels a side."""
    width, height = random_.choice(((65_500, 65_500), (13_300, 13_300), (9_000, 9_000), (2**31 - 1, 2)))
    bmp = struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54)
    bmp += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    gif = b"GIF89a" + struct.pack("<HH3B", width & 0xFFFF, height & 0xFFFF, 0x80, 0, 0) + bytes(6)
    gif += b"," + struct.pack("<4HB", 0, 0, width & 0xFFFF, height & 0xFFFF, 0) + b"\x02\x02\x44\x01\x00;"
    jpeg = io.BytesIO()
    Image.new("RGB", (16, 16)).save(jpeg, "JPEG")
    jpeg = jpeg.getvalue()
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg = jpeg[:place] + struct.pack(">HH", height & 0xFFFF, width & 0xFFFF) + jpeg[place + 4 :]
    return random_.choice((bmp, gif, png_header(width, height), jpeg))


FAULTS = {
    "sound": lambda random_, content: content,
    "cut": lambda random_, content: content[: random_.randrange(len(content))],
    "zeroed": zeroed,
    "flipped": flipped,
    "header flipped": lambda random_, content: flipped(random_, content[:60]) + content[60:],
    "doubled": lambda random_, content: content * 2,
    "junk before": lambda random_, content: random_.randbytes(random_.choice((1, 128, 4096))) + content,
    "noise": lambda random_, content: random_.choice((b"", b"<html>404</html>", random_.randbytes(3000), bytes(5000))),
    "huge": huge,
}


def by_pillow(content: bytes) -> np.ndarray:
    """What Pillow alone makes of the bytes, (3, 32, 32)."""
    with Image.open(io.BytesIO(content)) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            pixels = np.asarray(image).astype(float)
            alpha = pixels[:, :, 3:] / 255
            image = Image.fromarray((pixels[:, :, :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8))
        image = image.convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BICUBIC)
        return np.asarray(image).transpose(2, 0, 1)


def test_faulty_images(tmp_path, cache, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    random_, outcomes = random.Random(25), Counter()
    folder = tmp_path / "faulty"
    folder.mkdir()
    kinds = {}
    for number in range(CASES):
        what, content = whole(random_)
        fault = random_.choice(("sound", "sound", *FAULTS))
        content = FAULTS[fault](random_, content)
        name = f"{number:03d}.{random_.choice(ENDINGS)}"
        (folder / name).write_bytes(content)
        kinds[name] = f"{what}, {fault}"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def late(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    alone = {}
    for name in kinds:  # each in a folder of its own: what a run says of it
        one = tmp_path / "one" / name
        one.parent.mkdir(exist_ok=True)
        (folder / name).rename(one)
        signal.alarm(PATIENCE)
        try:
            alone[name] = load(one.parent).images[0].clone()
        except UserError as error:
            assert "cannot be read" in str(error) and "\n" not in str(error).strip(), kinds[name]
        finally:
            signal.alarm(0)
        one.rename(folder / name)
    data = load(folder, skip_bad_images=True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY
    names = [file.name for file in find_images(folder).files if file.name in alone]
    assert len(data) == len(names) and data.fingerprint["skipped"] == CASES - len(names)
    for name, pixels in zip(names, data.images, strict=True):
        assert torch.equal(pixels, alone[name]), kinds[name]
        expected = by_pillow((folder / name).read_bytes())
        assert np.abs(pixels.numpy().astype(int) - expected).max() <= 3, kinds[name]
    for name, kind in kinds.items():
        outcomes[f"{kind.split(', ')[1]}: {'read' if name in alone else 'refused'}"] += 1
        if kind.endswith("sound"):
            form, mode = kind.split(",")[0].split(" ")
            assert (name in alone) == (form in FORMATS and mode not in ("I", "F")), kind
    with capsys.disabled():
        print(f"\n{CASES} images: {len(names)} read as Pillow reads them, {CASES - len(names)} refused in words")
        print(", ".join(f"{what} {count}" for what, count in sorted(outcomes.items())))
