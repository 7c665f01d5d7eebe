"""Sample grids in a page, as data URLs: the images' own pixels, without caption, in WebP.

The page enlarges the grids of all epochs again. What stands still in the page is enlarged here.
"""

import base64
import io
from pathlib import Path

import numpy as np

from mindiffusion.reports.grid_picture import COLUMNS, contact_sheet, read_grid
from mindiffusion.reports.row_file import FEATURES
from mindiffusion.reports.run_record import RunRecord
from mindiffusion.runtime.plain_text import for_html
from mindiffusion.stages import changing_values, describe_values

QUALITY = 90  # of WebP: four runs of 80 epochs are about 5 MB, which can be sent by mail
LONGEST = 16_000  # pixels of a picture, which WebP allows: the images that do not fit below are left out
FEW = (4, 2)  # columns and rows of samples that are shown of a stage
NOTE = "0 % is what noise or a blank image has, 100 % is as in the data."


def samples_url(path: Path) -> str:
    """The samples of a grid file as a data URL. UserError if it is no grid."""
    return _url(read_grid(path).samples)


def real_url(paths: list[Path]) -> str:
    """The real images of the last grid that has some, as a data URL; "" if none has."""
    images = next((real for path in reversed(paths) if len(real := read_grid(path).real)), ())
    return _url(images) if len(images) else ""


def picture_section(path: Path, caption: str) -> str:
    """HTML of the samples of a grid file at twice their size, under ``caption``. UserError if it is no grid."""
    source, words = _url(read_grid(path).samples, 2 * COLUMNS, 2, 2), for_html(caption, 400)
    return f'<figure id="opening"><figcaption>{words}</figcaption><img src="{source}" alt="{words}"></figure>'


def recovery_section(record: RunRecord, title: str) -> str:
    """HTML of what one run on synthetic data has recovered of it: stage by stage a few samples above the shares of the
    coarse and the fine features; empty for a run that measured none, as every run on folders."""
    grids = {stage: path for stage, _, path in record.grids()}  # the last of each stage
    parts = []
    for index, number in enumerate(map(int, record.recovery["stage"])):
        if not 1 <= number <= len(record.config["stages"]):
            continue
        values = for_html(describe_values(changing_values(record.config["stages"])[number - 1]))
        samples = "<p>no grid</p>"
        if number in grids:
            source = _url(read_grid(grids[number]).samples[: FEW[0] * FEW[1]], FEW[0], 2, 4, lossless=True)
            samples = f'<img src="{source}" alt="Samples after stage {number}">'
        shares = ((label, record.recovery[name][index]) for name, label in FEATURES.items())
        bars = [f'<p><meter min="0" max="1" value="{x:.4f}"></meter> {x:.0%} {label}</p>' for label, x in shares]
        head = f"after stage {number} <small>{values}</small>"
        parts.append(f"<figure><figcaption>{head}</figcaption>{samples}{''.join(bars)}</figure>")
    if not parts:
        return ""
    heading = f"<h2>Recovered in the samples: {for_html(title)} <small>{NOTE}</small></h2>"
    return f'<section class="recovery">{heading}<div class="stages">{"".join(parts)}</div></section>'


def _url(images: np.ndarray, columns: int = COLUMNS, scale: int = 1, gap: int = 1, lossless: bool = False) -> str:
    """Images (N, S, S, 3) uint8, side by side, in a data URL."""
    rows = max(1, LONGEST // (images.shape[1] * scale + gap))
    buffer = io.BytesIO()
    sheet = contact_sheet(images[: rows * columns], columns, scale, gap)
    sheet.save(buffer, "WEBP", quality=QUALITY, lossless=lossless, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
