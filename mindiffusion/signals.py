"""SIGTERM and SIGINT as a wish that the training loop grants at the next step."""

import signal
from types import FrameType, TracebackType


class StopSignals:
    """Within the block, SIGTERM and SIGINT only set ``received`` to their number (0 before). A second one of the same
    kind acts at once, as it would have without this class."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.received = 0
        self._former: dict[int, signal.Handlers] = {}

    def __enter__(self) -> "StopSignals":
        for number in self.SIGNALS:
            self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        signal.signal(number, self._former[number])
