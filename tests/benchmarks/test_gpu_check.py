"""make gpu-check: one command and one report, whatever is found."""

import torch

from benchmarks import gpu_check


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


def test_a_command_is_shown_as_it_goes_and_with_its_exit_code_and_what_a_run_says_about_itself(capsys):
    gpu_check.command(["-c", "print('tests/a.py::test_b PASSED    [ 50%]'); print('other')"])
    shown = capsys.readouterr().out
    assert "s  tests/a.py::test_b PASSED" in shown and "other" not in shown
    code = "print('self-check: all is well'); print('1\\r2'); [print(n) for n in range(99)]"
    verdict, text = gpu_check.command(["-c", code], telling=True)
    assert verdict == "passed" and "exit code 0" in text
    assert text.splitlines()[2:] == ["self-check: all is well", "96", "97", "98"]
    verdict, _ = gpu_check.command(["-c", "print('going on uncompiled: no compiler')"])
    assert verdict == gpu_check.FAILED  # it ended well, but not on the path that is checked
    verdict, text = gpu_check.command(["-c", "import sys; print('why'); sys.exit(3)"])
    assert verdict == "FAILED" and "exit code 3" in text and "why" in text
