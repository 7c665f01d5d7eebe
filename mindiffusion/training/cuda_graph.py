"""CUDA's side of a recorded step: one launch instead of hundreds."""

from collections.abc import Callable
from typing import Any

import torch


class CudaRecorder:
    """Runs and records functions on one stream of its own, kept for the whole run.

    On a stream that others record on too, a graph that is destroyed takes the cuBLAS workspace along that the others
    still replay with (https://github.com/pytorch/pytorch/issues/193402). And memory that a stream has reserved serves
    that stream alone, so one stream for all warm-ups and recordings reserves a step's activations once.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def run(self, function: Callable[[], Any]) -> Any:
        """``function()``, on the stream, in order with what the current stream does before and after."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            outputs = function()
        current.wait_stream(self.stream)
        return outputs

    def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """(replay, outputs): ``replay()`` does on the device what ``function()`` does, and overwrites ``outputs``.

        Executes nothing. Raises what the first operation raises that cannot be recorded; the current stream is then
        what it was before.
        """
        graph = torch.cuda.CUDAGraph()
        # The outer block restores the stream: torch.cuda.graph leaves its own behind if ending the recording fails.
        with torch.cuda.stream(self.stream), torch.cuda.graph(graph, stream=self.stream):
            outputs = function()
        return graph.replay, outputs

    def wait(self) -> None:
        """Wait until the device has done all that was asked of it."""
        torch.cuda.synchronize(self.device)
