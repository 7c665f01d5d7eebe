"""Locks among processes. They are the operating system's, so that a lock goes with its process, however that ends."""

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import write_errors_explained

POLL = 0.2  # seconds between two attempts
UNKNOWN = {getattr(errno, name, None) for name in ("ENOSYS", "ENOLCK", "EOPNOTSUPP", "ENOTSUP")}


@contextmanager
def claim(output: Path, folder: Path) -> Iterator[None]:
    """In the block no other process can claim ``output``: its lock lies in ``folder``. UserError if one has, or if
    nothing can be written there."""
    with ExitStack() as stack:
        with write_errors_explained(folder):
            try:
                stack.enter_context(hold(folder / f".{output.name}.lock", patience=0))
            except Timeout:
                raise UserError(f"another sample.py is writing {output}: wait for it, or choose another.") from None
        yield


@contextmanager
def hold(path: Path, patience: float = -1, on_wait: Callable[[], object] = lambda: None) -> Iterator[bool]:
    """Hold the lock file ``path`` in the block. Yields False where the file system knows no locks.

    Timeout if another process has it for longer than ``patience`` seconds (-1: no end); ``on_wait`` is called before a
    wait. OSError if the file is not one to lock: a link, which is not followed, or one that another user has shut.
    """
    # For everyone, whatever the umask: what counts is who may write in the folder.
    lock = FileLock(path, mode=0o666, thread_local=False, poll_interval=POLL, fallback_to_soft=False)
    try:
        with suppress(Timeout):
            lock.acquire(timeout=0)
        if not lock.is_locked:
            on_wait()
            lock.acquire(timeout=patience)
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in UNKNOWN:
            raise
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):  # Windows deletes no open file; a leftover is in nobody's way
            path.unlink()
        lock.release()
