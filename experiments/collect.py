"""From the folders of finished runs to the tidy tables of a study."""

import json
from pathlib import Path

from experiments.tables import RESULT_COLUMNS, RUN_COLUMNS, grow_csv, tidy
from mindiffusion.evaluation.table import read_report
from mindiffusion.reports.metrics_log import read_metrics


def run_metrics(run: Path) -> list[dict[str, str]]:
    """The rows of a run's metrics.csv."""
    return read_metrics(next(run.glob("contents_*")) / "metrics.csv")


def collect(output: Path, tables: Path) -> None:
    """Add every run in the study's folder that is done, by this or earlier calls, to results.csv and runs.csv in
    ``tables``. What these hold of other runs, made elsewhere, stays."""
    results, runs = [], []
    for path in sorted(output.glob("runs/*/seed*/done.json")):
        folder, state = path.parent, json.loads(path.read_text())
        if not state.get("evaluated"):
            continue
        here = {"cell": folder.parent.name, "seed": int(folder.name.removeprefix("seed"))}
        runs.append({**here, **_run_facts(output / state.get("run", folder), state)})
        for evaluation in ("evaluation", "evaluation_stages"):
            if (folder / evaluation).exists():
                results += [{**here, **row} for row in tidy(read_report(folder / evaluation))]
    tables.mkdir(parents=True, exist_ok=True)
    for name, columns, rows in (("results.csv", RESULT_COLUMNS, results), ("runs.csv", RUN_COLUMNS, runs)):
        grow_csv(tables / name, columns, rows)


def _run_facts(trained: Path, state: dict) -> dict:
    config = json.loads((next(trained.glob("contents_*")) / "config.json").read_text())
    rows = run_metrics(trained)
    speeds = sorted(float(row["images_per_s"]) for row in rows)
    return {
        "images": rows[-1]["images"],
        "train_seconds": round(state.get("train_seconds", 0.0), 1),
        "images_per_s": round(speeds[len(speeds) // 2], 1),
        "last_mse": rows[-1]["mse"],
        "device": config["device"],
        "precision": config["precision"],
        "torch": config["torch"],
        "commit": state["commit"],
        "settings": state.get("settings", ""),
    }
