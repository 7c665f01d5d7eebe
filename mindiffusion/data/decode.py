"""One image file as pixels of training size. What is no image of a known format, or is absurd, is refused unread."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mindiffusion.runtime.files import open_regular

# Of Pillow's 43 formats. Whatever a file is called, its content decides, and an EPS would start Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
MAX_PIXELS = 64_000_000  # of a file; a few bytes can promise far more
LARGE = 8_000_000  # pixels from which on images are decoded one at a time: 16 bytes each, on every thread, are too many
CELEBA_WIDTH = 178  # pixels of the aligned originals, to which the crops "140" and "148" refer
CROPS = ("square", "140", "148", "none")

one_at_a_time = threading.Lock()
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # of sizes near MAX_PIXELS, which decides


def crop_box(width: int, height: int, crop: str) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of one of ``CROPS`` in an image of that size. "140" and "148" are the centre squares
    of the DDPM papers' CelebA, scaled by width / 178 and limited to the image."""
    if crop == "none":
        return 0, 0, width, height
    side = min(width, height)
    if crop != "square":
        side = min(side, round(int(crop) * width / CELEBA_WIDTH))
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def read_image(path: str | Path, image_size: int, crop: str) -> tuple[np.ndarray, tuple[int, int], int]:
    """The image file as uint8 (3, image_size, image_size): upright, RGB, cropped, shrunk with antialiasing; its own
    width and height; and the shorter side of what the crop leaves of them.

    Transparent images lie on white; 16-bit greys keep their top 8 bits. Raises whatever Pillow raises.
    """
    with open_image(path) as image, one_at_a_time if image.width * image.height > LARGE else nullcontext():
        ImageOps.exif_transpose(image, in_place=True)
        size = image.size
        if image.mode in ("I", "F"):
            raise ValueError("its pixels are 32-bit numbers, and what is white among them is not known")
        if image.mode.startswith("I;16"):  # Pillow's own conversion to RGB would saturate
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("RGB").crop(crop_box(*size, crop))
        side = min(image.size)
        image = image.resize((image_size, image_size), Image.Resampling.BICUBIC)
        return np.asarray(image).transpose(2, 0, 1), size, side


@contextmanager
def open_image(path: str | Path) -> Iterator[Image.Image]:
    """The image in a regular file of one of FORMATS, with its pixels still to be decoded. Of an animation the first
    picture. OSError or ValueError if it is none, or has more than MAX_PIXELS."""
    with open_regular(path) as file:
        try:
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError as error:
            raise ValueError(f"it is no {', '.join(FORMATS)} image, or damaged") from error
        with image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ValueError(f"its {width}x{height} pixels are more than the {MAX_PIXELS:,} that are read")
            yield image
