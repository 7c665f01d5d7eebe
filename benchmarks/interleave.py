"""Processes that take turns, so that a machine's mood falls on all contenders alike."""

import json
import os
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent


@dataclass
class Contender:
    """A contender's process. Between turns it is stopped, its data loaders with it."""

    name: str
    process: subprocess.Popen
    log: Path
    batch_size: int
    rates: list[float] = field(default_factory=list)  # images per second, one per turn
    memory: int = 0  # bytes, the peak so far
    steps: int = 1  # per turn

    @property
    def rate(self) -> float:
        """Images per second, the median over turns."""
        return statistics.median(self.rates) if self.rates else float("nan")

    @property
    def alive(self) -> bool:
        """False once it has failed or was stopped."""
        return self.process.poll() is None

    def turn(self, steps: int) -> float:
        """Train ``steps`` steps; returns images per second, or nan if the process died."""
        self.signal(signal.SIGCONT)
        try:
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.process.wait()
            return float("nan")
        self.signal(signal.SIGSTOP)
        report = json.loads(line)
        self.memory = report["memory"]
        return report["images"] / report["seconds"]

    def signal(self, number: int) -> None:
        """Signal the process and all that it has started."""
        if self.alive:
            os.killpg(self.process.pid, number)

    def end(self) -> None:
        """Kill the process and all that it has started."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def reason(self) -> str:
        """The last line of its log: why it died."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else "no message"


def start(name: str, options: dict, log: Path, python: str = sys.executable) -> Contender:
    """Start the process of a contender (see contenders.py)."""
    command = [python, "-m", "benchmarks.contenders", name, json.dumps(options)]
    with open(log, "w") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            cwd=HERE.parent,
        )
    return Contender(name, process, log, options["batch_size"])


def race(contenders: list[Contender], seconds: float, repeats: int, warm_up: int) -> None:
    """Warm each contender up, choose how many steps fill a turn of ``seconds``, then let all take ``repeats`` turns
    (A B C A B C ...). One that dies drops out."""
    for each in contenders:
        each.turn(warm_up)
        rate = each.turn(1)  # nan if it has died
        batch_seconds = each.batch_size / rate if rate == rate else seconds
        each.steps = max(1, round(seconds / batch_seconds))
    for _ in range(repeats):
        for each in contenders:
            if each.alive:
                each.rates.append(each.turn(each.steps))
