"""SIGTERM, SIGINT and SIGHUP end a program at once, or are a wish that the training loop grants at its next step."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

ECHO_SECONDS = 2.0  # Ctrl-C reaches a worker twice: from the terminal, and passed on by torchrun a moment later
Handler = Callable[[int, FrameType | None], None] | signal.Handlers


class Stopped(BaseException):
    """The run was asked to stop by a signal, and has saved what there is to save.

    Like KeyboardInterrupt it is no Exception, so that code that forgives errors (a broken image, a compiler that fails)
    does not forgive it.

    Attributes: ``exit_code`` is 128 + the signal number (143 for SIGTERM, 130 for SIGINT, 129 for SIGHUP).
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


def signal_name(number: int) -> str:
    """ "Ctrl-C (signal 2)", "signal 15"."""
    return f"Ctrl-C (signal {int(number)})" if number == signal.SIGINT else f"signal {int(number)}"


@contextmanager
def handled_by(handler: Handler) -> Iterator[dict[int, Handler]]:
    """Within the block the signals that stop a program go to ``handler``. Yields the handlers of before. A SIGHUP (the
    terminal is gone) that is ignored, as under nohup, stays so; Windows has none."""
    hangup = getattr(signal, "SIGHUP", None)
    heard = hangup and signal.getsignal(hangup) is not signal.SIG_IGN
    numbers = (signal.SIGTERM, signal.SIGINT, *([hangup] if heard else []))
    former = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield former
    finally:
        for number, before in former.items():
            signal.signal(number, before)


def stop_at_once(number: int, frame: FrameType | None) -> None:
    """A handler that raises Stopped where the program is; what is half-written is removed on the way out."""
    raise Stopped(f"stopped by {signal_name(number)}; nothing half-written is left behind.", 128 + number)


class StopSignals:
    """Within the block a signal only sets ``received`` to its number (0 before). Another one, more than
    ``ECHO_SECONDS`` later, acts at once, as it would have without this class."""

    def __init__(self) -> None:
        self.received = 0
        self._first_at = 0.0

    def __enter__(self) -> "StopSignals":
        self._block = handled_by(self._note)
        self._former = self._block.__enter__()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._block.__exit__(None, None, None)
        if self.received and isinstance(error, RuntimeError):  # a process that was stopped too has hung up first
            raise Stopped(
                f"stopped by {signal_name(self.received)}, and out of contact with the other processes: --resume goes "
                "on from the last checkpoint.",
                128 + self.received,
            ) from error

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received, self._first_at = int(number), time.monotonic()
        elif time.monotonic() - self._first_at > ECHO_SECONDS:
            signal.signal(number, self._former[number])
            signal.raise_signal(number)
