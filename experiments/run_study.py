"""python experiments/run_study.py experiments/specs/faces_cpu.py studies/faces --data-path CELEBA --wall-minutes 120

Train and evaluate every cell of a spec for every seed, all at equal images seen, and write tidy tables: results.csv (a
row per run, checkpoint and metric) and runs.csv (a row per run). A second call goes on where the first one ended: after
--wall-minutes, a crash, or Ctrl-C. Seeds come one after the other, so whatever is done is a comparison of all cells.
"""

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

from join_experts import join_files  # noqa: E402
from spec import Cell, Study, describe, load_spec, patient_epochs, plan_text, stages_expression  # noqa: E402
from tables import FINAL, RESULT_COLUMNS, RUN_COLUMNS, commit, tidy, write_csv  # noqa: E402

from mindiffusion.data.images import SYNTHETIC, find_images, parse_range  # noqa: E402
from mindiffusion.evaluation.table import read_report  # noqa: E402
from mindiffusion.reports.metrics_log import read_metrics  # noqa: E402
from mindiffusion.runtime.errors import UserError, run_script  # noqa: E402
from mindiffusion.runtime.files import write_atomically  # noqa: E402

CALIBRATION_STEPS = 20  # per stage, to time a cell for --equal-wall


class BudgetUsed(Exception):
    """The wall budget has ended; what is done is kept."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=Path, help="a file of experiments/specs")
    parser.add_argument("output", type=Path, help="folder of the study")
    parser.add_argument("--data-path", help="default: the spec's, else CELEBA_PATH")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: the spec's")
    parser.add_argument("--cells", nargs="+", help="only these (default: all)")
    parser.add_argument("--images", type=int, help="seen by each run (default: the spec's)")
    parser.add_argument("--wall-minutes", type=float, default=float("inf"), help="stop then; a second call goes on")
    parser.add_argument("--equal-wall", type=float, metavar="SECONDS", help="equal training time instead of images")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores (default: 1)")
    parser.add_argument("--launcher", default=sys.executable, help="e.g. 'torchrun --nproc_per_node=4'")
    parser.add_argument("--dry-run", action="store_true", help="list the runs and exit")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Plan, run what is missing, collect."""
    args = parse_args(argv)
    study = choose(load_spec(args.spec), args)
    if args.dry_run:
        print(plan_text(study))
        return
    harness = Harness(study, args)
    finished = harness.run_all()
    harness.collect()
    total = len(study.cells) * len(study.seeds)
    print(f"{finished} of {total} runs are done; tables in {args.output}/results.csv and runs.csv")
    if finished < total:
        print("the wall budget is used: call again to go on")


def choose(study: Study, args: argparse.Namespace) -> Study:
    """The spec with the command line's wishes."""
    names = [cell.name for cell in study.cells]
    if unknown := set(args.cells or names) - set(names):
        raise UserError(f"the spec has no cell {', '.join(sorted(unknown))}.")
    cells = tuple(cell for cell in study.cells if cell.name in (args.cells or names))
    data_path = args.data_path or study.data_path or os.environ.get("CELEBA_PATH", "")
    if not data_path:
        raise UserError("no data: give --data-path, set CELEBA_PATH, or use a spec of synthetic data.")
    seeds = tuple(args.seeds) if args.seeds else study.seeds
    return replace(study, cells=cells, seeds=seeds, data_path=data_path, images=args.images or study.images)


def say(text: str) -> None:
    """A line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Harness:
    """A study in its output folder: runs/CELL/seedN/ holds a run's folders, evaluations and done.json."""

    def __init__(self, study: Study, args: argparse.Namespace):
        self.study = study
        self.output = args.output.resolve()
        self.jobs = args.jobs
        self.launcher = args.launcher.split()
        self.deadline = time.monotonic() + 60 * args.wall_minutes
        self.output.mkdir(parents=True, exist_ok=True)
        self.train_path = self._link_training_images()
        self.images = {cell.name: study.images for cell in study.cells}
        if args.equal_wall:
            self.images = self._images_of_equal_wall(args.equal_wall)

    # --- plan ---------------------------------------------------------------------------------------------------------

    def _link_training_images(self) -> str:
        """The folder to train on: links to the first images, so that the scripts need no notion of a held-out set."""
        if self.study.data_path == SYNTHETIC or not self.study.train_images:
            return self.study.data_path
        root = Path(self.study.data_path).expanduser().resolve()
        if not root.is_dir():
            raise UserError(f"the data folder {root} does not exist.")
        first, last = parse_range(self.study.train_images)
        if last > len(files := find_images(root)):
            raise UserError(f"the spec trains on images {self.study.train_images}, but {root} has {len(files)}.")
        folder = self.output / "train_images"
        for file in files[first - 1 : last]:
            link = folder / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(root / file.name)
        return str(folder)

    def _images_of_equal_wall(self, seconds: float) -> dict[str, int]:
        """Images that each cell trains on in ``seconds``, timed once and kept, so that a second call plans the same."""
        path = self.output / "equal_wall.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        if known.get("seconds", seconds) != seconds:
            raise UserError(f"{path} was made for {known['seconds']} seconds: use another output folder.")
        for cell in self.study.cells:
            if cell.name not in known:
                folder = self.output / "calibration" / cell.name
                short = replace(cell, stages=tuple((low, high, 1) for low, high, _ in cell.stages))
                batch = self._batch_size(cell)
                self._call(self._train_command(short, 0, folder, CALIBRATION_STEPS * batch), folder / "log.txt")
                speeds = sorted(float(row["images_per_s"]) for row in self._metrics(folder))
                known[cell.name] = round(speeds[len(speeds) // 2] * seconds)
            known["seconds"] = seconds
            write_atomically(path, lambda temporary: temporary.write_text(json.dumps(known, indent=2)))
        return known

    def _batch_size(self, cell: Cell) -> int:
        flags = [*self.study.flags, *cell.flags]
        sizes = [int(size) for name, size in itertools.pairwise(flags) if name == "--global-batch-size"]
        return sizes[-1] if sizes else 256

    # --- run ----------------------------------------------------------------------------------------------------------

    def run_all(self) -> int:
        """Run what is missing, ``jobs`` at a time. Returns how many runs are done."""
        futures: dict[tuple[str, int], Future] = {}
        with ThreadPoolExecutor(self.jobs) as pool:
            for seed in self.study.seeds:
                for cell in self.study.cells:
                    earlier = futures.get((cell.paced_by or cell.trained_as, seed))
                    futures[cell.name, seed] = pool.submit(self._run, cell, seed, earlier)
        errors = [future.exception() for future in futures.values()]
        mistakes = [error for error in errors if error and not isinstance(error, BudgetUsed)]
        if mistakes:
            self.collect()
            raise mistakes[0]
        return errors.count(None)

    def _run(self, cell: Cell, seed: int, earlier: Future | None) -> None:
        folder = self._folder(cell.name, seed)
        if earlier:
            earlier.result()
        if cell.paced_by:
            cell = replace(cell, stages=patient_epochs(self._epoch_losses(cell.paced_by, seed), cell.stages))
        command = self._train_command(cell, seed, folder, self.images[cell.name] // self.study.epochs)
        done = self._state(folder, command)
        if done.get("evaluated"):
            return
        if not done.get("trained") and not cell.trained_as:
            say(f"training {cell.name}, seed {seed}")
            began = time.monotonic()
            try:
                self._call(command, folder / "log.txt")
                done["trained"] = True
            finally:
                done["train_seconds"] = done.get("train_seconds", 0.0) + time.monotonic() - began
                self._write_state(folder, done)
        say(f"evaluating {cell.name}, seed {seed}")
        trained = self._folder(cell.trained_as or cell.name, seed)
        self._evaluate(cell, folder, trained)
        self._write_state(folder, {**done, "evaluated": True, "run": str(trained.relative_to(self.output))})

    def _evaluate(self, cell: Cell, folder: Path, trained: Path) -> None:
        checkpoints = next(trained.glob("checkpoints_*"))
        common = ["--data-path", self.study.data_path, "--no-plots"]
        common += ["--eval-images", self.study.eval_images] if self.study.eval_images else []
        stages = [checkpoints / f"stage{k + 1}.pt" for k in range(len(cell.stages))]
        last = checkpoints / "latest.pt"
        if cell.experts:
            stage, border = cell.experts
            folder.mkdir(parents=True, exist_ok=True)
            last = join_files(folder / "experts.pt", last, checkpoints / f"{stage}.pt", border)
        calls = [([last], [FINAL], self.study.evaluate, "evaluation")]
        if cell.name in self.study.stage_cells:
            calls.append((stages, [path.stem for path in stages], self.study.evaluate_stages, "evaluation_stages"))
        for paths, names, flags, output in calls:
            command = [sys.executable, str(ROOT / "evaluate.py"), *map(str, paths), "--names", *names, *common, *flags]
            self._call([*command, "--output-dir", str(folder / output)], folder / "log.txt")

    def _train_command(self, cell: Cell, seed: int, folder: Path, images_per_epoch: int) -> list[str]:
        constants = {"STAGES": stages_expression(cell.stages), **cell.constants}
        settings = [part for name, value in constants.items() for part in ("--set", f"{name}={value}")]
        flags = ["--data-path", self.train_path, "--output-dir", str(folder), "--seed", str(seed), "--resume"]
        flags += ["--images-per-epoch", str(images_per_epoch), *self.study.flags, *cell.flags]
        return [*self.launcher, str(ROOT / "experiments" / "launch.py"), cell.script, *settings, "--", *flags]

    def _call(self, command: list[str], log: Path) -> None:
        """Run a process, its output added to ``log``. BudgetUsed, after SIGTERM, when the time is over; UserError if it
        fails."""
        if time.monotonic() >= self.deadline:
            raise BudgetUsed
        threads = str(max(1, (os.cpu_count() or 1) // self.jobs))
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a") as output:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
            try:
                left = self.deadline - time.monotonic()
                code = process.wait(None if left == float("inf") else max(left, 0.1))
            except subprocess.TimeoutExpired as expired:
                process.send_signal(signal.SIGTERM)  # a training run saves its state
                process.wait()
                raise BudgetUsed from expired
        if code:
            tail = "\n".join(log.read_text().splitlines()[-5:])
            raise UserError(f"a run ended with code {code}; the end of {log}:\n{tail}")

    # --- state --------------------------------------------------------------------------------------------------------

    def _folder(self, cell: str, seed: int) -> Path:
        return self.output / "runs" / cell / f"seed{seed}"

    def _state(self, folder: Path, command: list[str]) -> dict:
        """done.json of a run. UserError if the run there is another one."""
        asked = describe([part for part in command if part not in self.launcher])
        path = folder / "done.json"
        state = json.loads(path.read_text()) if path.exists() else {"command": asked, "commit": commit()}
        if state["command"] != asked:
            raise UserError(f"{folder} holds a run of other settings: use another output folder, or delete it.")
        return state

    def _write_state(self, folder: Path, state: dict) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "done.json", lambda temporary: temporary.write_text(json.dumps(state, indent=2)))

    def _metrics(self, folder: Path) -> list[dict[str, str]]:
        return read_metrics(next(folder.glob("contents_*")) / "metrics.csv")

    def _epoch_losses(self, cell: str, seed: int) -> list[tuple[int, int, float]]:
        """(stage, epoch, mean mse) of a run."""
        epochs: dict[tuple[int, int], list[float]] = {}
        for row in self._metrics(self._folder(cell, seed)):
            epochs.setdefault((int(row["stage"]), int(row["epoch"])), []).append(float(row["mse"]))
        return [(*place, sum(values) / len(values)) for place, values in epochs.items()]

    # --- collect ------------------------------------------------------------------------------------------------------

    def collect(self) -> None:
        """results.csv and runs.csv of everything in the folder that is done, also by earlier calls."""
        results, runs = [], []
        for path in sorted(self.output.glob("runs/*/seed*/done.json")):
            folder, state = path.parent, json.loads(path.read_text())
            if not state.get("evaluated"):
                continue
            here = {"cell": folder.parent.name, "seed": int(folder.name.removeprefix("seed"))}
            runs.append({**here, **self._run_facts(folder, state)})
            for output in ("evaluation", "evaluation_stages"):
                if (folder / output).exists():
                    results += [{**here, **row} for row in tidy(read_report(folder / output))]
        for name, columns, rows in (("results.csv", RESULT_COLUMNS, results), ("runs.csv", RUN_COLUMNS, runs)):
            write_csv(self.output / name, columns, rows)

    def _run_facts(self, folder: Path, state: dict) -> dict:
        trained = self.output / state.get("run", folder)
        config = json.loads((next(trained.glob("contents_*")) / "config.json").read_text())
        rows = self._metrics(trained)
        speeds = sorted(float(row["images_per_s"]) for row in rows)
        return {
            "images": rows[-1]["images"],
            "train_seconds": round(state.get("train_seconds", 0.0), 1),
            "images_per_s": round(speeds[len(speeds) // 2], 1),
            "last_mse": rows[-1]["mse"],
            "device": config["device"],
            "torch": config["torch"],
            "commit": state["commit"],
        }


if __name__ == "__main__":
    run_script(main)
