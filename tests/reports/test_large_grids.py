"""Grids of many samples: drawn in parts, and a lack of memory names what to change."""

import torch

from mindiffusion.config import Stage, TrainConfig
from mindiffusion.reports import grids
from mindiffusion.reports.grids import draw_samples
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.training.display import grid_memory_advice

CONFIG = TrainConfig("c", (Stage(0, 1, "all", 1),), num_samples=5, sample_steps=2)


def test_samples_drawn_in_parts_are_the_same(monkeypatch):
    sizes = []

    def network(x, t):
        sizes.append(len(x))
        return x

    whole = draw_samples(CONFIG, Ranks(), network, 0)
    monkeypatch.setattr(grids, "BATCH", 2)
    assert torch.equal(draw_samples(CONFIG, Ranks(), network, 0), whole)
    assert sizes == [5, 5, 2, 2, 2, 2, 1, 1]


def test_a_lack_of_memory_names_the_number_of_samples():
    advice = grid_memory_advice(CONFIG, Ranks())
    assert "--num-samples 2" in advice and "--resume" in advice and "--micro-batch-size" not in advice
