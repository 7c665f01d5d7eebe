"""The command line of all programs: help as their docstring was written, and a mistake in one line."""

import argparse
import sys
from typing import NoReturn

from mindiffusion.runtime.errors import USER_ERROR_EXIT_CODE, UserError
from mindiffusion.runtime.terminal import error_text


class CommandLine(argparse.ArgumentParser):
    """A parser whose --help opens with ``doc``. Flags are written out. A mistake ends
    the program with what is wrong, without all flags."""

    def __init__(self, doc: str):
        kind = argparse.RawDescriptionHelpFormatter
        super().__init__(description=doc, formatter_class=kind, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Say it, name --help, exit with code 2."""
        line = message if message.endswith(".") else f"{message}."
        self.exit(USER_ERROR_EXIT_CODE, error_text(UserError(f"{line} See {self.prog} --help."), sys.stderr) + "\n")
