"""How a program begins and ends: --help as its docstring was written; mistakes and signals told in one paragraph."""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from mindiffusion.runtime.errors import UserError, first_line, is_out_of_memory, long_names_explained
from mindiffusion.runtime.output import lasting_output
from mindiffusion.runtime.packages import check_versions
from mindiffusion.runtime.signals import Stopped, stopped_at_once
from mindiffusion.runtime.terminal import error_text

USER_ERROR_EXIT_CODE = 2
MISTYPED = re.compile(r"unrecognized arguments:.*?\s(--[\w-]+)|invalid choice: '([^']*)'")  # what argparse says
SMALLER = "Do less at a time: --batch-size of sample.py and evaluate.py, --micro-batch-size or --n-feat of training."


class CommandLine(argparse.ArgumentParser):
    """A parser whose --help opens with ``doc``. Flags are written out. A mistake ends
    the program with what is wrong, without all flags."""

    def __init__(self, doc: str):
        kind = argparse.RawDescriptionHelpFormatter
        super().__init__(description=doc, formatter_class=kind, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Say it, with the flag or choice that was meant; name --help, exit with code 2."""
        line = message if message.endswith(".") else f"{message}."
        if wrong := MISTYPED.search(message):
            choices = [str(choice) for action in self._actions for choice in action.choices or ()]
            line += did_you_mean(wrong[1], self._option_string_actions) if wrong[1] else did_you_mean(wrong[2], choices)
        self.exit(USER_ERROR_EXIT_CODE, error_text(UserError(f"{line} See {self.prog} --help."), sys.stderr) + "\n")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question that names the one of ``known`` that is nearest to ``word``; empty if none is near."""
    near = get_close_matches(word, known, 1)
    return f" Did you mean {near[0]}?" if near else ""


def run_script(main: Callable[[], None]) -> None:
    """Call ``main`` and turn its outcome into an exit code: 0, 2 for a UserError, a lack of memory or a path of too
    long a name, 128 + n for signal n. Every rank meets the same mistakes and exits with the code; rank 0 alone speaks.
    """
    # python -m torch.distributed.launch says so in an argument; like torchrun it says so in LOCAL_RANK too.
    sys.argv[1:] = [each for each in sys.argv[1:] if not each.startswith(("--local-rank=", "--local_rank="))]
    with lasting_output(), stopped_at_once():
        try:
            check_versions()
            with long_names_explained():
                main()
        except (UserError, RuntimeError, MemoryError) as error:
            if not isinstance(error, UserError):
                if not is_out_of_memory(error):
                    raise
                error = UserError(f"out of memory: {first_line(error)} {SMALLER}")
            _tell_torchrun(str(error))
            _end(error_text(error, sys.stderr), USER_ERROR_EXIT_CODE)
        except Stopped as stopped:
            _end(str(stopped), stopped.exit_code)


def _tell_torchrun(message: str) -> None:
    """Leave the message where torchrun looks for it, so that its report ends with what to do. The traceback of torchrun
    itself, and its exit code 1, are its own: for one process plain ``python`` has neither."""
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        with suppress(OSError):
            Path(path).write_text(json.dumps({"message": message, "timestamp": int(time.time())}))


def _end(text: str, exit_code: int) -> NoReturn:
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr)
    sys.exit(exit_code)
