"""A table of named metrics: in the terminal, as CSV and as JSON. Files appear whole or not at all."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from mindiffusion.evaluation.bootstrap import Estimate
from mindiffusion.runtime.files import write_atomically

CSV_NAME, JSON_NAME = "evaluation.csv", "evaluation.json"


def metric_names(rows: dict[str, dict[str, Estimate]]) -> list[str]:
    """All metrics of all rows, in the order in which they are first met."""
    return list(dict.fromkeys(name for row in rows.values() for name in row))


def csv_text(rows: dict[str, dict[str, Estimate]]) -> str:
    """A line per row: ``name``, then one column per metric; an empty cell where a row has no such metric."""
    names = metric_names(rows)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", *names])
    for label, row in rows.items():
        writer.writerow([label, *(_cell(row[name].value) if name in row else "" for name in names)])
    return text.getvalue()


def json_text(
    rows: dict[str, dict[str, Estimate]], settings: dict[str, Any], details: dict[str, dict[str, Any]]
) -> str:
    """``{"settings": ..., "results": [{"name", ...details, "metrics": {name: {"value", "low", "high"}}}]}``; null where
    a number is unknown, so that any JSON reader can read it."""
    results = [
        {
            "name": label,
            **details.get(label, {}),
            "metrics": {
                name: {"value": _number(each.value), "low": _number(each.low), "high": _number(each.high)}
                for name, each in row.items()
            },
        }
        for label, row in rows.items()
    ]
    return json.dumps({"settings": settings, "results": results}, indent=2) + "\n"


def write_report(
    folder: Path, rows: dict[str, dict[str, Estimate]], settings: dict[str, Any], details: dict[str, dict[str, Any]]
) -> None:
    """evaluation.csv and evaluation.json in ``folder``."""
    for name, text in ((CSV_NAME, csv_text(rows)), (JSON_NAME, json_text(rows, settings, details))):
        write_atomically(folder / name, lambda temporary, text=text: temporary.write_text(text))


def read_report(folder: Path) -> dict[str, Any]:
    """The content of evaluation.json in ``folder``."""
    return json.loads((folder / JSON_NAME).read_text())


def table_text(rows: dict[str, dict[str, Estimate]]) -> str:
    """The table for a terminal: a line per metric, a column per row, with half the interval's width where known. Of the
    metrics per band only the plain loss is shown; the files have all."""
    names = [name for name in metric_names(rows) if "_band" not in name or name.startswith("loss_band")]
    cells = [["", *rows], *([name, *(_shown(row.get(name)) for row in rows.values())] for name in names)]
    widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]))]
    lines = [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def _shown(estimate: Estimate | None) -> str:
    if estimate is None or math.isnan(estimate.value):
        return "-"
    half = (estimate.high - estimate.low) / 2
    return f"{estimate.value:.4g}" if math.isnan(half) else f"{estimate.value:.4g} ± {half:.2g}"


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
