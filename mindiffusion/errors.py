"""Mistakes a user can mend, told in one paragraph instead of a traceback."""

import os
import sys
from collections.abc import Callable

from mindiffusion.terminal import error_text

USER_ERROR_EXIT_CODE = 2


class UserError(ValueError):
    """Something outside the program is wrong: a flag, a path, a file. The message says what to do about it."""


class Stopped(Exception):
    """The run was asked to stop by a signal, and has saved what there is to save.

    Attributes: ``exit_code`` is 128 + the signal number (143 for SIGTERM, 130 for SIGINT).
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


def run_script(main: Callable[[], None]) -> None:
    """Call ``main`` and turn its outcome into an exit code: 0, 2 for a UserError, 128 + n for signal n.

    Every rank meets the same mistakes, so only rank 0 speaks; each rank exits with the code.
    """
    speaks = os.environ.get("RANK", "0") == "0"
    try:
        main()
    except UserError as error:
        if speaks:
            print(error_text(error, sys.stderr), file=sys.stderr)
        sys.exit(USER_ERROR_EXIT_CODE)
    except Stopped as stopped:
        if speaks:
            print(stopped, file=sys.stderr)
        sys.exit(stopped.exit_code)
