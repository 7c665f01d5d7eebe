"""What a person reads: on a terminal of 80 columns, and in a log file."""

import io
import re
import shlex

import pytest
from helpers import CS, launch

from mindiffusion.runtime.terminal import RED, command_to_resume, paint


class Tty(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


def test_colour_is_for_terminals_whose_user_wants_it(monkeypatch):
    assert paint("x", RED, Tty()) == "\033[1;31mx\033[0m"
    assert paint("x", RED, io.StringIO()) == "x"
    monkeypatch.setenv("TERM", "dumb")
    assert paint("x", RED, Tty()) == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("x", RED, Tty()) == "x"


def test_a_log_file_has_a_line_per_epoch_and_stage_and_no_bar(tmp_path, capsys):
    launch(CS, tmp_path)
    captured = capsys.readouterr()
    assert not {"\r", "█", "\033"} & set(captured.out + captured.err)
    lines = captured.out.splitlines()
    epochs = [
        line for line in lines if re.match(r"stage \d/5, epoch \d/5: loss \d\.\d{4}, \d+ images/s, .* left", line)
    ]
    assert [line[:19] for line in epochs] == [f"stage {i}/5, epoch {i}/" for i in range(1, 6)]
    assert "stage 2/5 stage2_expand: 1 epoch, t_min 0.6, t_max 1, sparsity 0.6, active_channels 6" in lines
    assert lines[-1].startswith("next: python sample.py")
    assert len(lines) == 5 + 5 + 2


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("t.py --data-path 'my faces'", "python t.py --data-path 'my faces' --resume"),
        ("t.py --overwrite --n-feat 8", "python t.py --n-feat 8 --resume"),
        ("t.py --resume old.pt --seed 1", "python t.py --seed 1 --resume"),
        ("t.py --seed 1 --resume", "python t.py --seed 1 --resume"),
        ("t.py --resume=old.pt --overwrite", "python t.py --resume"),
    ],
)
def test_the_command_that_goes_on_can_be_copied(given, wanted):
    assert command_to_resume(shlex.split(given)) == wanted
