"""Locks among processes. They are the operating system's, so that a lock goes with its process, however that ends."""

import errno
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mindiffusion.runtime.errors import UserError

POLL = 0.2  # seconds between two attempts
UNKNOWN = {getattr(errno, name, None) for name in ("ENOSYS", "ENOLCK", "EOPNOTSUPP", "ENOTSUP")}


def claim(output: Path, folder: Path) -> AbstractContextManager:
    """In the block no other process can claim ``output``: its lock lies in ``folder``. UserError if one has."""
    busy = f"another sample.py is writing {output}: wait for it, or choose another."
    return hold(folder / f".{output.name}.lock", busy, patience=0)


@contextmanager
def hold(path: Path, busy: str = "", patience: float = -1) -> Iterator[bool]:
    """Hold the lock file ``path`` in the block. Yields False where the file system knows no locks.

    UserError, which says ``busy``, if another process has it for longer than ``patience`` seconds (-1: no end); and if
    the file is not one to lock: a link, which is not followed, or one that another user has shut.
    """
    # For everyone, whatever the umask: what counts is who may write in the folder.
    lock = FileLock(path, mode=0o666, thread_local=False, poll_interval=POLL, fallback_to_soft=False)
    try:
        with suppress(Timeout):
            lock.acquire(timeout=0)
        if not lock.is_locked:
            if patience:
                print(f"Waiting for another process, which holds {path}.", file=sys.stderr)
            lock.acquire(timeout=patience)
    except Timeout:
        raise UserError(busy) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in UNKNOWN:
            text = f"{path} cannot be locked: {error.strerror}. Mend the permissions, or remove it if nobody uses it."
            raise UserError(text) from error
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):  # Windows deletes no open file; a leftover is in nobody's way
            path.unlink()
        lock.release()
