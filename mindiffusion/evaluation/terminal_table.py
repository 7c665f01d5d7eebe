"""The table for people, on a terminal: the main metrics, grouped by which direction is better, within 80 columns."""

import math
from typing import Any

from mindiffusion.evaluation.bootstrap import Estimate
from mindiffusion.evaluation.measures import HIGHER, LOWER, SHOWN, ZERO
from mindiffusion.evaluation.settings import Result

WIDTH = 80
LABEL_WIDTH = 18


def table_text(results: list[Result], settings: dict[str, Any]) -> str:
    """A column per row of the table, side by side as far as they fit into 80 columns, then the others below."""
    label = max([LABEL_WIDTH, *(len(name) + 2 for name in SHOWN if any(name in each.metrics for each in results))])
    blocks, block, used = [], [], label
    for result in results:
        width = _width(result)
        if block and used + width > WIDTH:
            blocks.append(block)
            block, used = [], label
        block.append(result)
        used += width
    blocks.append(block)
    return "\n\n".join([heading(results, settings), *(_block(each, label) for each in blocks)])


def heading(results: list[Result], settings: dict[str, Any]) -> str:
    """What was compared with what: a sampler is named where models have drawn with it."""
    drawn = any(each.about.get("kind") == "model" and "samples" in each.about for each in results)
    words = f"samples of models by {settings['sampler']}; " if drawn else ""
    return f"{words}{settings['reference_images']:,} real images as the reference"


def rounded(estimate: Estimate | None) -> str:
    """The value and half its interval's width, with as many digits as the width allows: "188±6", "0.115±0.005"."""
    if estimate is None or not math.isfinite(estimate.value):
        return "-"
    half = (estimate.high - estimate.low) / 2
    if not math.isfinite(half) or half <= 0:
        return f"{estimate.value:.4g}"
    power = math.floor(math.log10(half))
    digits = max(0, -power + (half / 10**power < 1.95))  # two digits of a width that begins with 1
    digits = 0 if half >= 10 else digits
    return f"{estimate.value:.{digits}f}±{half:.{digits}f}"


def _block(results: list[Result], label: int) -> str:
    widths = [_width(each) for each in results]

    def line(title: str, cells: list[str]) -> str:
        parts = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        return (title.ljust(label) + "".join(parts)).rstrip()

    lines = [line("", [_heading(each.name, width) for each, width in zip(results, widths, strict=True)])]
    lines.append(line("samples", [_samples(each) for each in results]))
    lines.append(line("real images were", [_reference(each) for each in results]))
    for direction in (LOWER, HIGHER, ZERO):
        names = [m.name for m in SHOWN.values() if m.direction == direction]
        names = [name for name in names if any(name in each.metrics for each in results)]
        lines += [direction] if names else []
        lines += [line(f"  {name}", [rounded(each.metrics.get(name)) for each in results]) for name in names]
    return "\n".join(lines)


def _width(result: Result) -> int:
    """Of a column: its widest cell and two blanks. A long name is cut before it makes the column wider."""
    cells = [rounded(result.metrics[name]) for name in SHOWN if name in result.metrics]
    widest = max(len(cell) for cell in (*cells, _reference(result), _samples(result)))
    return max(widest, min(len(result.name), 16)) + 2


def _heading(name: str, width: int) -> str:
    return name if len(name) <= width - 2 else "…" + name[-(width - 3) :]


def _samples(result: Result) -> str:
    return f"{result.about['samples']:,}" if "samples" in result.about else "-"


def _reference(result: Result) -> str:
    return result.about.get("reference", "other ones" if result.about.get("kind") == "real" else "-")
