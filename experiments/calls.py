"""Programs that a study starts: their time, their share of the cores, their logs."""

import itertools
import os
import queue
import signal
import subprocess
import time
from pathlib import Path

import torch

from experiments.tables import ROOT
from mindiffusion.runtime.errors import UserError


class BudgetUsed(Exception):
    """The wall budget has ended; what is done is kept."""


def threads_per_job(jobs: int) -> str:
    """OMP_NUM_THREADS of each of ``jobs`` programs that run at a time: the user's, else an equal share of the cores
    that this process may use (on a shared machine fewer than it has)."""
    if wish := os.environ.get("OMP_NUM_THREADS"):
        return wish
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return str(max(1, cores // jobs))


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()  # asks the driver, without a context on any GPU
    return given.split(",")[:count] if given else [str(index) for index in range(count)]


class Caller:
    """Starts programs until ``deadline`` (of time.monotonic), ``jobs`` at a time: each of several jobs on a GPU of its
    own, as far as there are such. A job that is alone sees all GPUs."""

    def __init__(self, deadline: float, jobs: int):
        self.deadline = deadline
        self.jobs = jobs
        self.gpus: queue.SimpleQueue[str] = queue.SimpleQueue()  # one for each job that runs
        for gpu in itertools.islice(itertools.cycle(visible_gpus()), jobs if jobs > 1 else 0):
            self.gpus.put(gpu)

    def call(self, command: list[str], log: Path) -> None:
        """Run a program in the repository's folder, its output added to ``log``. BudgetUsed, after SIGTERM, when the
        time is over; UserError if it fails."""
        if time.monotonic() >= self.deadline:
            raise BudgetUsed
        environment = {**os.environ, "OMP_NUM_THREADS": threads_per_job(self.jobs), "PYTHONPATH": str(ROOT)}
        gpu = None if self.gpus.empty() else self.gpus.get()
        try:
            self._run(command, log, environment | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}))
        finally:
            if gpu is not None:
                self.gpus.put(gpu)

    def _run(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
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
