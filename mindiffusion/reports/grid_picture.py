"""Sample grids as pictures: enlarged, with a caption, real images in a labelled row of their own; and read back.

A pixel of an image becomes a square of the picture (nearest neighbour), so nothing is smoothed and the pixels can be
read back exactly. Where they lie is kept in the PNG itself, as text under the key ``LAYOUT_KEY``.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor
from torch.nn import functional

from mindiffusion.data.decode import open_image
from mindiffusion.data.images import ImageData
from mindiffusion.ddpm import DDPM
from mindiffusion.runtime.errors import UserError, first_line
from mindiffusion.runtime.files import write_atomically
from mindiffusion.sampling import to_bytes

COLUMNS = 8
CELL = 128  # pixels of the picture that an image is enlarged to, if it is not larger
GAP, MARGIN, LINE = 4, 12, 24  # pixels: between images, around all, height of a line of text
TITLE_SIZE, TEXT_SIZE = 19, 17  # of the letters
PAPER, INK, QUIET = (255, 255, 255), (27, 31, 36), (89, 99, 110)
LAYOUT_KEY = "mindiffusion-grid"
REAL_LABEL = "images of the data, for comparison"
READABLE = 0.25  # of an image's range of 2: noise of this deviation still lets a face be seen


@dataclass(frozen=True)
class Layout:
    """Where the images lie. ``tops``: the first pixel row of the samples and of the real images, as far as there are
    any; ``counts``: how many of each. ``size`` is that of an image, ``scale`` its enlargement."""

    size: int
    scale: int
    left: int
    gap: int
    tops: tuple[int, ...]
    counts: tuple[int, ...]

    def corner(self, group: int, index: int) -> tuple[int, int]:
        """(x, y) of the image's first pixel."""
        step = self.size * self.scale + self.gap
        return self.left + index % COLUMNS * step, self.tops[group] + index // COLUMNS * step


@dataclass(frozen=True)
class Grid:
    """The images of a grid file, uint8 (N, S, S, 3) each; ``real`` is empty where there are none."""

    samples: np.ndarray
    real: np.ndarray


def save_grid(path: Path, samples: Tensor, data: ImageData | None = None, caption: Sequence[str] = ()) -> None:
    """Write samples (N, C, S, S), grey or in colour, in [-1, 1] as a PNG, 8 a row, the lines of ``caption`` above, real
    images of ``data`` below. UserError if it cannot be written."""
    groups = [to_bytes(samples.float()).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()]
    if data is not None:
        groups.append(data.images[:COLUMNS].permute(0, 2, 3, 1).cpu().numpy())
    picture, layout = _compose(groups, caption)
    about = PngImagePlugin.PngInfo()
    about.add_text(LAYOUT_KEY, json.dumps(asdict(layout)))
    write_atomically(path, lambda temporary: picture.save(temporary, "PNG", pnginfo=about))


def read_grid(path: Path) -> Grid:
    """The images of a file that ``save_grid`` wrote, exactly as they were drawn. UserError if it is no such grid."""
    try:
        with open_image(path) as picture:
            layout = Layout(**json.loads(picture.text[LAYOUT_KEY]))
            pixels = np.asarray(picture.convert("RGB"))
        samples, *real = (_cut(pixels, layout, group) for group in range(len(layout.counts)))
    except Exception as error:  # what a damaged or a made-up PNG raises in Pillow is of many types
        raise UserError(
            f"{path} is no sample grid of this program, or is damaged ({first_line(error)}): move it away."
        ) from error
    return Grid(samples, real[0] if real else samples[:0])


def contact_sheet(images: np.ndarray, columns: int = COLUMNS, scale: int = 1, gap: int = 1) -> Image.Image:
    """Images (N, S, S, 3) uint8 side by side, at most ``columns`` a row, without words."""
    size = images.shape[1] * scale
    columns = min(columns, max(len(images), 1))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (size + gap) - gap, max(rows * (size + gap) - gap, 1)), PAPER)
    for index, image in enumerate(images):
        square = Image.fromarray(image).resize((size, size), Image.Resampling.NEAREST)
        sheet.paste(square, (index % columns * (size + gap), index // columns * (size + gap)))
    return sheet


def _compose(groups: list[np.ndarray], caption: Sequence[str]) -> tuple[Image.Image, Layout]:
    """The picture of samples and, if there are two groups, real images."""
    size = groups[0].shape[1]
    scale = max(1, CELL // size)
    step = size * scale + GAP
    tops, y = [], MARGIN + LINE * len(caption)
    for index, images in enumerate(groups):
        y += LINE + MARGIN if index else 0  # its label
        tops.append(y)
        y += -(-len(images) // COLUMNS) * step
    layout = Layout(size, scale, MARGIN, GAP, tuple(tops), tuple(len(images) for images in groups))
    picture = Image.new("RGB", (2 * MARGIN + COLUMNS * step - GAP, y - GAP + MARGIN), PAPER)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(caption):
        font = _font(draw, line, TEXT_SIZE if number else TITLE_SIZE, picture.width - 2 * MARGIN)
        draw.text((MARGIN, MARGIN - 4 + number * LINE), line, fill=QUIET if number else INK, font=font)
    for group, images in enumerate(groups):
        if group:
            place = (MARGIN, layout.tops[group] - LINE)
            draw.text(place, REAL_LABEL, fill=QUIET, font=ImageFont.load_default(TEXT_SIZE))
            draw.line((MARGIN, place[1] - 8, picture.width - MARGIN, place[1] - 8), fill=QUIET, width=1)
        picture.paste(contact_sheet(images, COLUMNS, scale, GAP), (MARGIN, layout.tops[group]))
    return picture, layout


def _font(draw: ImageDraw.ImageDraw, line: str, size: int, width: int) -> ImageFont.ImageFont:
    """Pillow's own font, of this size or of the largest in which the line is not wider than ``width`` pixels."""
    while size > 8 and draw.textlength(line, font=ImageFont.load_default(size)) > width:
        size -= 1
    return ImageFont.load_default(size)


def _cut(pixels: np.ndarray, layout: Layout, group: int) -> np.ndarray:
    """The images (N, S, S, 3) of a group, one pixel of each square. ValueError unless they lie within the picture."""
    images = np.empty((layout.counts[group], layout.size, layout.size, 3), np.uint8)
    span = layout.size * layout.scale
    for index, image in enumerate(images):
        x, y = layout.corner(group, index)
        part = pixels[y : y + span : layout.scale, x : x + span : layout.scale]
        if part.shape != image.shape:
            raise ValueError("its images lie outside of it")
        image[:] = part
    if layout.size < 1:
        raise ValueError("its images have no pixels")
    return images


# --- at which resolution the samples of an unfinished curriculum can be read ------------------------------------


def readable_block(process: DDPM, t_stop: int, loss: float, image_size: int) -> int:
    """How many pixels a side must be averaged before x0_hat at ``t_stop`` can be read: a power of two, at least 1.

    A squared error ``loss`` of the noise is an error of sigma_t * sqrt(loss) in x0_hat, where sigma_t =
    sqrt(1 - alphabar_t) / sqrt(alphabar_t) is the ratio of noise to signal: 25 at t = 0.8 T. Averaged over n x n pixels
    it falls to a n-th; READABLE is small enough.
    """
    error = float(process.sqrtmab[t_stop] / process.sqrtab[t_stop]) * loss**0.5
    block = 1
    while error > READABLE * block and block < image_size:
        block *= 2
    return block


def average_blocks(samples: Tensor, block: int) -> Tensor:
    """Samples (N, C, S, S), each block of ``block`` x ``block`` pixels in its mean colour."""
    means = functional.avg_pool2d(samples, block)
    return functional.interpolate(means, scale_factor=block, mode="nearest")
