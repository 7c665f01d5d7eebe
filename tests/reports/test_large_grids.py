"""Many samples: drawn in parts, shared by ranks, and a lack of memory names what to change."""

import torch
from torch import nn

from mindiffusion.runtime.distributed import Ranks
from mindiffusion.sampling import Drawable, Sampler, draw_together


class Same(nn.Module):
    """Predicts that all of x is noise."""

    in_channels = 1

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, x, t):
        assert not self.training
        self.sizes.append(len(x))
        return x


class Alone(Ranks):
    """A rank that does not wait for the others and has nothing of them."""

    def barrier(self):
        pass

    def gather(self, part):
        return part


def test_samples_drawn_in_parts_are_the_same_and_those_of_any_share_of_ranks():
    net = Same().train()
    model = Drawable(net, 32)
    whole = draw_together(Ranks(), model, Sampler(steps=2), 5)
    assert torch.equal(draw_together(Ranks(), model, Sampler(steps=2), 5, batch_size=2), whole)
    assert net.sizes == [5, 5, 2, 2, 2, 2, 1, 1] and net.training
    parts = [draw_together(Alone(rank, 0, 3), model, Sampler(steps=2), 5) for rank in range(3)]
    assert torch.equal(torch.cat(parts), whole) and whole.shape == (5, 1, 32, 32)
