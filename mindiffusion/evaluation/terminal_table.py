"""The table for people, on a terminal: the main metrics, grouped by which direction is better, within 80 columns."""

import math
from typing import Any

from mindiffusion.evaluation.bootstrap import Estimate

WIDTH = 80
LABEL_WIDTH = 18
LOWER, HIGHER, ZERO = "lower is better", "higher is better", "nearer to 0 is better"
MAIN = {  # metric: which direction is better; the rest is in the files
    "swd": LOWER,
    "swd_32": LOWER,
    "swd_16": LOWER,
    "swd_8": LOWER,
    "color_error": LOWER,
    "fid": LOWER,
    "kid": LOWER,
    "loss": LOWER,
    "bpd": LOWER,
    "face_rate": HIGHER,
    "precision": HIGHER,
    "recall": HIGHER,
    "recovery_coarse": HIGHER,
    "recovery_fine": HIGHER,
    "spectrum_db": ZERO,
    "saturation_error": ZERO,
    "recovery_outside": ZERO,
}


def table_text(
    rows: dict[str, dict[str, Estimate]], settings: dict[str, Any], details: dict[str, dict[str, Any]]
) -> str:
    """A column per row of the table, side by side as far as they fit into 80 columns, then the others below."""
    words = f"{settings['n_samples']:,} samples ({settings['sampler']}), {settings['reference_images']:,} real images"
    label = max([LABEL_WIDTH, *(len(name) + 2 for name in MAIN if any(name in row for row in rows.values()))])
    blocks, block, used = [], [], label
    for name in rows:
        width = _width(name, rows[name], details)
        if block and used + width > WIDTH:
            blocks.append(block)
            block, used = [], label
        block.append(name)
        used += width
    blocks.append(block)
    return "\n\n".join([words, *(_block(each, rows, details, label) for each in blocks)])


def rounded(estimate: Estimate | None) -> str:
    """The value and half its interval's width, with as many digits as the width allows: "188±6", "0.115±0.005"."""
    if estimate is None or math.isnan(estimate.value):
        return "-"
    half = (estimate.high - estimate.low) / 2
    if math.isnan(half) or half <= 0:
        return f"{estimate.value:.4g}"
    power = math.floor(math.log10(half))
    digits = max(0, -power + (half / 10**power < 1.95))  # two digits of a width that begins with 1
    digits = 0 if half >= 10 else digits
    return f"{estimate.value:.{digits}f}±{half:.{digits}f}"


def _block(names: list[str], rows: dict[str, dict[str, Estimate]], details: dict[str, Any], label: int) -> str:
    widths = [_width(name, rows[name], details) for name in names]
    lines = [_line("", [_heading(name, width) for name, width in zip(names, widths, strict=True)], widths, label)]
    lines.append(_line("real images were", [_reference(details.get(name, {})) for name in names], widths, label))
    for direction in (LOWER, HIGHER, ZERO):
        metrics = [name for name, better in MAIN.items() if better == direction and any(name in rows[n] for n in names)]
        if metrics:
            lines.append(direction)
        lines += [_line(f"  {name}", [rounded(rows[n].get(name)) for n in names], widths, label) for name in metrics]
    return "\n".join(lines)


def _line(label: str, cells: list[str], widths: list[int], label_width: int) -> str:
    parts = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    return (label.ljust(label_width) + "".join(parts)).rstrip()


def _width(name: str, row: dict[str, Estimate], details: dict[str, Any]) -> int:
    """Of a column: its widest cell and two blanks. A long name is cut before it makes the column wider."""
    cells = [rounded(row[metric]) for metric in MAIN if metric in row]
    widest = max([len(cell) for cell in (*cells, _reference(details.get(name, {})))])
    return max(widest, min(len(name), 16)) + 2


def _heading(name: str, width: int) -> str:
    return name if len(name) <= width - 2 else "…" + name[-(width - 3) :]


def _reference(about: dict[str, Any]) -> str:
    return about.get("reference", "other ones" if about.get("kind") == "real" else "-")
