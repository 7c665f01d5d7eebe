"""SIGTERM, SIGINT and SIGHUP at any moment, and output that nobody takes: state saved, one line, the documented exit
code, and nothing half-written."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace

import faults
import pytest
from helpers import C, assert_same_run, checkpoints, contents, exit_code, write_pngs
from torch import nn

from mindiffusion.checkpoints.checkpoint import load_checkpoint
from mindiffusion.config import TrainConfig
from mindiffusion.runtime import signals
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.signals import Stopped, StopSignals, handled_by, noted_signals, stop_at_once
from mindiffusion.sampling import Drawable, Sampler, draw_together
from mindiffusion.stages import Stage
from mindiffusion.training.saver import Saver

pytestmark = pytest.mark.usefixtures("cache")
GRIDS = ("--num-samples", "2", "--sample-steps", "3")
TERM, INT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return ("--data-path", str(write_pngs(tmp_path_factory.mktemp("data") / "images")))


def moment(name, job):
    """How to see from outside that a run is at some moment."""
    folder = job.log_path.parent
    return {
        "caching": lambda: any((folder / "cache").glob("*.bin")),
        "sampling": lambda: (checkpoints(C, folder) / "stage2.pt").exists(),
        "training": lambda: "stage 2/5" in job.log,
        "saving": lambda: any(checkpoints(C, folder).glob(".latest*.tmp*")),
    }[name]


SLOW = {"caching": {"cache": 0.2}, "sampling": {"sampling": 0.5}, "training": {"step": 0.3}, "saving": {"sync": 0.3}}


@pytest.mark.parametrize(
    ("where", "number", "world_size", "to_all"),
    [
        ("caching", TERM, 1, True),
        ("caching", INT, 2, True),
        ("sampling", INT, 1, True),
        ("sampling", TERM, 2, True),
        ("sampling", TERM, 2, False),
        ("training", TERM, 1, True),
        ("training", INT, 2, True),
        ("training", HUP, 2, False),
        ("saving", TERM, 1, True),
    ],
)
def test_a_signal_ends_a_run_in_order_and_it_goes_on(where, number, world_size, to_all, data, finished, tmp_path):
    job = faults.start(C, tmp_path, *GRIDS, *data, world_size=world_size, fault={"slow": SLOW[where]})
    job.wait_for(moment(where, job))
    for _ in range(2):  # as torchrun passes on what the terminal has told its workers too
        job.send(number, job.processes if to_all else job.processes[1:])  # or one worker alone, not the one that writes
        time.sleep(0.05)
    assert job.wait() == [128 + number] * world_size, job.log
    (line,) = [line for line in job.log.splitlines() if "stopped" in line]
    assert line.startswith("stopped by Ctrl-C (signal 2)" if number == INT else f"stopped by signal {int(number)}")
    assert "Traceback" not in job.log
    assert not list(tmp_path.rglob("*.tmp*"))
    if where != "caching":
        assert "Continue with" in line and "--resume" in line
        saved = load_checkpoint(checkpoints(C, tmp_path) / "latest.pt")["next_step"]
        assert f"step {saved} is saved" in line
    codes = faults.finish(C, tmp_path, *GRIDS, *data, "--resume", world_size=world_size)
    assert codes == [0] * world_size, job.log
    assert_same_run(C, tmp_path, finished(C, world_size, *GRIDS, *data))


@pytest.mark.parametrize("nohup", [False, True])
def test_a_terminal_that_is_closed_costs_nothing(nohup, tmp_path):
    terminal, device = pty.openpty()
    fault = {"terminal": True, "nohup": nohup, "slow": {"step": 0.1}}
    job = faults.start(C, tmp_path, fault=fault, log=Path(os.ttyname(device)))
    job.wait_for((checkpoints(C, tmp_path) / "latest.pt").exists)
    os.close(device)
    os.close(terminal)  # as when ssh ends
    assert job.wait() == [0 if nohup else 128 + HUP]
    assert load_checkpoint(checkpoints(C, tmp_path) / "latest.pt")["next_step"] >= (15 if nohup else 3)
    assert faults.finish(C, tmp_path, "--resume") == [0]


def test_a_thread_that_is_stuck_in_a_file_holds_up_no_signal(data, tmp_path):
    job = faults.start(C, tmp_path, *data, fault={"slow": {"cache": 3600}})
    job.wait_for(moment("caching", job))
    job.send(TERM)
    assert job.wait(timeout=60) == [143]
    assert not list(tmp_path.rglob("*.tmp*"))


def test_a_later_signal_acts_at_once(monkeypatch):
    monkeypatch.setattr(signals, "ECHO_SECONDS", 0.0)
    before = signal.getsignal(INT)  # a job in the background of a shell ignores it
    with pytest.raises(Stopped, match="stopped by Ctrl-C") as caught, handled_by(stop_at_once), noted_signals() as stop:
        signal.raise_signal(INT)
        assert stop.received == INT
        time.sleep(0.001)
        signal.raise_signal(INT)
    assert caught.value.exit_code == 130
    assert signal.getsignal(INT) is before


def test_nothing_that_forgives_errors_forgives_a_signal(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.compile", lambda *_, **__: signal.raise_signal(TERM))
    assert exit_code(C, tmp_path, "--compile") == 143
    assert not checkpoints(C, tmp_path).exists()


STOPPED = """
import signal, sys, time
from mindiffusion.runtime.command_line import run_script

def stop():
    signal.raise_signal(signal.SIGTERM)
    time.sleep(0.001)

class Object:
    def __init__(self):
        stop() if sys.argv[1] == "made" else None
        self.key = 1

    def __del__(self):
        stop() if sys.argv[1] == "freed" else None
        del self.key  # as multiprocessing's Finalize does

def main():
    Object()
    time.sleep(60)

run_script(main)
"""


@pytest.mark.parametrize("when", ["made", "freed"])
def test_a_signal_while_an_object_is_made_or_freed_stops_the_program_in_one_line(when):
    ended = subprocess.run(
        [sys.executable, "-c", STOPPED, when], capture_output=True, text=True, timeout=faults.PATIENCE
    )
    assert ended.returncode == 143
    assert ended.stderr == "stopped by signal 15; nothing half-written is left behind.\n"


def test_a_grid_is_given_up_at_the_next_step():
    seen, stop = [], StopSignals()

    class Network(nn.Module):
        in_channels = 3

        def forward(self, x, t):
            seen.append(t)
            stop.received = 15 if len(seen) == 2 else 0
            return x

    assert draw_together(Ranks(), Drawable(Network(), 32), Sampler(steps=5), 2, stop) is None
    assert len(seen) == 2


def test_a_run_that_loses_its_peers_to_the_same_signal_ends_as_stopped(monkeypatch):
    with pytest.raises(RuntimeError, match="memory"), noted_signals():
        signal.raise_signal(TERM)
        raise RuntimeError("out of memory, and no other process")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(Stopped, match="out of contact") as caught, noted_signals() as stop:
        signal.raise_signal(TERM)
        assert stop.received == TERM
        raise RuntimeError("Connection closed by peer")
    assert caught.value.exit_code == 143


def test_sigterm_to_torchrun_leaves_no_process_behind_and_a_good_checkpoint(tmp_path):
    fault, options = {"slow": {"step": 0.2}}, ("--standalone", "--nproc_per_node=2")
    with faults.torchrun(C, tmp_path, fault, *options, stdout=PIPE) as job:
        assert any("stage 2/5" in line for line in job.stdout)
        job.terminate()
        assert "stopped by signal 15; step" in job.stdout.read()
    assert job.returncode != 0
    assert load_checkpoint(checkpoints(C, tmp_path) / "latest.pt")["next_step"] >= 3
    assert (contents(C, tmp_path) / "metrics.csv").exists()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(tmp_path) not in running


@pytest.mark.parametrize(("speed", "apart"), [(0.2, 1), (5.5, 5), (900.0, 16)])
def test_several_ranks_ask_about_once_a_second_at_the_same_steps_and_at_an_epoch_s_end(speed, apart, monkeypatch):
    asked = []
    monkeypatch.setattr(Ranks, "all_reduce_max", lambda self, flag: asked.append(flag) or flag)
    run = SimpleNamespace(
        ranks=Ranks(world_size=2),
        config=TrainConfig("c", (Stage("all", 1),), checkpoint_minutes=1e9),
        schedule=SimpleNamespace(steps_per_epoch=40),
        meter=SimpleNamespace(steps_per_second=lambda: speed),
    )
    saver, stop, steps = Saver(run, None), SimpleNamespace(received=0), []
    for done in range(1, 41):
        before = len(asked)
        saver.finish_step(done, stop)
        steps += [done] * (len(asked) > before)
    assert steps == sorted({*range(1, 41, apart), 40})
    assert {flag for flag in asked if flag} == {apart}
