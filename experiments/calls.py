"""Programs that a study starts: their time, their share of the cores, their logs."""

import os
import signal
import subprocess
import time
from pathlib import Path

from mindiffusion.runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


class BudgetUsed(Exception):
    """The wall budget has ended; what is done is kept."""


def threads_per_job(jobs: int) -> str:
    """OMP_NUM_THREADS of each of ``jobs`` programs that run at a time: the user's, else an equal share of the cores
    that this process may use (on a shared machine fewer than it has)."""
    if wish := os.environ.get("OMP_NUM_THREADS"):
        return wish
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return str(max(1, cores // jobs))


class Caller:
    """Starts programs until ``deadline`` (of time.monotonic), ``jobs`` at a time."""

    def __init__(self, deadline: float, jobs: int):
        self.deadline = deadline
        self.jobs = jobs

    def call(self, command: list[str], log: Path) -> None:
        """Run a program in the repository's folder, its output added to ``log``. BudgetUsed, after SIGTERM, when the
        time is over; UserError if it fails."""
        if time.monotonic() >= self.deadline:
            raise BudgetUsed
        environment = {**os.environ, "OMP_NUM_THREADS": threads_per_job(self.jobs), "PYTHONPATH": str(ROOT)}
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
