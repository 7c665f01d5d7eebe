"""A table of named metrics as CSV and as JSON. Files appear whole or not at all. terminal_table.py is for people."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from mindiffusion.evaluation.bootstrap import Estimate
from mindiffusion.runtime.files import read_text, write_atomically

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
    return json.loads(read_text(folder / JSON_NAME))


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
