"""The part of the comparison page that says what was recovered of synthetic data: stage by stage, a few samples above
the shares of the coarse and the fine features."""

import base64
import io
from pathlib import Path

from mindiffusion.reports.grid_picture import contact_sheet, read_grid
from mindiffusion.reports.run_record import RunRecord
from mindiffusion.runtime.plain_text import for_html
from mindiffusion.stages import changing_values, describe_values

SAMPLES = (4, 2)  # columns and rows taken from the grid
GAP = 4  # screen pixels between two images
SCALE = 2  # screen pixels per image pixel
FEATURES = (("coarse", "coarse features (M1)"), ("fine", "fine features (M2)"))
NOTE = "0 % is what noise or a blank image has, 100 % is as in the data."


def recovery_section(record: RunRecord, title: str) -> str:
    """HTML of one run's recovery after each stage; empty for a run that measured none, as every run on folders."""
    grids = {stage: path for stage, _, path in record.grids()}  # the last of each stage
    stages = changing_values(record.config["stages"])
    rows = [index for index, stage in enumerate(record.recovery["stage"]) if 1 <= stage <= len(stages)]
    parts = []
    for index in rows:
        number = int(record.recovery["stage"][index])
        head = f"after stage {number} <small>{for_html(describe_values(stages[number - 1]))}</small>"
        bars = "".join(_bar(label, record.recovery[name][index]) for name, label in FEATURES)
        parts.append(f"<figure><figcaption>{head}</figcaption>{_samples(grids.get(number), number)}{bars}</figure>")
    if not parts:
        return ""
    heading = f"<h2>Recovered in the samples: {for_html(title)} <small>{NOTE}</small></h2>"
    return f'<section class="recovery">{heading}<div class="stages">{"".join(parts)}</div></section>'


def _bar(label: str, share: float) -> str:
    return f'<p><meter min="0" max="1" value="{share:.4f}"></meter> {share:.0%} {label}</p>'


def _samples(grid: Path | None, stage: int) -> str:
    """The first images of a grid, as an image of whole multiples of its pixels."""
    if grid is None:
        return "<p>no grid</p>"
    columns, rows = SAMPLES
    sheet = contact_sheet(read_grid(grid).samples[: columns * rows], columns, SCALE, GAP)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="{source}" alt="Samples after stage {stage}">'
