"""Faults on purpose: the real scripts in processes of their own, killed, slowed down or short of something.

A fault is a plain dict, so that it can travel to another process:
    kill       {"place": name of PLACES, "nth": call, counted from 1, "after": (place, nth) from which on to count}:
               SIGKILL to itself just before that call
    fill       {"place", "nth", "folder", "spare"}: leave only that many bytes free there just before that call
    slow       {place: seconds} to wait before each call, on rank 0 only
    lock_patience    seconds to wait for another run that writes in the same folder
    timeout    seconds until a rank that does not take part in a step counts as lost
    float64    True: train in double precision
    terminal   True: the log is the process's own terminal, and its end a SIGHUP, which is ignored if nohup is True
    attempt    act only in this attempt of an elastic job (0 = the first), on rank ``rank`` only if that is given
"""

import faulthandler
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from subprocess import STDOUT, Popen

import helpers
import torch

from mindiffusion.checkpoints import run_folder
from mindiffusion.data import image_cache
from mindiffusion.ddim import DDIM
from mindiffusion.reports.row_file import RowFile
from mindiffusion.runtime import distributed
from mindiffusion.sparse_unet import SparseNaiveUnet
from mindiffusion.training import display, saver
from mindiffusion.training.log import Log
from mindiffusion.training.run import Run

PATIENCE = 600  # seconds until a process counts as hanging; no test waits so long, however busy the machine is
PLACES = {
    "step": (Log, "finish_step"),
    "optimizer": (torch.optim.Adam, "step"),
    "stage border": (Log, "announce"),
    "regrowth": (SparseNaiveUnet, "regrow_channels"),
    "sampling": (DDIM, "predict"),
    "grid": (display, "save_grid"),
    "row": (RowFile, "append"),
    "checkpoint": (saver, "save_checkpoint"),
    "write": (Path, "write_bytes"),
    "sync": (os, "fsync"),
    "rename": (os, "replace"),
    "config": (saver, "write_config"),
    "restore": (Run, "_restore_state"),
    "cache": (image_cache, "read_image"),
}


LATE_IMPORTS = ("torch._dynamo", "torchvision.utils")  # a second that each process would spend, when a run needs them


def apply(fault: dict) -> None:
    """Patch this process for good."""
    if fault.get("float64"):
        torch.set_default_dtype(torch.float64)
    if "lock_patience" in fault:
        run_folder.LOCK_PATIENCE = fault["lock_patience"]
    if "timeout" in fault:
        distributed.STEP_TIMEOUT = timedelta(seconds=fault["timeout"])
    if os.environ.get("RANK", "0") == "0":
        for place, seconds in fault.get("slow", {}).items():
            _before(place, lambda seconds=seconds: time.sleep(seconds))
    here = fault.get("rank", os.environ.get("RANK")) == os.environ.get("RANK")
    if "kill" in fault and here and str(fault.get("attempt", 0)) == os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"):
        _act_at(lambda: os.kill(os.getpid(), signal.SIGKILL), **fault["kill"])
    if "fill" in fault and os.environ.get("RANK", "0") == "0":
        where = dict(fault["fill"])
        folder, spare = Path(where.pop("folder")), where.pop("spare")
        _act_at(lambda: fill(folder, spare), **where)


def fill(folder: Path, spare: int) -> None:
    """Leave ``spare`` bytes of the file system free."""
    status = os.statvfs(folder)
    with open(folder / "ballast", "wb") as file:
        file.write(bytes(max(0, status.f_bavail * status.f_frsize - spare)))


def _act_at(act, place: str, nth: int, after: tuple[str, int] | None = None) -> None:
    calls = {"before": 0, "here": 0}

    def count_here() -> None:
        if after is None or calls["before"] >= after[1]:
            calls["here"] += 1
        if calls["here"] == nth:
            act()

    def count_before() -> None:
        calls["before"] += 1

    if after:
        _before(after[0], count_before)
    _before(place, count_here)


def _before(place: str, act) -> None:
    owner, name = PLACES[place]
    original = getattr(owner, name)

    def patched(*args, **kwargs):
        act()
        return original(*args, **kwargs)

    setattr(owner, name, patched)


@dataclass
class Job:
    """Processes that run one script together. ``log`` is what all of them printed."""

    processes: list[multiprocessing.Process]
    log_path: Path

    def wait(self, timeout: float = PATIENCE) -> list[int]:
        """The exit codes, by rank; minus the signal for a killed process."""
        deadline = time.monotonic() + timeout
        for process in self.processes:
            process.join(max(0.1, deadline - time.monotonic()))
            if process.is_alive():
                self.send(signal.SIGKILL)
                raise AssertionError(f"still running after {timeout} s:\n{self.log}")
        return [process.exitcode for process in self.processes]

    @property
    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.is_file() else ""

    def wait_for(self, happened, timeout: float = PATIENCE) -> None:
        """Poll until ``happened()``, while the processes live."""
        deadline = time.monotonic() + timeout
        while not happened():
            alive = all(process.is_alive() for process in self.processes)
            assert alive and time.monotonic() < deadline, self.log
            time.sleep(0.005)

    def send(self, number: int, processes: list[multiprocessing.Process] | None = None) -> None:
        for process in processes or self.processes:
            if process.is_alive():
                os.kill(process.pid, number)


def start(
    name: str, folder: Path, *flags: str, world_size: int = 1, fault: dict | None = None, log: Path | None = None
) -> Job:
    """Start a tiny run of the script as ``world_size`` processes, forked from a server that has imported everything."""
    folder.mkdir(parents=True, exist_ok=True)
    log = log or folder / "log.txt"
    env = {"OMP_NUM_THREADS": "1"}
    if world_size > 1:
        env |= {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    processes = []
    for rank in range(world_size):
        ranked = env | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if world_size > 1 else {})
        process = _server().Process(
            target=_child, args=(name, folder, flags, fault or {}, dict(os.environ) | ranked, log)
        )
        process.start()
        processes.append(process)
    return Job(processes, log)


def finish(name: str, folder: Path, *flags: str, **options) -> list[int]:
    """Run to the end; the exit codes."""
    return start(name, folder, *flags, **options).wait()


def torchrun(name: str, folder: Path, fault: dict, *options: str, flags: tuple[str, ...] = (), **more) -> Popen:
    """Start a tiny run of the script under torchrun with ``options``; ``more`` is where the output goes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--monitor-interval=0.1", *options]
    script = [__file__, name, str(folder), json.dumps(fault), *flags]
    return Popen([*command, *script], cwd=helpers.ROOT, stderr=STDOUT, text=True, **more)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _server():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["faults", *LATE_IMPORTS])
    os.environ["PYTHONPATH"] = os.pathsep.join((str(helpers.ROOT), str(helpers.ROOT / "tests")))
    return context


def _child(name: str, folder: Path, flags: tuple[str, ...], fault: dict, env: dict[str, str], log: Path) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    signal.signal(signal.SIGHUP, signal.SIG_IGN if fault.get("nohup") else signal.SIG_DFL)
    if fault.get("terminal"):
        os.setsid()  # the next terminal that is opened belongs to this process
    output = os.open(log, os.O_CREAT | (os.O_RDWR if fault.get("terminal") else os.O_WRONLY) | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.dump_traceback_later(PATIENCE / 2, file=sys.stderr)  # for a run that hangs
    torch.set_num_threads(1)
    apply(fault)
    sys.exit(helpers.exit_code(name, folder, *flags))


if __name__ == "__main__":  # under torchrun: faults.py NAME FOLDER FAULT_JSON FLAGS...
    torch.set_num_threads(1)
    apply(json.loads(sys.argv[3]))
    sys.exit(helpers.exit_code(sys.argv[1], Path(sys.argv[2]), *sys.argv[4:]))
