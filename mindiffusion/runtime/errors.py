"""Mistakes that a user can mend, and what other errors say. How a program ends with them: command_line.py."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Something outside the program is wrong: a flag, a path, a file. The message says what to do about it."""


def first_line(error: Exception) -> str:
    """What an error says, in one line; of a file that the system refuses the reason alone, as who tells it names the
    file."""
    text = getattr(error, "strerror", None) or str(error)
    return next(iter(text.strip().splitlines()), type(error).__name__)


@contextmanager
def long_names_explained() -> Iterator[None]:
    """Turn the refusal of a name too long for any file into a UserError: it may be looked for in many places."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise UserError(f"{error.filename}: {first_line(error)}. Name a path of shorter parts.") from error


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is a lack of memory, of a GPU or of the machine."""
    while error is not None:
        # PyTorch's own error says the first; the CPU's allocator the others.
        said = ("out of memory", "can't allocate memory", "not enough memory")
        if isinstance(error, MemoryError) or any(each in str(error).lower() for each in said):
            return True
        error = error.__cause__ or error.__context__
    return False
