"""python -m experiments.collect RUN EVALUATION --cell S_long_end --seed 0 --tables docs/results/faces_1m

From the folders of finished runs to the tidy tables of a study. run_study does it for its own runs; this command adds
one that was trained and evaluated by hand. EVALUATION is the folder of evaluate.py, in which RUN is the only row.
"""

import json
from pathlib import Path

from experiments.tables import FINAL, RESULT_COLUMNS, RUN_COLUMNS, grow_csv, tidy
from mindiffusion.checkpoints.weights import read_weights, weights_digest
from mindiffusion.evaluation.table import read_report
from mindiffusion.reports.metrics_log import read_metrics
from mindiffusion.runtime.command_line import CommandLine
from mindiffusion.runtime.errors import UserError, run_script


def collect(output: Path, tables: Path) -> None:
    """Add every run in the study's folder that is done, by this or earlier calls, to results.csv and runs.csv in
    ``tables``. What these hold of other runs, made elsewhere, stays."""
    results, runs = [], []
    for path in sorted(output.glob("runs/*/seed*/done.json")):
        folder, state = path.parent, json.loads(path.read_text())
        if state.get("evaluated"):
            here = {"cell": folder.parent.name, "seed": int(folder.name.removeprefix("seed"))}
            runs.append({**here, **run_facts(folder, state)})
            results += [{**here, **row} for row in tidy(read_report(folder / "evaluation"))]
    grow_tables(tables, results, runs)


def grow_tables(tables: Path, results: list[dict], runs: list[dict]) -> None:
    """Add rows to both tables of a folder."""
    tables.mkdir(parents=True, exist_ok=True)
    for name, columns, rows in (("results.csv", RESULT_COLUMNS, results), ("runs.csv", RUN_COLUMNS, runs)):
        grow_csv(tables / name, columns, rows)


def run_facts(trained: Path, state: dict) -> dict:
    """The row of runs.csv of the run in a folder; ``state`` is what done.json says of it, {} without one."""
    contents, checkpoints = (next(trained.glob(f"{kind}_*"), None) for kind in ("contents", "checkpoints"))
    if contents is None or checkpoints is None:
        raise UserError(f"{trained} holds no run: there is no contents_* or no checkpoints_* in it.")
    config = json.loads((contents / "config.json").read_text())
    rows = read_metrics(contents / "metrics.csv")
    speeds = sorted(float(row["images_per_s"]) for row in rows)
    return {
        "images": rows[-1]["images"],
        "train_seconds": round(state.get("train_seconds", 0.0), 1) or "",
        "images_per_s": round(speeds[len(speeds) // 2], 1),
        "last_mse": rows[-1]["mse"],
        "device": config["device"],
        "precision": config["precision"],
        "torch": config["torch"],
        "commit": state.get("commit", ""),
        "settings": state.get("settings", ""),
        "weights_digest": weights_digest(read_weights(checkpoints / "latest.pt").state),
    }


def main(argv: list[str] | None = None) -> None:
    """Add one run."""
    parser = CommandLine(__doc__)
    parser.add_argument("run", type=Path, help="folder that holds contents_* and checkpoints_*")
    parser.add_argument("evaluation", type=Path, help="folder of evaluate.py")
    parser.add_argument("--cell", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--tables", type=Path, required=True, help="folder of results.csv and runs.csv")
    args = parser.parse_args(argv)
    rows = tidy({"results": [row for row in read_report(args.evaluation)["results"] if row["name"] != "real"]})
    run = run_facts(args.run, {})
    if {row["weights_digest"] for row in rows} != {run["weights_digest"]}:
        raise UserError(f"{args.evaluation} has not measured {args.run} alone, as it is now: evaluate that run again.")
    here = {"cell": args.cell, "seed": args.seed}
    grow_tables(args.tables, [{**here, **row, "checkpoint": FINAL} for row in rows], [{**here, **run}])


if __name__ == "__main__":
    run_script(main)
