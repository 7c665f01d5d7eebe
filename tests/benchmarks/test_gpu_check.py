"""make gpu-check: one command and one report, whatever is found; and the script of the full schedule that begins with
it."""

import os
import subprocess
import sys

import pytest
import torch
from helpers import ROOT

from benchmarks import gpu_check
from mindiffusion.runtime.distributed import most_processes


def run(monkeypatch, tmp_path, verdicts: list[tuple[str, str]]) -> tuple[int, str]:
    """The exit code and the report where the commands find this."""
    given = iter(verdicts)
    monkeypatch.setattr(gpu_check, "command", lambda arguments, **_: next(given))
    code = gpu_check.main(["--output-dir", str(tmp_path / "out")])
    return code, (tmp_path / "out" / "report.md").read_text()


def test_on_a_cpu_the_report_says_that_it_is_a_rehearsal_and_what_was_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu_check, "why_unusable", lambda: "")
    code, report = run(monkeypatch, tmp_path, [("passed", "trained"), ("passed", "tests"), ("passed", "speeds")])
    assert code == 0
    assert "a rehearsal, without a GPU" in report and "Left out:" in report
    assert "| GPU probe | skipped |" in report and "| training CS with --compile reduce-overhead | skipped |" in report
    assert "trained" in report and "speeds" in report


def test_a_failure_is_in_the_report_and_in_the_exit_code_and_stops_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu_check, "why_unusable", lambda: "")
    code, report = run(monkeypatch, tmp_path, [("FAILED", "Traceback"), ("passed", "tests"), ("passed", "speeds")])
    assert code == 1
    assert "| training CS, default path | FAILED |" in report and "speeds" in report


def test_a_gpu_that_pytorch_cannot_use_is_a_failure_not_a_rehearsal_passed(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu_check, "why_unusable", lambda: "driver too old")
    code, report = run(monkeypatch, tmp_path, [("passed", "")] * 3)
    assert code == 1 and "| GPU probe | FAILED |" in report and "driver too old" in report


def test_a_command_is_shown_with_its_exit_code_and_what_a_run_says_about_itself():
    code = "print('self-check: all is well'); print('1\\r2'); [print(n) for n in range(99)]"
    verdict, text = gpu_check.command(["-c", code], telling=True)
    assert verdict == "passed" and "exit code 0" in text
    assert text.splitlines()[2:] == ["self-check: all is well", "96", "97", "98"]
    verdict, _ = gpu_check.command(["-c", "print('going on uncompiled: no compiler')"])
    assert verdict == gpu_check.FAILED  # it ended well, but not on the path that is checked
    verdict, text = gpu_check.command(["-c", "import sys; print('why'); sys.exit(3)"])
    assert verdict == "FAILED" and "exit code 3" in text and "why" in text


@pytest.mark.parametrize(
    ("gpus", "batch", "expected"), [(0, 256, 1), (1, 256, 1), (3, 256, 2), (5, 256, 4), (6, 96, 6)]
)
def test_as_many_processes_as_divide_the_batch(gpus, batch, expected):
    assert most_processes(gpus, batch) == expected


def test_the_full_schedule_begins_with_the_check_and_runs_on_any_number_of_gpus(tmp_path):
    log = tmp_path / "log"
    for name, real in (("python", f'[ "$1" = -c ] && exec {sys.executable} "$@"'), ("torchrun", ":")):
        stub = tmp_path / name
        stub.write_text(f'#!/bin/sh\n{real}\necho {name} "$@" >> {log}\n')
        stub.chmod(0o755)
    script = str(ROOT / "experiments" / "full_schedule.sh")
    command = ["bash", script, str(tmp_path / "out"), "--global-batch-size", "96", "--seed", "3"]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "GPUS": "7"}
    subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL)
    lines = log.read_text().splitlines()
    assert lines[0].startswith("python benchmarks/gpu_check.py") and lines[-2].startswith("python compare.py")
    launches = [line for line in lines if line.startswith("torchrun")]
    assert len(launches) == len(list(ROOT.glob("train_celeba_*.py")))
    assert all(
        "--nproc_per_node=6 " in line and line.endswith("--resume --global-batch-size 96 --seed 3") for line in launches
    )
