"""The sums behind the row of metrics.csv that is being gathered."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.precision import widest

STEPS = "steps"


class IntervalMeter:
    """Sums of what each step measured, kept on the device in float64 where it has that: no step waits for the host.

    Losses are of this rank's images, so their mean over ranks is that of the global batch; what is the same on all
    ranks stays so.
    """

    def __init__(self, ranks: Ranks):
        self.ranks = ranks
        self.load_state({})
        self.reset_clock()  # timings are of this process only, not part of what a resumed run repeats

    def add(self, measured: dict[str, Tensor]) -> None:
        """Take in one step: scalars on the device, under the same names at each step."""
        values = torch.stack([*measured.values(), torch.ones((), device=self.ranks.device)]).detach()
        if self.names != (*measured, STEPS):
            earlier = dict(zip(self.names, self.sums, strict=True))
            nothing = self.sums.new_zeros(())  # of what an older checkpoint has not measured
            self.names = (*measured, STEPS)
            self.sums = torch.stack([earlier.get(name, nothing) for name in self.names])
        self.sums += values
        self.timed_steps += 1

    def state(self) -> dict[str, float]:
        """The sums, averaged over ranks. Every rank must call it."""
        return dict(zip(self.names, self.ranks.average_(self.sums.clone()).tolist(), strict=True))

    def load_state(self, state: dict[str, float]) -> None:
        """Go on from sums that ``state`` returned."""
        self.names = tuple(state)
        self.sums = torch.tensor(list(state.values()), dtype=widest(self.ranks.device)).to(self.ranks.device)

    def means(self) -> dict[str, float]:
        """Means per step since the last reset, over all ranks. Every rank must call it."""
        state = self.state()
        steps = max(state.pop(STEPS), 1.0)
        return {name: value / steps for name, value in state.items()}

    def steps_per_second(self) -> float:
        """Speed since the last reset, pauses left out."""
        return self.timed_steps / (time.monotonic() - self._started)

    def reset(self) -> None:
        """Begin a new interval."""
        self.sums.zero_()
        self.reset_clock()

    def reset_clock(self) -> None:
        """Measure the speed from here on."""
        self.timed_steps = 0
        self._started = time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time that the block takes (a grid, a checkpoint) out of the speed."""
        began = time.monotonic()
        yield
        self._started += time.monotonic() - began
