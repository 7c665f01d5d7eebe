"""What a person reads: on a terminal of 80 columns, and in a log file."""

import io
import re
import shlex

import pytest
from helpers import SCRIPTS, launch

from mindiffusion.runtime import terminal
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.terminal import RED, TrainingBar, command_to_resume, error_text, fit, human_time, paint
from mindiffusion.training import loop

CS, CR = SCRIPTS[2:]


class Tty(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (18430, "5 h 07 min"),
        (183700, "2 d 03 h"),
    ],
)
def test_times_have_two_units_at_most(seconds, text):
    assert human_time(seconds) == text


def test_colour_is_for_terminals_whose_user_wants_it(monkeypatch):
    assert paint("x", RED, Tty()) == "\033[1;31mx\033[0m"
    assert paint("x", RED, io.StringIO()) == "x"
    monkeypatch.setenv("TERM", "dumb")
    assert paint("x", RED, Tty()) == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("x", RED, Tty()) == "x"


def test_long_lines_break_between_words_on_a_terminal_only():
    text = "word " * 30 + "/a/path/" + "x" * 90 + "\nshort"
    lines = fit(text, Tty()).splitlines()
    assert all(len(line) <= 80 or "/a/path" in line for line in lines)
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
    assert fit(text, io.StringIO()) == text


def test_an_error_is_marked_and_whole():
    message = error_text(UserError("the file is missing: look elsewhere. " * 4), Tty())
    assert message.startswith("\033[1;31merror:\033[0m the file is missing")
    assert error_text(UserError("x"), io.StringIO()) == "error: x"


def test_the_bar_tells_all_of_it_within_80_columns(monkeypatch):
    state = {"n": 358_400, "total": 716_800, "initial": 0, "elapsed": 1200.0, "rate": None, "bar_format": terminal.BAR}
    state |= {"prefix": "stage 4/5, epoch 40/80: ", "postfix": "loss 0.1234"}
    monkeypatch.setattr(terminal.tqdm, "format_dict", property(lambda self: state))
    bar = TrainingBar(716_800, 0, shown=False)
    for columns in (80, 200):
        line = terminal.tqdm.format_meter(**{**bar.format_dict, "ncols": columns})
        assert len(line) == columns
        assert line.startswith("stage 4/5, epoch 40/80:  50% |")
        assert line.endswith("| 299 img/s, 20 min 00 s left, loss 0.1234"), line
        assert line.count("█") >= 2


def test_a_log_file_has_a_line_per_epoch_and_stage_and_no_bar(tmp_path, capsys):
    launch(CS, tmp_path)
    captured = capsys.readouterr()
    assert "\r" not in captured.out + captured.err and "█" not in captured.out + captured.err
    assert "\033" not in captured.out + captured.err
    lines = captured.out.splitlines()
    epochs = [
        line for line in lines if re.match(r"stage \d/5, epoch \d/5: loss \d\.\d{4}, \d+ images/s, .* left", line)
    ]
    assert [line[:19] for line in epochs] == [f"stage {i}/5, epoch {i}/" for i in range(1, 6)]
    assert "stage 2/5 stage2_expand: t/T 0.6 to 1, 1 epoch, 6/16 channels (3 new)" in lines
    assert lines[-1].startswith("next: python sample.py")
    assert len(lines) == 5 + 5 + 2


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_plan_fits_80_columns_with_the_numbers_of_the_whole_experiment(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loop, "images_per_second", lambda config, net, ranks: 1234.5)  # n_feat 256 takes long to time
    epochs = ["80"] if name == SCRIPTS[0] else ["5", "10", "15", "20", "30"]
    launch(name, tmp_path, "--dry-run", "--n-feat", "256", "--epochs-per-stage", *epochs)
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if not line.startswith("outputs")) <= 80  # that one ends in the user's path
    assert ("lambda" in lines[0]) == (name == CR)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("t.py --data-path 'my faces'", "python t.py --data-path 'my faces' --resume"),
        ("t.py --overwrite --n-feat 8", "python t.py --n-feat 8 --resume"),
        ("t.py --resume old.pt --seed 1", "python t.py --seed 1 --resume"),
        ("t.py --seed 1 --resume", "python t.py --seed 1 --resume"),
        ("t.py --resume=old.pt --over", "python t.py --resume"),
    ],
)
def test_the_command_that_goes_on_can_be_copied(given, wanted):
    assert command_to_resume(shlex.split(given)) == wanted
