"""What a person sees of a run: a bar that fits 80 columns, words that are not cut in two, and colour where it helps."""

import os
import shlex
import shutil
import sys
import textwrap
from argparse import ArgumentParser
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from mindiffusion.runtime.plain_text import plain_lines

BOLD, RED = "1", "1;31"


def human_time(seconds: float) -> str:
    """Two units at most: "8 s", "3 min 20 s", "5 h 07 min", "2 d 03 h"."""
    seconds = round(seconds)
    for unit, name, part, part_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit:
            return f"{seconds // unit} {name} {seconds % unit // part:02d} {part_name}"
    return f"{seconds} s"


def paint(text: str, colour: str, stream: TextIO) -> str:
    """The text in a colour, if ``stream`` is a terminal and the user has not set NO_COLOR (https://no-color.org)."""
    wanted = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\033[{colour}m{text}\033[0m" if wanted else text


def fit(text: str, stream: TextIO) -> str:
    """Break lines between words where they are wider than the terminal; a log file gets them as they are."""
    if not stream.isatty():
        return text
    width = max(shutil.get_terminal_size().columns, 20)
    wrap = textwrap.TextWrapper(width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(wrap.fill(line) for line in text.splitlines())


def error_text(error: Exception, stream: TextIO) -> str:
    """The message of a mistake, with a mark that stands out. It may quote files, so it is made plain."""
    return fit(f"error: {plain_lines(error)}", stream).replace("error:", paint("error:", RED, stream), 1)


@cache  # once a process
def warn(text: str) -> None:
    """Say it on standard error, if this is the first rank of a job."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr, flush=True)


def command(*words: object) -> str:
    """A command that can be copied: a path with a space in it is quoted."""
    return shlex.join(map(str, words))


def command_of(program: str, *words: object) -> str:
    """The command that starts a program of the folder from which this one was started, and by the same path."""
    return command("python", Path(sys.argv[0]).parent / program, *words)


def command_to_resume(argv: list[str]) -> str:
    """The command line that goes on where ``argv``, this process's, has stopped. Under torchrun its own part is not
    known here."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--resume", nargs="?")  # what it named is older now
    return command("python", *parser.parse_known_args(argv)[1], "--resume")


def progress_bar(total: int, what: str = "", shown: bool = True, **how: Any) -> tqdm:
    """A bar of tqdm over ``total`` things, with speed and time left; in a log file, where it is noise, nothing.
    ``what`` is said before it, ``how`` are more of tqdm's arguments."""
    layout = "{desc}{percentage:3.0f}% |{bar}| {rate_noinv_fmt}, {remaining} left{postfix}"
    disable = None if shown else True  # None: shown on a terminal only
    return tqdm(None, what, total, bar_format=layout, disable=disable, dynamic_ncols=True, **how)
