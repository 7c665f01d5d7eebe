"""Mistakes on the command line: one message, exit code 2, and what was meant where that can be guessed."""

import pytest
from helpers import code_of

from mindiffusion.runtime.command_line import CommandLine


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
