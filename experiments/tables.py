"""The tidy tables of a study: written by run_study.py, read by the scripts of claims."""

import csv
import io
import subprocess
from pathlib import Path

from mindiffusion.runtime.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
FINAL = "final"  # the name of the last checkpoint in results.csv; the others are stage1, stage2, ...
RESULT_COLUMNS = ("cell", "seed", "checkpoint", "images", "metric", "value", "low", "high")
RUN_COLUMNS = ("cell", "seed", "images", "train_seconds", "images_per_s", "last_mse", "device", "torch", "commit")


def tidy(report: dict) -> list[dict]:
    """A row per checkpoint and metric of an evaluation."""
    return [
        {"checkpoint": result["name"], "images": result.get("images", ""), "metric": name, **numbers}
        for result in report["results"]
        for name, numbers in result["metrics"].items()
    ]


def write_csv(path: Path, columns: tuple[str, ...], rows: list[dict]) -> None:
    """A table, atomically; None is an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
                     for row in rows)  # fmt: skip
    write_atomically(path, lambda temporary: temporary.write_text(text.getvalue()))


def commit() -> str:
    """The commit of this tree, with a + if files differ from it; "" outside git."""
    done = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()
