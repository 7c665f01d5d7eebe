"""The runs of a study, in its output folder: runs/CELL/seedN/ holds a run's folders, evaluations and done.json."""

import json
import shutil
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

from experiments.calls import BudgetUsed, Caller
from experiments.spec import Cell, Study, all_constants
from experiments.tables import FINAL, ROOT, commit, read_csv, run_of
from mindiffusion.data.images import SYNTHETIC
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import write_atomically


def say(text: str) -> None:
    """A line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Harness:
    """Makes the runs of ``study`` that are missing in ``output``, by programs that ``caller`` starts.

    ``launcher`` is what stands before a training script's arguments: ["python"], or torchrun and its flags. Runs that
    the tables in ``tables`` have already are not made again.
    """

    def __init__(self, study: Study, output: Path, caller: Caller, launcher: list[str], tables: Path | None = None):
        self.study = study
        self.output = output
        self.caller = caller
        self.launcher = launcher
        output.mkdir(parents=True, exist_ok=True)
        self.done_elsewhere = self._runs_of_tables(tables) if tables else set()

    def settings(self, cell: Cell) -> str:
        """A digest of all that a run's numbers depend on but its seed, its commit and its machine."""
        study = self.study
        about = [cell.script, all_constants(cell), self._flags(cell), study.images, study.data_path == SYNTHETIC]
        about += [study.eval_images, study.evaluate]
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
            if row["settings"] != self.settings(cells[name]):
                raise UserError(
                    f"{tables}/runs.csv has {name}, seed {seed}, of other settings than the spec's: use another folder "
                    "of tables, or take the rows of that run out."
                )
            there.add((name, seed))
        return there

    def run_all(self) -> int:
        """Run what is missing, so many at a time as the caller has jobs. Returns how many runs are done."""
        futures: dict[tuple[str, int], Future] = {}
        with ThreadPoolExecutor(self.caller.jobs) as pool:
            for seed in self.study.seeds:
                for cell in self.study.cells:
                    if (cell.name, seed) in self.done_elsewhere:
                        say(f"{cell.name}, seed {seed}: in the tables already")
                        continue
                    futures[cell.name, seed] = pool.submit(self._run, cell, seed)
        errors = [future.exception() for future in futures.values()]
        mistakes = [error for error in errors if error and not isinstance(error, BudgetUsed)]
        if mistakes:
            raise mistakes[0]
        return errors.count(None) + len(self.done_elsewhere)

    def _run(self, cell: Cell, seed: int) -> None:
        folder = self._folder(cell.name, seed)
        settings = self.settings(cell)
        command = self._train_command(cell, seed, folder, self.study.images // self.study.epochs)
        done = self._state(folder, command, settings)
        if done.get("evaluated"):
            return
        if not done.get("trained"):
            say(f"training {cell.name}, seed {seed}")
            began = time.monotonic()
            try:
                self.caller.call(command, folder / "log.txt")
                done["trained"] = True
            finally:
                done["train_seconds"] = done.get("train_seconds", 0.0) + time.monotonic() - began
                self._write_state(folder, done)
        say(f"evaluating {cell.name}, seed {seed}")
        self._evaluate(folder)
        self._write_state(folder, {**done, "evaluated": True})

    def _evaluate(self, folder: Path) -> None:
        last = next(folder.glob("checkpoints_*")) / "latest.pt"
        shutil.rmtree(folder / "evaluation", ignore_errors=True)  # of a call that was stopped
        command = [sys.executable, str(ROOT / "evaluate.py"), str(last), "--names", FINAL]
        command += ["--data-path", self.study.data_path, "--no-plots", "--output-dir", str(folder / "evaluation")]
        command += ["--eval-images", self.study.eval_images] if self.study.eval_images else []
        self.caller.call([*command, *self.study.evaluate], folder / "log.txt")

    def _train_command(self, cell: Cell, seed: int, folder: Path, images_per_epoch: int) -> list[str]:
        values = {name: v if isinstance(v, str) else json.dumps(v) for name, v in all_constants(cell).items()}
        constants = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
        flags = ["--data-path", self.study.data_path, "--output-dir", str(folder), "--seed", str(seed), "--resume"]
        flags += ["--images-per-epoch", str(images_per_epoch), *self._flags(cell)]
        return [*self.launcher, "-m", "experiments.launch", cell.script, *constants, "--", *flags]

    def _folder(self, cell: str, seed: int) -> Path:
        return self.output / "runs" / cell / f"seed{seed}"

    def _state(self, folder: Path, command: list[str], settings: str) -> dict:
        """done.json of a run. UserError if the run there is another one."""
        asked = json.dumps([part for part in command if part not in self.launcher])
        path = folder / "done.json"
        new = {"command": asked, "settings": settings, "commit": commit()}
        state = json.loads(path.read_text()) if path.exists() else new
        if (state.get("command"), state.get("settings")) != (asked, settings):
            raise UserError(f"{folder} holds a run of other settings: use another output folder, or delete it.")
        return state

    def _write_state(self, folder: Path, state: dict) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "done.json", lambda temporary: temporary.write_text(json.dumps(state, indent=2)))
