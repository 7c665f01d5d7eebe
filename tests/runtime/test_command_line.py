"""Mistakes on the command line: one message, exit code 2, and what was meant where that can be guessed."""

import sys
from unittest.mock import Mock

import pytest
from helpers import code_of

from mindiffusion.runtime.command_line import CommandLine
from mindiffusion.runtime.errors import UserError


def test_a_name_too_long_for_any_file_is_one_line_and_other_refusals_of_the_system_are_not(tmp_path, capsys):
    path = tmp_path / ("n" * 256)
    assert code_of(path.read_bytes) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {path}: ") and said.count("\n") == 1
    with pytest.raises(FileNotFoundError):
        code_of((tmp_path / "none").read_bytes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--lr fast", "argument --lr: invalid float value: 'fast'. See"),
        ("--n-samples 5", "unrecognized arguments: --n-samples 5. Did you mean --num-samples? See"),
        ("a-file --num_samples=5", "unrecognized arguments: a-file --num_samples=5. Did you mean --num-samples? See"),
        ("--quite-another", "unrecognized arguments: --quite-another. See"),
        ("--metrics sdw", "Did you mean swd? See"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_names_what_was_meant(words, said, capsys):
    parser = CommandLine("what it does")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--num-samples")
    parser.add_argument("--metrics", choices=("swd", "fid"))
    assert code_of(lambda: parser.parse_args(words.split())) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith("error: ") and said in line and line.endswith("--help.\n")


@pytest.mark.parametrize("words", [["checkpoint_c_32"], ["--init-from=checkpoint_c_32"]])
def test_a_file_that_is_not_there_is_answered_by_its_neighbours_name_and_an_output_is_not(
    words, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sample.py", *words, "-o", "checkpoints.png"])
    for name in ("checkpoints_c_32", "unlike"):
        (tmp_path / name).mkdir()
    near = " Did you mean checkpoints_c_32?"
    for message, answer in (("checkpoint_c_32 does not exist.", near), ("cannot write checkpoints.png.", "")):
        assert code_of(Mock(side_effect=UserError(message))) == 2
        assert capsys.readouterr().err == f"error: {message}{answer}\n"
