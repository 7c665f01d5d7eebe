"""Results as CSV and as JSON, written anew after each row. Files appear whole or not at all. terminal_table.py is for
people."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from mindiffusion.evaluation.settings import Result
from mindiffusion.runtime.files import write_atomically

CSV_NAME, JSON_NAME = "evaluation.csv", "evaluation.json"


def csv_text(results: list[Result]) -> str:
    """A line per row: ``name``, then one column per metric; an empty cell where a row has no such metric."""
    names = list(dict.fromkeys(name for result in results for name in result.metrics))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", *names])
    for result in results:
        values = [result.metrics[name].value if name in result.metrics else math.nan for name in names]
        writer.writerow([result.name, *("" if math.isnan(value) else f"{value:.6g}" for value in values)])
    return text.getvalue()


def json_text(results: list[Result], settings: dict[str, Any]) -> str:
    """``{"settings": ..., "results": [{"name", ...about, "metrics": {name: {"value", "low", "high"}}}]}``; null where
    a number is unknown, so that any JSON reader can read it."""
    rows = [
        {"name": each.name, **each.about, "metrics": {name: vars(number) for name, number in each.metrics.items()}}
        for each in results
    ]
    return json.dumps(_known({"settings": settings, "results": rows}), indent=2, allow_nan=False) + "\n"


def write_report(folder: Path, results: list[Result], settings: dict[str, Any]) -> None:
    """evaluation.csv and evaluation.json in ``folder``."""
    for name, text in ((CSV_NAME, csv_text(results)), (JSON_NAME, json_text(results, settings))):
        write_atomically(folder / name, lambda temporary, text=text: temporary.write_text(text, encoding="utf-8"))


def _known(value: Any) -> Any:
    """The same with None for every number that is none."""
    if isinstance(value, dict):
        return {name: _known(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_known(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
