"""Files that are either whole or absent, whatever happens while they are written; and files that are safe to read."""

import errno
import os
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mindiffusion.runtime.errors import UserError, first_line

TEXT_LIMIT = 64 * 2**20  # bytes: a metrics.csv of half a million rows


class CannotWrite(UserError):
    """The operating system refuses to write a file. A command that has more advice than the message adds it."""


@contextmanager
def write_errors_explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write ``path`` into a CannotWrite that says what to do."""
    try:
        yield
    except OSError as error:
        text = f"cannot write {path}: {first_line(error)}. Free space, mend the permissions, or write elsewhere."
        raise CannotWrite(text) from error


@contextmanager
def read_errors_explained() -> Iterator[None]:
    """Turn the operating system's refusal to look into a file or a folder into a UserError that says what to do."""
    try:
        yield
    except PermissionError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}. Its owner can allow it.") from error


@contextmanager
def advice_when_unwritable(advice: str) -> Iterator[None]:
    """Add what this command can do about it to the message of a CannotWrite."""
    try:
        yield
    except CannotWrite as error:
        raise CannotWrite(f"{error} {advice}") from error


def check_output(files: Iterable[Path], overwrite: bool = True) -> None:
    """UserError if one of ``files`` is a folder, or is there already and ``overwrite`` is not given."""
    for file in files:
        if file.is_dir():
            raise UserError(f"{file} is a folder, where a file is to be written: rename it, or write elsewhere.")
        if file.exists() and not overwrite:
            raise UserError(f"{file} is there already: choose another place, or replace it with --overwrite.")


def prepare_output(path: Path, files: Iterable[Path] = (), overwrite: bool = True) -> None:
    """Make ``path``, a folder to write into, before the work begins. UserError as ``check_output``, or if it cannot be
    written."""
    check_output(files, overwrite)
    with write_errors_explained(path):
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()  # has no name: programs that start at once do not meet


def write_atomically(
    path: Path, write: Callable[[Path], object], before_rename: Callable[[], None] | None = None
) -> None:
    """Let ``write`` make a temporary file beside ``path``, push it to the disk, call ``before_rename`` and rename it
    to ``path``, which at every moment is the old file or the new one. UserError if it cannot be written."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp{path.suffix}")  # machines share process numbers
    with write_errors_explained(path):
        try:
            write(temporary)
            sync(temporary)
            if before_rename:
                before_rename()
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def open_regular(path: Path | str) -> BinaryIO:
    """The file ``path``, to be read. OSError if it is none: a pipe would be waited for without end, and so would some
    devices."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe opens at once
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def read_text(path: Path | str) -> str:
    """The text of a regular file, UTF-8. OSError if it is none, or longer than any that this program writes; ValueError
    if it is no text."""
    with open_regular(path) as file:
        content = file.read(TEXT_LIMIT + 1)
    if len(content) > TEXT_LIMIT:
        raise OSError(errno.EFBIG, f"longer than {TEXT_LIMIT // 2**20} MiB", str(path))
    return content.decode("utf-8")


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Delete the temporary files, of names that begin so, of a process that was killed while it wrote in ``folder``.
    UserError if one cannot be deleted."""
    remove_files(folder.glob(f".{name}*.tmp*"))


def remove_files(paths: Iterable[Path]) -> None:
    """Delete these, but no folder, which no program of ours has made under such a name. UserError if one cannot be
    deleted."""
    for path in paths:
        if not path.is_dir():
            with write_errors_explained(path):
                path.unlink()


def sync(path: Path) -> None:
    """Push a file or a folder to the disk, where the system opens folders: Windows does not."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cache_folder() -> Path:
    """$MINDIFFUSION_CACHE, or mindiffusion/ in the user's cache folder. It may not exist yet. UserError for a user
    without a home."""
    folder = os.environ.get("MINDIFFUSION_CACHE")
    if not folder:
        folder = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "mindiffusion")
    folder = os.path.expanduser(folder)
    if folder.startswith("~"):
        raise UserError("this user has no home folder: set MINDIFFUSION_CACHE to a folder for the cache.")
    return Path(folder)
