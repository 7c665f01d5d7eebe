"""A step that is recorded once and replayed, and that is believed only after it has equalled the step itself."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from mindiffusion.runtime.errors import first_line

WARM_UP = 3  # calls before recording: lazy set-up (cuDNN's choice of algorithms, Triton's tuning) cannot be recorded
VALUE_TOLERANCE = 1e-2  # relative L2 distance of outputs and of the state, for kernels that add in changing order
MOVE_TOLERANCE = 1e-1  # of what a step adds to the state: Adam enlarges the rounding of near-zero gradients
State = dict[str, list[Tensor]]


class Recorder(Protocol):
    """What records: CudaRecorder, and stand-ins on machines without a GPU."""

    def run(self, function: Callable[[], Any]) -> Any:
        """``function()``."""

    def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """(replay, outputs) of ``function``, of which nothing is executed."""

    def wait(self) -> None:
        """Wait until all replays are done."""


class CheckedGraph:
    """Call it like ``function``. The first calls run it, the next one records and checks it, later ones replay it.

    ``function`` takes tensors and floats and returns tensors; it must do the same work on the device at each call, wait
    for nothing, draw no random numbers, and change ``state()`` in place, nothing else. Floats reach it as scalars on
    the device. Results are overwritten by the next call. Inputs of other shapes than the first call's are not recorded.

    The check: from one state, ``function`` and the recording must give the same outputs and the same state, on the
    inputs at hand and on others that differ in every tensor and every float. The state is put back each time. If they
    differ, or recording fails, ``on_failure`` is told why in one line and all later calls run ``function``.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        state: Callable[[], State],
        device: torch.device,
        recorder: Recorder,
        on_failure: Callable[[str], None],
    ):
        self.function = function
        self.state = state
        self.device = device
        self.recorder = recorder
        self.on_failure = on_failure
        self.failed = False
        self.inputs: list[Tensor] = []
        self.renew()

    def renew(self) -> None:
        """Forget the recording: what ``function`` reads as a plain number, such as lambda, has changed. What has failed
        once is not tried again."""
        self.calls = 0
        self.recorder.wait()  # a recording must not go while the device replays it
        self.replay: Callable[[], None] | None = None
        self.outputs: Any = None

    def __call__(self, *inputs: Tensor | float) -> Any:
        """``function(*inputs)``."""
        if self.failed or not self._take(inputs):
            return self.function(*inputs)
        if self.replay is None:
            self.calls += 1
            if self.calls <= WARM_UP:
                return self._run()
            if reason := self._record():
                self.failed = True
                self.renew()
                self.on_failure(reason)
                return self.function(*inputs)
        self.replay()
        return self.outputs

    def _run(self) -> Any:
        return self.recorder.run(lambda: self.function(*self.inputs))

    def _take(self, inputs: tuple[Tensor | float, ...]) -> bool:
        """Copy the inputs to where the recording reads them. False, with nothing copied, if their shapes are new."""
        if not self.inputs:
            self.inputs = [
                torch.empty_like(value) if isinstance(value, Tensor) else torch.zeros((), device=self.device)
                for value in inputs
            ]
        pairs = list(zip(self.inputs, inputs, strict=True))
        if any(isinstance(value, Tensor) and value.shape != mine.shape for mine, value in pairs):
            return False
        for mine, value in pairs:
            mine.copy_(value) if isinstance(value, Tensor) else mine.fill_(value)
        return True

    def _record(self) -> str:
        """Record and check. Returns why it must not be used, "" if it may; state and inputs are as before."""
        inputs, before = _copies(self.inputs), self._snapshot()
        try:
            self.replay, self.outputs = self.recorder.record(lambda: self.function(*self.inputs))
        except Exception as error:  # each operation that cannot be recorded fails in its own way
            self._restore(before)
            return f"cannot record the step as a CUDA graph: {first_line(error)}"
        reason = ""
        for batch in (inputs, [_another(value) for value in inputs]):
            self._set_inputs(batch)
            direct = {"outputs": _copies(self._run()), **self._snapshot()}
            self._restore(before)
            self.replay()
            replayed = {"outputs": _copies(self.outputs), **self._snapshot()}
            self._restore(before)
            reason = reason or differing(before, direct, replayed)
        self._set_inputs(inputs)
        return reason and f"the recorded step is not the step ({reason})"

    def _snapshot(self) -> State:
        return {name: _copies(tensors) for name, tensors in self.state().items()}

    @torch.no_grad()
    def _restore(self, snapshot: State) -> None:
        for name, tensors in self.state().items():
            for mine, kept in zip(tensors, snapshot[name], strict=True):
                mine.copy_(kept)

    def _set_inputs(self, values: list[Tensor]) -> None:
        for mine, value in zip(self.inputs, values, strict=True):
            mine.copy_(value)


def differing(before: State, direct: State, replayed: State) -> str:
    """Where two outcomes that began at ``before`` are not equal up to rounding, in words; "" if nowhere."""
    for name, expected in direct.items():
        found = replayed[name]
        distance = _relative(expected, found)
        if not distance <= VALUE_TOLERANCE:  # a NaN is no agreement
            return f"its {name} differ by {distance:.1%}"
        if name in before:
            moved, moved_too = ([a - b for a, b in zip(side, before[name], strict=True)] for side in (expected, found))
            distance = _relative(moved, moved_too)
            if not distance <= MOVE_TOLERANCE:
                return f"the change of its {name} differs by {distance:.1%}"
    return ""


def _relative(expected: list[Tensor], found: list[Tensor]) -> float:
    """The largest relative L2 distance: of scalars each on its own, of larger tensors taken together."""
    pairs = [(a.double(), (a - b).double()) for a, b in zip(expected, found, strict=True)]
    parts = [(size.square(), off.square()) for size, off in pairs if size.dim() == 0]
    if others := [(size.square().sum(), off.square().sum()) for size, off in pairs if size.dim() > 0]:
        parts.append(tuple(torch.stack(side).sum() for side in zip(*others, strict=True)))
    ratios = [torch.where(off == 0, 0.0, (off / size).sqrt()) for size, off in parts]
    return float(torch.stack(ratios).max()) if ratios else 0.0


def _copies(tensors: Any) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


def _another(value: Tensor) -> Tensor:
    """Other inputs of the same kind: floats mirrored and moved on by one image, timesteps reversed, scalars halved."""
    if value.dim() == 0:
        return value / 2
    return -value.roll(1, 0) if value.is_floating_point() else value.flip(0)
