"""Results: a table of 80 columns for people, CSV and JSON for programs. Files appear whole or not at all."""

import csv
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mindiffusion.evaluation.bootstrap import Estimate, Row
from mindiffusion.evaluation.measures import HIGHER, LOWER, SHOWN, ZERO
from mindiffusion.runtime.files import write_atomically

CSV_NAME, JSON_NAME = "evaluation.csv", "evaluation.json"
WIDTH, LABEL, NAME = 80, 18, 16  # of the table, of what stands left in it at least, and of a name at most


@dataclass(frozen=True)
class Result:
    """A row: its name, its metrics, and what must be known about it (kind, samples, whether the reference was held out,
    digest of the weights, ...). Of one that was read from a file also where it stood, and the settings there."""

    name: str
    metrics: Row
    about: dict[str, Any] = field(default_factory=dict)
    source: Path = Path()
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of the weights that were measured, "" if that is not known."""
        return str(self.about.get("weights_digest") or "")

    @property
    def place(self) -> str:
        """Of these weights in their run."""
        step = self.about.get("step")
        return f"step {step:,}" if type(step) is int else "an unknown step"


def write_report(folder: Path, results: list[Result], settings: dict[str, Any]) -> None:
    """evaluation.csv in ``folder``: a line per row, ``name``, then a column per metric, empty where a row has no such.
    evaluation.json: ``{"settings", "results": [{"name", ...about, "metrics": {name: {"value", "low", "high"}}}]}``,
    null where a number is unknown, so that any JSON reader can read it."""
    names = list(dict.fromkeys(name for result in results for name in result.metrics))
    lines = io.StringIO(newline="")
    writer = csv.DictWriter(lines, ["name", *names], lineterminator="\n")
    writer.writeheader()
    for result in results:
        known = {name: f"{each.value:.6g}" for name, each in result.metrics.items() if not math.isnan(each.value)}
        writer.writerow({"name": result.name, **known})
    rows = [{"name": r.name, **r.about, "metrics": {name: vars(n) for name, n in r.metrics.items()}} for r in results]
    content = json.loads(json.dumps({"settings": settings, "results": rows}), parse_constant=lambda nan: None)
    for name, text in ((CSV_NAME, lines.getvalue()), (JSON_NAME, json.dumps(content, indent=2) + "\n")):
        write_atomically(folder / name, lambda temporary, text=text: temporary.write_text(text, encoding="utf-8"))


def table_text(results: list[Result], settings: dict[str, Any]) -> str:
    """A column per row of the table, side by side as far as they fit into 80 columns, then the others below. The main
    metrics, grouped by which direction is better."""
    labels, left = ["", "samples", "real images were"], 0
    for direction in (LOWER, HIGHER, ZERO):
        names = [name for name, metric in SHOWN.items() if metric.direction == direction]
        names = [f"  {name}" for name in names if any(name in each.metrics for each in results)]
        labels += [direction, *names] if names else []
        left = max(LABEL, left, *map(len, names))
    blocks, room = [], 0
    for cells in map(_cells, results):
        width = max(map(len, cells.values())) + 2
        if width > room:
            blocks.append([label.ljust(left) for label in labels])
            room = WIDTH - left
        room -= width
        column = [cells.get(label.strip(), "").rjust(width) for label in labels]
        blocks[-1] = [line + cell for line, cell in zip(blocks[-1], column, strict=True)]
    return "\n\n".join([heading(results, settings), *("\n".join(map(str.rstrip, block)) for block in blocks)])


def heading(results: list[Result], settings: dict[str, Any]) -> str:
    """What was compared with what: a sampler is named where models have drawn with it."""
    drawn = any(each.about.get("kind") == "model" and "samples" in each.about for each in results)
    words = f"samples of models by {settings['sampler']}; " if drawn else ""
    return f"{words}{settings['reference_images']:,} real images as the reference"


def rounded(estimate: Estimate | None) -> str:
    """The value and half its interval's width, with as many digits as the width allows: "188±6", "0.115±0.005"."""
    if estimate is None or not math.isfinite(estimate.value):
        return "-"
    half = estimate.half
    if not math.isfinite(half) or half <= 0:
        return f"{estimate.value:.4g}"
    power = math.floor(math.log10(half))
    digits = max(0, -power + (half / 10**power < 1.95))  # two digits of a width that begins with 1
    digits = 0 if half >= 10 else digits
    return f"{estimate.value:.{digits}f}±{half:.{digits}f}"


def _cells(result: Result) -> dict[str, str]:
    """A column, by what stands to the left of each cell; at its head the name, of which a long one is cut."""
    name = result.name if len(result.name) <= NAME else "…" + result.name[1 - NAME :]
    samples = f"{result.about['samples']:,}" if "samples" in result.about else "-"
    reference = result.about.get("reference", "other ones" if result.about.get("kind") == "real" else "-")
    numbers = {metric: rounded(result.metrics.get(metric)) for metric in SHOWN}
    return {"": name, "samples": samples, "real images were": reference, **numbers}
