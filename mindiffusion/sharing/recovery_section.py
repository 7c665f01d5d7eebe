"""The part of the comparison page that says what was recovered of synthetic data: a column per stage, with a few of its
samples above the shares of the coarse and the fine features."""

import base64
import io
from html import escape
from pathlib import Path

from mindiffusion.reports.grid_picture import contact_sheet, read_grid
from mindiffusion.reports.run_record import RunRecord

SAMPLES = (4, 2)  # columns and rows taken from the grid
GAP = 4  # screen pixels between two images
SCALE = 2  # screen pixels per image pixel
FEATURES = (("coarse", "coarse features (M1)"), ("fine", "fine features (M2)"))
NOTE = "0 % is what noise or a blank image has, 100 % is as in the data."


def recovery_section(record: RunRecord, title: str) -> str:
    """HTML of one run's recovery after each stage; empty for a run that measured none, as every run on folders."""
    rows = {int(row["stage"]): row for row in record.recovery()}
    if not rows:
        return ""
    grids = {stage: path for stage, _, path in record.grids()}  # the last of each stage
    stages = record.config["stages"]
    head, pictures = "<th></th>", "<th>samples</th>"
    for number in rows:
        stage = stages[number - 1]
        span = f"t/T {stage['t_min']:g} to {stage['t_max']:g}"
        head += f"<th>after stage {number}<br><small>{escape(span)}</small></th>"
        pictures += f"<td>{_samples(record, grids[number], number) if number in grids else ''}</td>"
    body = f"<tr>{pictures}</tr>"
    for name, label in FEATURES:
        body += f"<tr><th>{label}</th>{''.join(_bar(float(row[name])) for row in rows.values())}</tr>"
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    heading = f"<h2>Recovered in the samples: {escape(title)} <small>{NOTE}</small></h2>"
    return f'<section class="recovery">{heading}<div class="scroll">{table}</div></section>'


def _bar(share: float) -> str:
    return f'<td><meter min="0" max="1" value="{share:.4f}"></meter> {share:.0%}</td>'


def _samples(record: RunRecord, grid: Path, stage: int) -> str:
    """The first images of a grid, as an image of whole multiples of its pixels."""
    columns, rows = SAMPLES
    sheet = contact_sheet(read_grid(grid).samples[: columns * rows], columns, SCALE, GAP)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="{source}" alt="Samples after stage {stage}">'
