"""SIGTERM, SIGINT and SIGHUP as a wish that the training loop grants at the next step."""

import signal
import time
from types import FrameType, TracebackType

from mindiffusion.runtime.errors import Stopped, signal_name, stop_signals

ECHO_SECONDS = 2.0  # Ctrl-C reaches a worker twice: from the terminal, and passed on by torchrun a moment later


class StopSignals:
    """Within the block, ``stop_signals`` only set ``received`` to their number (0 before). Another one, more than
    ``ECHO_SECONDS`` later, acts at once, as it would have without this class."""

    def __init__(self) -> None:
        self.received = 0
        self._first_at = 0.0
        self._former: dict[int, signal.Handlers] = {}

    def __enter__(self) -> "StopSignals":
        for number in stop_signals():
            self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
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
