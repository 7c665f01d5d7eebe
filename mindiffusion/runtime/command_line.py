"""The command line of all programs: help as their docstring was written, and a mistake in one line."""

import argparse
import sys
from typing import NoReturn

from mindiffusion.runtime.errors import USER_ERROR_EXIT_CODE, UserError
from mindiffusion.runtime.terminal import error_text


class CommandLine(argparse.ArgumentParser):
    """A parser whose --help opens with ``doc``. A mistake ends the program with what is wrong, without all flags."""

    def __init__(self, doc: str):
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        """Say it, name --help, exit with code 2."""
        line = message if message.endswith(".") else f"{message}."
        self.exit(USER_ERROR_EXIT_CODE, error_text(UserError(f"{line} See {self.prog} --help."), sys.stderr) + "\n")
