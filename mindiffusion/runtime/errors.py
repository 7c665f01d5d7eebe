"""How a script ends: mistakes a user can mend and signals are told in one paragraph instead of a traceback."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from mindiffusion.runtime.output import lasting_output
from mindiffusion.runtime.terminal import error_text
from mindiffusion.runtime.versions import too_old

USER_ERROR_EXIT_CODE = 2
SMALLER = "Do less at a time: --batch-size of sample.py and evaluate.py, --micro-batch-size or --n-feat of training."


class UserError(ValueError):
    """Something outside the program is wrong: a flag, a path, a file. The message says what to do about it."""


class Stopped(BaseException):
    """The run was asked to stop by a signal, and has saved what there is to save.

    Like KeyboardInterrupt it is no Exception, so that code that forgives errors (a broken image, a compiler that fails)
    does not forgive it.

    Attributes: ``exit_code`` is 128 + the signal number (143 for SIGTERM, 130 for SIGINT, 129 for SIGHUP).
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


def stop_signals() -> list[signal.Signals]:
    """SIGTERM, SIGINT, and SIGHUP (the terminal is gone), where it exists and is not ignored, as under nohup."""
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    heard = hangup and signal.getsignal(hangup) is not signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([hangup] if heard else [])]


def signal_name(number: int) -> str:
    """ "Ctrl-C (signal 2)", "signal 15"."""
    return f"Ctrl-C (signal {int(number)})" if number == signal.SIGINT else f"signal {int(number)}"


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """Within the block ``stop_signals`` raise Stopped where the program is; what is half-written is removed on the way
    out."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(f"stopped by {signal_name(number)}; nothing half-written is left behind.", 128 + number)

    former = {number: signal.signal(number, stop) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def run_script(main: Callable[[], None]) -> None:
    """Call ``main`` and turn its outcome into an exit code: 0, 2 for a UserError or a lack of memory, 128 + n for
    signal n.

    Every rank meets the same mistakes, so only rank 0 speaks; each rank exits with the code. What cannot be printed
    ends nothing.
    """
    speaks = os.environ.get("RANK", "0") == "0"
    # python -m torch.distributed.launch says so in an argument; like torchrun it says so in LOCAL_RANK too.
    sys.argv[1:] = [each for each in sys.argv[1:] if not each.startswith(("--local-rank=", "--local_rank="))]
    with lasting_output(), stopping_at_once():
        try:
            if advice := too_old():
                raise UserError(advice)
            main()
        except (UserError, RuntimeError, MemoryError) as error:
            if not isinstance(error, UserError):
                if not is_out_of_memory(error):
                    raise
                error = UserError(f"out of memory: {first_line(error)} {SMALLER}")
            if speaks:
                print(error_text(error, sys.stderr), file=sys.stderr)
            _tell_torchrun(str(error))
            sys.exit(USER_ERROR_EXIT_CODE)
        except Stopped as stopped:
            if speaks:
                print(stopped, file=sys.stderr)
            sys.exit(stopped.exit_code)


def _tell_torchrun(message: str) -> None:
    """Leave the message where torchrun looks for it, so that its report ends with what to do. The traceback of torchrun
    itself, and its exit code 1, are its own: for one process plain ``python`` has neither."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not path:
        return
    report = {"message": message, "extraInfo": {"py_callstack": message, "timestamp": str(int(time.time()))}}
    with suppress(OSError), open(path, "w") as file:
        json.dump({"message": report}, file)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is a lack of memory, of a GPU or of the machine."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or "out of memory" in text:  # PyTorch's own error says so
            return True
        if "can't allocate memory" in text or "not enough memory" in text:  # the CPU's allocator
            return True
        error = error.__cause__ or error.__context__
    return False


def first_line(error: Exception) -> str:
    """What an error says, in one line; of a file that the system refuses the reason alone, as who tells it names the
    file."""
    text = getattr(error, "strerror", None) or str(error)
    return next(iter(text.strip().splitlines()), type(error).__name__)
