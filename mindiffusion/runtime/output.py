"""What a program prints may get lost, its work may not: it outlives its terminal, its pipe, the disk of its log."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

READER_GONE = (errno.EPIPE, errno.EIO)  # `| head -1`; a terminal that was closed: nobody is there to be told


class LastingStream:
    """``stream``, but a refusal to take text (no reader, no room) is kept in ``error`` and not raised."""

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.error: OSError | None = None
        if hasattr(stream, "reconfigure"):  # an ASCII terminal gets \xe9 for what it cannot show; a log, each line
            with suppress(OSError):  # it flushes first
                stream.reconfigure(errors="backslashreplace", line_buffering=True)

    def write(self, text: str) -> int:
        """Write what can be written. Later text is tried anew: a disk may have room again."""
        try:
            self.stream.write(text)
        except OSError as error:
            self.error = error
        return len(text)

    def flush(self, last: bool = False) -> None:
        """Flush, if that is possible. At the ``last`` time what cannot be written is dropped: Python would try once
        more at its end, and exit with 120."""
        try:
            self.stream.flush()
        except OSError as error:
            self.error = error
            if last:
                with suppress(OSError), open(os.devnull, "w") as nowhere:
                    os.dup2(nowhere.fileno(), self.stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Within the block sys.stdout and sys.stderr raise nothing, and are there even if Python was started without
    them. If standard output took no more, for want of room say, standard error says so at the end."""
    former = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (LastingStream(stream or open(os.devnull, "w")) for stream in former)  # noqa: SIM115
    try:
        yield
    finally:
        out, err = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = former
        out.flush(last=True)
        if out.error and out.error.errno not in READER_GONE:
            print(f"warning: some of the output could not be written: {out.error.strerror}.", file=err)
        err.flush(last=True)
