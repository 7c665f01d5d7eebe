"""The runs of a study, in its output folder: runs/CELL/seedN/ holds a run's folders, evaluations and done.json."""

import itertools
import json
import shutil
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

from experiments.calls import ROOT, BudgetUsed, Caller
from experiments.collect import run_metrics
from experiments.spec import Cell, Study, all_constants, patient_epochs
from experiments.tables import FINAL, commit, read_csv, run_of
from mindiffusion.data.images import SYNTHETIC
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import write_atomically

CALIBRATION_STEPS = 20  # per stage, to time a cell for --equal-wall


def say(text: str) -> None:
    """A line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Harness:
    """Makes the runs of ``study`` that are missing in ``output``, by programs that ``caller`` starts.

    ``launcher`` is what stands before a training script's arguments: ["python"], or torchrun and its flags. Runs that
    the tables in ``tables`` have already are made only if another run is built on them. With ``equal_wall`` each cell
    gets as many images as it trains on in so many seconds.
    """

    def __init__(
        self,
        study: Study,
        output: Path,
        caller: Caller,
        launcher: list[str],
        tables: Path | None = None,
        equal_wall: float | None = None,
    ):
        self.study = study
        self.output = output
        self.caller = caller
        self.launcher = launcher
        output.mkdir(parents=True, exist_ok=True)
        self.images = {cell.name: study.images for cell in study.cells}
        if equal_wall:
            self.images = self._images_of_equal_wall(equal_wall)
        self.done_elsewhere = self._runs_of_tables(tables) if tables else set()

    # --- plan ---------------------------------------------------------------------------------------------------------

    def settings(self, cell: Cell) -> str:
        """A digest of all that a run's numbers depend on but its seed, its commit and its machine."""
        study = self.study
        synthetic = study.data_path == SYNTHETIC
        about = [cell.script, all_constants(cell), self._flags(cell), self.images[cell.name], synthetic]
        about += [cell.paced_by, None, cell.trained_as, study.eval_images, study.evaluate]
        about += [study.evaluate_stages if cell.name in study.stage_cells else None]
        return blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=6).hexdigest()

    def _flags(self, cell: Cell) -> list[str]:
        places = ["--train-images", self.study.train_images]
        held_out = places if self.study.train_images and self.study.data_path != SYNTHETIC else []
        return [*held_out, *self.study.flags, *cell.flags]

    def _runs_of_tables(self, tables: Path) -> set[tuple[str, int]]:
        """The runs of this study that the tables have, and that need not be made here."""
        cells = {cell.name: cell for cell in self.study.cells}
        there = set()
        for row in read_csv(tables / "runs.csv"):
            name, seed = run_of(row)
            if name not in cells or seed not in self.study.seeds or (self._folder(name, seed) / "done.json").exists():
                continue
            same_images = row["images"] == str(self.images[name])  # all that rows of an earlier version tell
            if row["settings"] != self.settings(cells[name]) if row.get("settings") else not same_images:
                raise UserError(
                    f"{tables}/runs.csv has {name}, seed {seed}, of other settings than the spec's: use another folder "
                    "of tables, or take the rows of that run out."
                )
            there.add((name, seed))
        missing = [(cell, seed) for cell in self.study.cells for seed in self.study.seeds]
        missing = [(cell, seed) for cell, seed in missing if (cell.name, seed) not in there]
        return there - {(cell.paced_by or cell.trained_as, seed) for cell, seed in missing}

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
                images = CALIBRATION_STEPS * self._batch_size(cell)
                self.caller.call(self._train_command(short, 0, folder, images), folder / "log.txt")
                speeds = sorted(float(row["images_per_s"]) for row in run_metrics(folder))
                known[cell.name] = round(speeds[len(speeds) // 2] * seconds)
            known["seconds"] = seconds
            write_atomically(path, lambda temporary: temporary.write_text(json.dumps(known, indent=2)))
        return known

    def _batch_size(self, cell: Cell) -> int:
        sizes = [int(size) for name, size in itertools.pairwise(self._flags(cell)) if name == "--global-batch-size"]
        return sizes[-1] if sizes else 256

    # --- run ----------------------------------------------------------------------------------------------------------

    def run_all(self) -> int:
        """Run what is missing, so many at a time as the caller has jobs. Returns how many runs are done."""
        futures: dict[tuple[str, int], Future] = {}
        with ThreadPoolExecutor(self.caller.jobs) as pool:
            for seed in self.study.seeds:
                for cell in self.study.cells:
                    if (cell.name, seed) in self.done_elsewhere:
                        say(f"{cell.name}, seed {seed}: in the tables already")
                        continue
                    earlier = futures.get((cell.paced_by or cell.trained_as, seed))
                    futures[cell.name, seed] = pool.submit(self._run, cell, seed, earlier)
        errors = [future.exception() for future in futures.values()]
        mistakes = [error for error in errors if error and not isinstance(error, BudgetUsed)]
        if mistakes:
            raise mistakes[0]
        return errors.count(None) + len(self.done_elsewhere)

    def _run(self, cell: Cell, seed: int, earlier: Future | None) -> None:
        folder = self._folder(cell.name, seed)
        settings = self.settings(cell)
        if earlier:
            earlier.result()
        if cell.paced_by:
            cell = replace(cell, stages=patient_epochs(self._epoch_losses(cell.paced_by, seed), cell.stages))
        command = self._train_command(cell, seed, folder, self.images[cell.name] // self.study.epochs)
        done = self._state(folder, command, settings)
        if done.get("evaluated"):
            return
        if not done.get("trained") and not cell.trained_as:
            say(f"training {cell.name}, seed {seed}")
            began = time.monotonic()
            try:
                self.caller.call(command, folder / "log.txt")
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
        calls = [([last], [FINAL], self.study.evaluate, "evaluation")]
        if cell.name in self.study.stage_cells:
            calls.append((stages, [path.stem for path in stages], self.study.evaluate_stages, "evaluation_stages"))
        for paths, names, flags, output in calls:
            shutil.rmtree(folder / output, ignore_errors=True)  # of a call that was stopped
            command = [sys.executable, str(ROOT / "evaluate.py"), *map(str, paths), "--names", *names, *common, *flags]
            self.caller.call([*command, "--output-dir", str(folder / output)], folder / "log.txt")

    def _train_command(self, cell: Cell, seed: int, folder: Path, images_per_epoch: int) -> list[str]:
        values = {name: v if isinstance(v, str) else json.dumps(v) for name, v in all_constants(cell).items()}
        constants = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
        flags = ["--data-path", self.study.data_path, "--output-dir", str(folder), "--seed", str(seed), "--resume"]
        flags += ["--images-per-epoch", str(images_per_epoch), *self._flags(cell)]
        return [*self.launcher, "-m", "experiments.launch", cell.script, *constants, "--", *flags]

    # --- state --------------------------------------------------------------------------------------------------------

    def _folder(self, cell: str, seed: int) -> Path:
        return self.output / "runs" / cell / f"seed{seed}"

    def _state(self, folder: Path, command: list[str], settings: str) -> dict:
        """done.json of a run. UserError if the run there is another one."""
        asked = json.dumps([part for part in command if part not in self.launcher])
        path = folder / "done.json"
        new = {"command": asked, "settings": settings, "commit": commit()}
        state = json.loads(path.read_text()) if path.exists() else new
        earlier_version = "settings" not in state
        same = state.get("evaluated") if earlier_version else (state["command"], state["settings"]) == (asked, settings)
        if not same:
            raise UserError(f"{folder} holds a run of other settings: use another output folder, or delete it.")
        return state

    def _write_state(self, folder: Path, state: dict) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "done.json", lambda temporary: temporary.write_text(json.dumps(state, indent=2)))

    def _epoch_losses(self, cell: str, seed: int) -> list[tuple[int, int, float]]:
        """(stage, epoch, mean mse) of a run."""
        epochs: dict[tuple[int, int], list[float]] = {}
        for row in run_metrics(self._folder(cell, seed)):
            epochs.setdefault((int(row["stage"]), int(row["epoch"])), []).append(float(row["mse"]))
        return [(*place, sum(values) / len(values)) for place, values in epochs.items()]
