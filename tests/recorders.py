"""Stand-ins for CUDA's recorder: one that is right, and some that are wrong, each in a way that a real recording can be
wrong in."""

import torch

from mindiffusion.training.step import mutable_state


class RightRecorder:
    """Stands for CUDA's: executes nothing when it records; a replay does the work at the addresses of the recording."""

    def __init__(self):
        self.replays = self.recordings = 0

    def run(self, function):
        return function()

    def wait(self):
        pass

    def record(self, function):
        self.recordings += 1
        outputs = tuple(torch.zeros(()) for _ in range(3))

        def replay():
            self.replays += 1
            for mine, value in zip(outputs, self.work(function), strict=True):
                mine.copy_(value.detach())

        return replay, outputs

    def work(self, function):
        return function()


class StaleInputs(RightRecorder):
    """The batch of the recording is a constant in it, as when an input was copied to a new address."""

    def record(self, function):
        self.inputs = [value.clone() for value in self.graph.inputs]
        return super().record(function)

    def work(self, function):
        new = [value.clone() for value in self.graph.inputs]
        self.graph._set_inputs(self.inputs)
        outputs = function()
        self.graph._set_inputs(new)
        return outputs


class ConstantFloat(StaleInputs):
    """One float of the recording is a constant in it: the weight of the moving average, or the learning rate."""

    def __init__(self, place):
        super().__init__()
        self.place = place

    def work(self, function):
        new = self.graph.inputs[self.place].clone()
        self.graph.inputs[self.place].copy_(self.inputs[self.place])
        outputs = function()
        self.graph.inputs[self.place].copy_(new)
        return outputs


class Forgets(RightRecorder):
    """A part of the step is missing in the recording, as when it ran on another stream."""

    def __init__(self, run, part):
        super().__init__()
        self.run_state, self.part = lambda: mutable_state(run)[part], part

    def work(self, function):
        before = [value.detach().clone() for value in self.run_state()]
        outputs = function()
        with torch.no_grad():
            for value, old in zip(self.run_state(), before, strict=True):
                value.copy_(old)
        return outputs


class Imprecise(RightRecorder):
    """The recording computes with another kernel, which is 5 % off."""

    def work(self, function):
        mse, penalty, norm = function()
        return mse, penalty, norm * 1.05


class Refuses(RightRecorder):
    """An operation cannot be recorded: gradients are half done."""

    def __init__(self, run):
        super().__init__()
        self.parameters = list(run.net.parameters())

    def record(self, function):
        self.recordings += 1
        self.parameters[0].grad = torch.ones_like(self.parameters[0])
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")
