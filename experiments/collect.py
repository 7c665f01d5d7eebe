"""python -m experiments.collect pretrained/p_2m_32 studies/P_1 --evaluations evaluation own --table converged.csv

From trained models, which are named as for sample.py, and the folders in which evaluate.py has measured them (one with
--swd-normalization own, say) to a table with a row per model. Rows are known by the digest of the weights: those of
models that are not named stay as they are, and a cell that nobody measured this time keeps its number. Sorted by way of
training, learning rate, images and seed.
"""

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from experiments.tables import RESULT_COLUMNS, RUN_COLUMNS, grow_csv, read_csv, tidy, write_csv
from mindiffusion.checkpoints.weights import read_weights, weights_digest
from mindiffusion.evaluation.results import JSON_NAME
from mindiffusion.reports.row_file import read_rows
from mindiffusion.runtime.command_line import CommandLine, run_script
from mindiffusion.runtime.errors import UserError
from mindiffusion.sharing.evaluations import ALIKE, read_evaluation

NAMES = {"": "control", "c": "C: the curriculum", "cs": "CS: C with a mask", "cr": "CR: C with a penalty"}
NAMES |= {"p": "P: another network", "cp": "CP: the curriculum on P", "s": "S: P with a soft order"}
REAL = "other real images"
SWD = dict.fromkeys(("swd", "swd_32", "swd_16", "swd_8", "swd_own"), 0)
MEASURED = {**SWD, "bits/dim": 2, "face_rate": 2, "color_error": 3}  # columns and their digits
MODEL_COLUMNS = ("training", "seed", "images", "learning rate", *MEASURED, "weights")
DIGITS = 12  # of a digest


def collect(output: Path, tables: Path) -> None:
    """Add every run in the study's folder that is done, by this or earlier calls, to results.csv and runs.csv in
    ``tables``. What these hold of other runs, made elsewhere, stays."""
    results, runs = [], []
    for path in sorted(output.glob("runs/*/seed*/done.json")):
        folder, state = path.parent, json.loads(path.read_text())
        if state.get("evaluated"):
            here = {"cell": folder.parent.name, "seed": int(folder.name.removeprefix("seed"))}
            runs.append({**here, **run_facts(folder, state)})
            results += [{**here, **row} for row in tidy(read_evaluation(folder / "evaluation" / JSON_NAME))]
    tables.mkdir(parents=True, exist_ok=True)
    grow_csv(tables / "results.csv", RESULT_COLUMNS, results)
    grow_csv(tables / "runs.csv", RUN_COLUMNS, runs)


def run_facts(trained: Path, state: dict) -> dict:
    """The row of runs.csv of the run in a folder; ``state`` is what done.json says of it."""
    contents = next(trained.glob("contents_*"))
    config = json.loads((contents / "config.json").read_text())
    rows = read_rows(contents / "metrics.csv")[0]
    return {
        "images": rows[-1]["images"],
        "train_seconds": round(state["train_seconds"], 1),
        "images_per_s": round(statistics.median_high(float(row["images_per_s"]) for row in rows), 1),
        "last_mse": rows[-1]["mse"],
        "device": config["device"],
        "precision": config["precision"],
        "torch": config["torch"],
        "commit": state["commit"],
        "settings": state["settings"],
        "weights_digest": weights_digest(read_weights(trained).state),
    }


def model_row(path: Path, name: str) -> dict[str, str]:
    """What a model says of its training."""
    weights = read_weights(path)
    if not (checkpoint := weights.checkpoint):
        raise UserError(f"{path} does not say how it was trained: name a run or an export of one.")
    config = checkpoint["config"]
    return {
        "training": name or NAMES.get(config["variant"], config["variant"].upper()),
        "seed": str(config["seed"]),
        "images": f"{checkpoint['next_step'] * config['global_batch_size']:,}",
        "learning rate": np.format_float_scientific(config["lr"], trim="-", exp_digits=1),
        "weights": weights_digest(weights.state)[:DIGITS],
    }


def measured(folders: list[Path]) -> dict[str, dict[str, str]]:
    """{first digits of a digest, "" for real images: its numbers}. UserError if the folders were not measured alike."""
    found: dict[str, dict[str, str]] = {}
    asked: dict[str, Any] = {}
    for folder in folders:
        for result in read_evaluation(folder / JSON_NAME):
            for name in ALIKE:
                value = result.settings.get(name)
                if asked.setdefault(name, value) != value:
                    raise UserError(f"{folder} was measured with {name} {value}, {folders[0]} with {asked[name]}.")
            own = "_own" if result.settings.get("swd_normalization") == "own" else ""
            numbers = {name + own: estimate.value for name, estimate in result.metrics.items()}
            numbers |= {"bits/dim": numbers["bpd"]} if "bpd" in numbers else {}
            texts = {name: f"{numbers[name]:.{digits}f}" for name, digits in MEASURED.items() if name in numbers}
            found.setdefault(result.digest[:DIGITS], {}).update(texts)
    return found


def main(argv: list[str] | None = None) -> None:
    """Read, join by weights, write."""
    parser = CommandLine(__doc__)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="runs, checkpoints or exports")
    parser.add_argument("--names", nargs="+", help="of the ways of training (default: by their variant)")
    parser.add_argument("--evaluations", type=Path, nargs="+", required=True, help="folders of evaluate.py")
    parser.add_argument("--table", type=Path, required=True, help="CSV file to write, or to add to")
    args = parser.parse_args(argv)
    if args.names and len(args.names) != len(args.models):
        parser.error(f"--names has {len(args.names)} names for {len(args.models)} models.")
    numbers = measured(args.evaluations)
    rows = {row["weights"]: row for row in read_csv(args.table)}
    for path, name in zip(args.models, args.names or [""] * len(args.models), strict=True):
        row = model_row(path, name)
        if row["weights"] not in numbers:
            raise UserError(f"no evaluation is of {path} as it is now: evaluate it again.")
        rows[row["weights"]] = rows.get(row["weights"], {}) | row | numbers[row["weights"]]
    real = rows.pop("", dict.fromkeys(("seed", "images", "learning rate"), "-") | {"training": REAL})
    real |= numbers.get("", {})
    ways = [*NAMES.values(), *(row["training"] for row in rows.values())]

    def place(row: dict[str, str]) -> tuple:
        images, seed = (int(row[name].replace(",", "")) for name in ("images", "seed"))
        return ways.index(row["training"]), -float(row["learning rate"]), images, seed

    write_csv(args.table, MODEL_COLUMNS, [*sorted(rows.values(), key=place), *([real] if "swd" in real else [])])
    print(f"{len(args.models)} rows written, {len(rows)} models in {args.table}")


if __name__ == "__main__":
    run_script(main)
