"""SIGTERM, SIGINT and SIGHUP end a program at once, or are a wish that the training loop grants at its next step."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

ECHO_SECONDS = 2.0  # Ctrl-C reaches a worker twice: from the terminal, and passed on by torchrun a moment later
AGAIN_SECONDS = 0.01  # until a signal that met a finalizer comes again
Handler = Callable[[int, FrameType | None], None] | signal.Handlers


class Stopped(BaseException):
    """A signal asked the program to stop, and what there is to save is saved. ``exit_code``: 128 + its number.

    Like KeyboardInterrupt it is no Exception, so that code that forgives errors (a broken image, a compiler that fails)
    does not forgive it.
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


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """Within the block a signal raises Stopped. Python drops what is raised while it frees an object (``__del__``, the
    callback of a weak reference): there the signal comes again a moment later. Once stopped, the errors of freeing what
    the signal left half-made are not printed, until the process ends."""
    hook, stopping = sys.unraisablehook, False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        stop_at_once(number, frame)

    def dropped(error: "sys.UnraisableHookArgs") -> None:
        if isinstance(error.exc_value, Stopped):
            number, main = error.exc_value.exit_code - 128, threading.main_thread().ident
            again = getattr(signal, "pthread_kill", lambda _, number: signal.raise_signal(number))  # not on Windows
            threading.Timer(AGAIN_SECONDS, again, (main, number)).start()
        elif not stopping:
            hook(error)

    with handled_by(handler):
        sys.unraisablehook = dropped
        try:
            yield
        finally:
            if not stopping:
                sys.unraisablehook = hook


@dataclass
class StopSignals:
    """What ``noted_signals`` noted: ``received`` is the number of the signal, 0 before it."""

    received: int = 0


@contextmanager
def noted_signals() -> Iterator[StopSignals]:
    """Within the block a signal is only noted. Another one, more than ``ECHO_SECONDS`` later, acts at once, as it would
    have without this."""
    stop, first_at = StopSignals(), 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first_at
        if not stop.received:
            stop.received, first_at = int(number), time.monotonic()
        elif time.monotonic() - first_at > ECHO_SECONDS:
            signal.signal(number, former[number])
            signal.raise_signal(number)

    with handled_by(note) as former:
        try:
            yield stop
        except RuntimeError as error:  # a process that was stopped too has hung up first
            if not stop.received or os.environ.get("WORLD_SIZE", "1") == "1":
                raise
            text = "and out of contact with the other processes: --resume goes on from the last checkpoint."
            raise Stopped(f"stopped by {signal_name(stop.received)}, {text}", 128 + stop.received) from error
