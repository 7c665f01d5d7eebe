"""A function of device tensors, recorded once and replayed as one CUDA graph: one launch instead of hundreds."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3  # calls before recording: lazy set-up (cuDNN's choice of algorithms, Triton's tuning) cannot be recorded


class CudaGraph:
    """Call it like ``function``. The first calls run the function itself, the next one records it, later ones replay.

    ``function`` takes tensors and floats and returns tensors; it must do the same work on the device at each call, wait
    for nothing and draw no random numbers. What else it reads (weights, moments, masks) it must find at the same
    addresses, so it may be changed in place only. Floats reach it as scalars on the device. Results are overwritten by
    the next call. Other shapes than the first call's run the function itself. Recording executes nothing, so a
    recording that fails costs nothing but the speed: ``on_failure`` is told why, and all calls run the function.
    """

    def __init__(self, function: Callable[..., Any], device: torch.device, on_failure: Callable[[Exception], None]):
        self.function = function
        self.device = device
        self.on_failure = on_failure
        self.calls = 0
        self.failed = False
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.outputs: Any = None

    def __call__(self, *inputs: Tensor | float) -> Any:
        """``function(*inputs)``."""
        if not self._take(inputs):
            return self.function(*inputs)
        if self.graph is None and not self.failed:
            self.calls += 1
            if self.calls <= WARM_UP:
                return self._warm_up()
            self._record()
        if self.failed:
            return self.function(*self.inputs)
        self.graph.replay()
        return self.outputs

    def _take(self, inputs: tuple[Tensor | float, ...]) -> bool:
        """Copy the inputs to where the graph reads them. False, with nothing copied, if their shapes are new."""
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

    def _warm_up(self) -> Any:
        """Run on a stream of its own: what is set up on the default stream cannot be recorded on another."""
        stream, current = torch.cuda.Stream(self.device), torch.cuda.current_stream(self.device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            outputs = self.function(*self.inputs)
        current.wait_stream(stream)
        return outputs

    def _record(self) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.outputs = self.function(*self.inputs)
            self.graph = graph
        except Exception as error:  # each operation that cannot be recorded fails in its own way
            self.failed = True
            self.on_failure(error)
