"""Sample grids as data URLs in a page: the images' own pixels, without caption, in as few bytes as can be asked for.

The page enlarges them again. By default they are WebP of the best quality at which all together stay below ``BUDGET``.
"""

import base64
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mindiffusion.reports.grid_picture import COLUMNS, contact_sheet, read_grid
from mindiffusion.runtime.plain_text import for_html

BUDGET = 4.5e6  # bytes in the page, so that four runs of 80 epochs are sent by mail and opened at once
QUALITIES = (90, 80, 70, 60, 50, 40, 30)  # tried in this order
LONGEST = 16_000  # pixels of a picture, which WebP allows: the images that do not fit below are left out
TRIED = 24  # grids to judge a quality by


@dataclass(frozen=True)
class Pictures:
    """How grids are embedded. ``kind``: "webp", "jpeg" or "png", the last without loss; ``quality``: of the first two,
    0 to let ``fit`` choose."""

    kind: str = "webp"
    quality: int = 0

    def fit(self, paths: list[Path]) -> "Pictures":
        """With a quality: the one asked for, or the best that keeps ``paths`` together below BUDGET."""
        if self.kind == "png" or self.quality or not paths:
            return self
        some = paths[:: max(1, len(paths) // TRIED)]
        for quality in QUALITIES:
            chosen = replace(self, quality=quality)
            if sum(len(chosen.embed(path)) for path in some) / len(some) * len(paths) <= BUDGET:
                break
        return chosen

    def embed(self, path: Path) -> str:
        """The samples of a grid file as a data URL. UserError if it is no grid."""
        return self._url(read_grid(path).samples)

    def real(self, paths: list[Path]) -> str:
        """The real images of the last grid that has some, as a data URL; "" if none has."""
        for path in reversed(paths):
            images = read_grid(path).real
            if len(images):
                return self._url(images)
        return ""

    def _url(self, images: np.ndarray) -> str:
        rows = max(1, LONGEST // (images.shape[1] + 1))
        sheet = contact_sheet(images[: rows * COLUMNS])
        options = {"webp": {"quality": self.quality, "method": 4}, "jpeg": {"quality": self.quality, "subsampling": 0}}
        buffer = io.BytesIO()
        sheet.save(buffer, self.kind.upper(), **options.get(self.kind, {"optimize": True}))
        return f"data:image/{self.kind};base64," + base64.b64encode(buffer.getvalue()).decode()


def picture_section(path: Path, caption: str) -> str:
    """HTML of the samples of a grid file at twice their size, under ``caption``. UserError if it is no grid."""
    buffer = io.BytesIO()
    contact_sheet(read_grid(path).samples, 2 * COLUMNS, 2, 2).save(buffer, "WEBP", quality=90)
    source = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    words = for_html(caption, 400)
    return f'<figure id="opening"><figcaption>{words}</figcaption><img src="{source}" alt="{words}"></figure>'
