"""Seeds are a stable function of (seed, purpose, index), and generators depend on nothing else."""

import torch

from mindiffusion.runtime.rng import BlockNoise, derive_seed, make_generator


def test_seeds_are_the_same_on_every_machine_and_in_every_version():
    assert derive_seed(0, "noise", 0) == 9_144_587_515_262_914_129
    assert derive_seed(1234, "timesteps", 56) == 9_206_133_255_842_964_417


def test_generators_are_independent_of_the_global_state_and_leave_it_alone():
    torch.manual_seed(0)
    untouched = torch.rand(3)
    torch.manual_seed(0)
    first = torch.randn(5, generator=make_generator(7, "noise", 3))
    assert torch.equal(torch.rand(3), untouched)
    torch.manual_seed(99)
    assert torch.equal(torch.randn(5, generator=make_generator(7, "noise", 3)), first)
    for other in ((8, "noise", 3), (7, "flips", 3), (7, "noise", 4)):
        assert not torch.equal(torch.randn(5, generator=make_generator(*other)), first)


def test_noise_of_an_image_is_the_same_in_every_range_across_blocks():
    whole, part = BlockNoise(0, "x", 0, 200), BlockNoise(0, "x", 60, 80)
    for _ in range(2):
        assert torch.equal(whole.draw((2,))[60:140], part.draw((2,)))
