"""SparseNaiveUnet: the mask, its regrowth, and the promise that a masked channel's parameters stay untouched."""

import copy
import math
from functools import partial

import pytest
import torch

from mindiffusion.runtime.errors import UserError
from mindiffusion.sparse_unet import SparseNaiveUnet, num_active_channels
from mindiffusion.training.ema import Ema
from mindiffusion.unet import NaiveUnet

N = 8  # n_feat; 16 channels at the bottleneck
both_scopes = pytest.mark.parametrize("scope", ["bottleneck", "level"])


def make_net(scope: str = "bottleneck", sparsity: float = 0.5, **changes) -> SparseNaiveUnet:
    torch.manual_seed(0)
    return SparseNaiveUnet(3, 3, N, sparsity, scope, **changes)


def batch(step: int = 0, size: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    x, target = torch.randn(2, size, 3, 32, 32, generator=generator)
    return x, torch.rand(size, generator=generator), target


def train(net: SparseNaiveUnet, steps: int = 3, lr: float = 1e-3, fused: bool = False) -> torch.optim.Adam:
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=fused)
    for step in range(steps):
        x, t, target = batch(step)
        optimizer.zero_grad()
        loss = (net(x, t) - target).square().mean()
        assert loss.isfinite()
        loss.backward()
        optimizer.step()
    return optimizer


def owned(net: SparseNaiveUnet, name: str, axis: int, offset: int, tensor: torch.Tensor | None = None) -> torch.Tensor:
    """(2n, *): what each channel owns of a parameter, or of ``tensor`` of the same shape; a copy."""
    tensor = net.get_parameter(name).detach() if tensor is None else tensor
    return tensor.narrow(axis, offset, 2 * N).movedim(axis, 0).flatten(1 if tensor.dim() > 1 else 0).clone()


def changed_channels(net: SparseNaiveUnet, start: SparseNaiveUnet, where: tuple[str, int, int]) -> torch.Tensor:
    """(2n,) bool: whose slice differs from the one at the start in any bit."""
    return (owned(net, *where) != owned(start, *where)).reshape(2 * N, -1).any(1)


def assert_the_rest_stayed(net: SparseNaiveUnet, start: SparseNaiveUnet) -> None:
    """All active channels have changed, and no other."""
    for where in net.masked_channel_slices():
        assert torch.equal(changed_channels(net, start, where), net.channel_mask == 1), where


# The mask


@both_scopes
def test_full_mask_is_naive_unet_exactly(scope):
    net, naive = make_net(scope, sparsity=0.0), NaiveUnet(3, 3, N)
    naive.load_state_dict({name: value for name, value in net.state_dict().items() if "channel" not in name})
    x, t, _ = batch()
    assert torch.equal(net(x, t), naive(x, t))
    assert not torch.equal(make_net(scope, sparsity=0.5)(x, t), naive(x, t))  # same weights, half the channels


def test_active_counts_are_51_102_153_204_256_of_256():
    sparsities, counts = [0.8, 0.6, 0.4, 0.2, 0.0], [51, 102, 153, 204, 256]
    assert [num_active_channels(256, sparsity) for sparsity in sparsities] == counts
    net = SparseNaiveUnet(3, 3, 128, initial_sparsity=sparsities[0])
    assert net.channel_birth_stage.tolist() == [0 if active else -1 for active in net.channel_mask]
    for stage, (sparsity, count) in enumerate(zip(sparsities, counts, strict=True), start=1):
        net.regrow_to(sparsity, stage, "random")
        assert net.num_active == int(net.channel_mask.sum()) == count


def test_initial_mask_is_a_function_of_the_mask_seed_alone():
    masks = [make_net(mask_seed=seed).channel_mask for seed in range(4)]
    torch.manual_seed(123)
    assert torch.equal(SparseNaiveUnet(3, 3, N, 0.5, mask_seed=0).channel_mask, masks[0])
    assert len({tuple(mask.tolist()) for mask in masks}) == 4
    assert torch.stack(masks).sum(1).tolist() == [8.0] * 4


@torch.no_grad()
def test_level_scope_cuts_a_masked_channel_off_completely():
    x, t, _ = batch()
    for scope in ("bottleneck", "level"):
        for name in ("timeembed.lin2.weight", "timeembed.lin2.bias", "down3.model.0.conv.4.bias", "up0.0.weight"):
            net = make_net(scope)
            before = net(x, t)
            net.get_parameter(name)[net.channel_mask == 0] += 1.0
            assert torch.equal(net(x, t), before) == (scope == "level"), (scope, name)
            net.get_parameter(name)[net.channel_mask == 1] += 1.0
            assert not torch.equal(net(x, t), before)


def test_state_dict_holds_mask_and_births_but_no_training_state():
    extra = set(make_net().state_dict()) - set(NaiveUnet(3, 3, N).state_dict())
    assert extra == {"channel_mask", "channel_birth_stage"}
    other = make_net(mask_seed=5)
    other.load_state_dict(make_net().state_dict())
    assert torch.equal(other.channel_mask, make_net().channel_mask)


@pytest.mark.parametrize("wrong", [{"scope": "layer"}, {"sparsity": -0.1}, {"sparsity": 1.1}, {"sparsity": math.nan}])
def test_unknown_scope_method_and_impossible_sparsity_are_user_errors(wrong):
    with pytest.raises(UserError, match=r"mask_scope|sparsity"):
        make_net(**wrong)
    with pytest.raises(UserError, match="'magnitude'"):
        make_net().regrow_channels(1, 2, "magnitude")


# Regrowth


@both_scopes
def test_score_agrees_with_finite_differences_and_is_not_zero_for_masked_channels(scope):
    net = make_net(scope).double()
    x, t, target = (part.double() for part in batch(size=1))

    def loss():
        return (net(x, t) - target).square().mean()

    loss().backward()
    score, expected, h = net.get_channel_gradients(), torch.zeros(2 * N).double(), 1e-6
    with torch.no_grad():
        for channel in range(2 * N):
            at = net.channel_mask[channel].item()
            net.channel_mask[channel] = at + h
            above = loss()
            net.channel_mask[channel] = at - h
            expected[channel] = (above - loss()) / (2 * h)
            net.channel_mask[channel] = at
    assert torch.allclose(score, expected.abs(), rtol=1e-4, atol=1e-9)
    assert score[net.channel_mask == 0].min() > 1e-7


def test_score_averages_magnitudes_over_steps():
    net = make_net()
    assert not net.get_channel_gradients().any()  # nothing back-propagated yet
    for value in (1.0, -3.0):
        net.mask_probe.grad = torch.full((2 * N,), value)
        net.accumulate_channel_gradients()
    net.accumulate_channel_gradients()  # no new backward pass: not a step
    assert net.get_channel_gradients().tolist() == [2.0] * 2 * N
    net.mask_probe.grad = torch.full((2 * N,), 11.0)
    net.accumulate_channel_gradients(lambda gradient: gradient.add_(-15.0).div_(2))  # another rank's gradient is -15
    assert net.get_channel_gradients().tolist() == [2.0] * 2 * N  # (1 + 3 + 2) / 3: averaged before the magnitude


def test_micro_batches_score_like_the_whole_batch():
    x, t, target = (part.double() for part in batch(size=2))
    scores = []
    for size in (1, 2):
        net = make_net().double()
        for part in zip(x.split(size), t.split(size), target.split(size), strict=True):
            ((net(*part[:2]) - part[2]).square().sum() / x.numel()).backward()
        scores.append(net.get_channel_gradients())
    assert torch.allclose(*scores, rtol=1e-6, atol=0)


def with_scores(scores: list[float], active: list[int]) -> SparseNaiveUnet:
    net = make_net(sparsity=1.0)
    net.channel_mask[active], net.channel_birth_stage[active] = 1.0, 0
    net.gradient_sum[:] = torch.tensor(scores)
    net.gradient_steps.fill_(1)
    return net


def test_regrow_opens_the_top_scores_and_never_touches_active_channels():
    net = with_scores([9, 1, 7, 2, 8, 3, *[0] * 10], active=[0, 4])
    assert net.regrow_channels(2, current_stage=3) == 2
    assert net.channel_mask.nonzero().flatten().tolist() == [0, 2, 4, 5]
    assert net.channel_birth_stage.tolist() == [0, -1, 3, -1, 0, 3, *[-1] * 10]
    assert not net.gradient_sum.any() and not net.gradient_steps.any()  # the next stage's scores start anew
    tied = with_scores([0, 5, 1, 1, 5, 1, *[1] * 10], active=[0])
    tied.regrow_channels(4, current_stage=2)
    assert tied.channel_mask.nonzero().flatten().tolist() == [0, 1, 2, 3, 4]  # ties go to the lowest index


@pytest.mark.parametrize("method", ["gradient", "random"])
def test_regrow_is_capped_at_what_is_masked(method):
    net = make_net()
    assert net.regrow_channels(0, 2, method) == net.regrow_channels(-3, 2, method) == 0
    assert net.regrow_channels(100, 2, method) == 8
    assert net.channel_mask.all() and sorted(net.channel_birth_stage.tolist()) == [0] * 8 + [2] * 8


def test_random_regrowth_follows_its_seed_and_ignores_scores():
    masks = []
    for seed in (0, 0, 1, 2):
        net = with_scores(list(range(16)), active=[0])
        assert net.regrow_to(0.5, 2, "random", seed) == 7
        torch.rand(1)
        masks.append(net.channel_mask)
    assert torch.equal(masks[0], masks[1])
    assert len({tuple(mask.tolist()) for mask in masks}) == 3


def test_regrow_to_is_idempotent_and_never_closes_channels():
    net = make_net(sparsity=0.8)
    assert (net.regrow_to(0.4, 2), net.num_active) == (6, 9)
    mask = net.channel_mask.clone()
    assert net.regrow_to(0.4, 2) == net.regrow_to(0.9, 3) == 0
    assert torch.equal(net.channel_mask, mask)


# Clean until born


@both_scopes
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("lr", [1e-3, 0.3])
def test_masked_channel_parameters_stay_bit_identical(scope, fused, lr):
    net = make_net(scope)
    start, mask = copy.deepcopy(net), net.channel_mask.clone()
    optimizer = train(net, lr=lr, fused=fused)
    slices = net.masked_channel_slices()
    assert len(slices) == (8 if scope == "level" else 5)
    for where in slices:
        assert torch.equal(changed_channels(net, start, where), mask == 1), where  # and those of active ones change
        state = optimizer.state[net.get_parameter(where[0])]
        for moment in ("exp_avg", "exp_avg_sq"):
            assert not owned(net, *where, state[moment])[mask == 0].any(), (where, moment)
    assert torch.equal(net.channel_mask, mask) and not net.mask_probe.any()  # the optimizer moves neither


@both_scopes
def test_a_born_channel_trains_and_the_rest_stay(scope):
    net = make_net(scope)
    start = copy.deepcopy(net)
    train(net, steps=1)
    net.regrow_to(0.25, 2)
    train(net, steps=2)
    assert_the_rest_stayed(net, start)


def copied(net: SparseNaiveUnet) -> SparseNaiveUnet:
    twin = copy.deepcopy(net)
    net.channel_mask.fill_(1.0)  # the copy must heed its own mask, not that of the original
    return twin


def loaded(net: SparseNaiveUnet, assign: bool = False) -> SparseNaiveUnet:
    other = make_net(net.mask_scope, mask_seed=1)
    other.load_state_dict(copy.deepcopy(net.state_dict()), assign=assign)
    assert all(len(other.get_parameter(name)._backward_hooks) == 1 for name, *_ in other.masked_channel_slices())
    return other


def averaged(net: SparseNaiveUnet) -> SparseNaiveUnet:
    twin = copy.deepcopy(Ema(net, decay=0.9).net)
    assert not any(p.requires_grad for p in twin.parameters())
    return twin.requires_grad_()


@both_scopes
@pytest.mark.parametrize("made", [copied, loaded, partial(loaded, assign=True), averaged])
def test_what_is_made_of_a_network_keeps_the_promise(scope, made):
    start = make_net(scope)
    net = made(copy.deepcopy(start))
    train(net, steps=2)
    assert_the_rest_stayed(net, start)


def test_average_of_a_masked_channel_is_its_initial_value_and_the_mask_is_copied():
    net = make_net("level")
    start, ema = copy.deepcopy(net), Ema(net, decay=0.9)
    for step in range(3):
        train(net, steps=1, lr=0.1)
        ema.update(step)
    for where in net.masked_channel_slices():
        assert torch.equal(changed_channels(ema.net, start, where), net.channel_mask == 1), where
    net.channel_mask[(net.channel_mask == 0).nonzero()[0]] = 1.0
    ema.update(3)
    assert torch.equal(ema.net.channel_mask, net.channel_mask)
