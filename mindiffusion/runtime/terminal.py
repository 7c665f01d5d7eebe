"""What a person sees of a run: a bar that fits 80 columns, words that are not cut in two, and colour where it helps."""

import os
import shlex
import shutil
import textwrap
from typing import Any, TextIO

from tqdm import tqdm

from mindiffusion.runtime.plain_text import plain_lines

BOLD, RED = "1", "1;31"
BAR = "{desc}{percentage:3.0f}% |{bar}| {speed} img/s, {left} left{postfix}"


def human_time(seconds: float) -> str:
    """Two units at most: "8 s", "3 min 20 s", "5 h 07 min", "2 d 03 h"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    for unit, name, part, part_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit:
            return f"{seconds // unit} {name} {seconds % unit // part:02d} {part_name}"
    raise AssertionError


def paint(text: str, colour: str, stream: TextIO) -> str:
    """The text in a colour, if ``stream`` is a terminal and the user has not set NO_COLOR (https://no-color.org)."""
    wanted = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\033[{colour}m{text}\033[0m" if wanted else text


def fit(text: str, stream: TextIO) -> str:
    """Break lines between words where they are wider than the terminal; a log file gets them as they are."""
    if not stream.isatty():
        return text
    width = max(shutil.get_terminal_size().columns, 20)
    lines = text.splitlines()
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        if len(line) > width
        else line
        for line in lines
    )


def error_text(error: Exception, stream: TextIO) -> str:
    """The message of a mistake, with a mark that stands out. It may quote files, so it is made plain."""
    return fit(f"error: {plain_lines(error)}", stream).replace("error:", paint("error:", RED, stream), 1)


def command(*words: object) -> str:
    """A command that can be copied: a path with a space in it is quoted."""
    return shlex.join(map(str, words))


def command_to_resume(argv: list[str]) -> str:
    """The command line that goes on where ``argv``, this process's, has stopped. Under torchrun its own part is not
    known here."""
    kept = [each for each in argv if len(each) < 4 or not "--overwrite".startswith(each)]
    for index, each in enumerate(kept):
        if len(each) > 2 and "--resume".startswith(each.partition("=")[0]):  # what it named is older now
            path = kept[index + 1 : index + 2] and not kept[index + 1].startswith("-")
            del kept[index : index + 1 + bool(path)]
            break
    return command("python", *kept, "--resume")


def work_bar(total: int, what: str, shown: bool = True) -> tqdm:
    """A bar over ``total`` evaluations of a network, with the time left; in a log file nothing. ``what`` is said before
    it."""
    layout = "{desc} {percentage:3.0f}% |{bar}| {elapsed} done, {remaining} left"
    return tqdm(total=total, desc=what, bar_format=layout, disable=None if shown else True, dynamic_ncols=True)


class TrainingBar(tqdm):
    """A bar over images; in a log file, where it is noise, nothing."""

    def __init__(self, total: int, initial: int, shown: bool):
        super().__init__(
            total=total,
            initial=initial,
            bar_format=BAR,
            disable=None if shown else True,  # None: on a terminal only
            dynamic_ncols=True,
        )

    @property
    def format_dict(self) -> dict[str, Any]:
        """What BAR may use: tqdm's values, and speed and time left as people say them."""
        values = super().format_dict
        done = values["n"] - values["initial"]
        rate = values["rate"] or (done / values["elapsed"] if done and values["elapsed"] else None)
        left = human_time((values["total"] - values["n"]) / rate) if rate else "?"
        return {**values, "speed": f"{rate:,.0f}" if rate else "?", "left": left}
