"""make gpu-check: one command and one report, whatever is found."""

import pytest
import torch

from benchmarks import gpu_check

PASSED = ("passed", "all well")


@pytest.mark.parametrize(
    ("unusable", "verdicts", "code", "lines"),
    [
        ("", [PASSED] * 3, 0, ["without a GPU", "| GPU probe | skipped |", "reduce-overhead | skipped |", "all well"]),
        ("", [("FAILED", "why"), PASSED, PASSED], 1, ["| training CS, default path | FAILED |", "why", "all well"]),
        ("driver too old", [PASSED] * 3, 1, ["| GPU probe | FAILED |", "driver too old"]),
    ],
)
def test_the_report_and_the_exit_code_say_what_was_found(unusable, verdicts, code, lines, monkeypatch, tmp_path):
    found = iter(verdicts)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu_check, "why_unusable", lambda: unusable)
    monkeypatch.setattr(gpu_check, "command", lambda arguments, **_: next(found))
    assert gpu_check.main(["--output-dir", str(tmp_path / "out")]) == code
    report = (tmp_path / "out" / "report.md").read_text()
    assert all(line in report for line in lines)


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
