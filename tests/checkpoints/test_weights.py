"""Networks out of files of the original minDiffusion, and what is said of files that hold none."""

import copy
from pathlib import Path

import pytest
import torch

from mindiffusion.checkpoints.checkpoint import BadCheckpoint
from mindiffusion.checkpoints.weights import Weights, build_network, init_parameters, read_weights, weights_digest
from mindiffusion.ddpm import ddpm_schedules
from mindiffusion.preconditioned_unet import PreconditionedNaiveUnet
from mindiffusion.sparse_unet import SparseNaiveUnet
from mindiffusion.unet import NaiveUnet


def make_net(n_feat: int = 8, channels: tuple[int, int] = (3, 3)) -> NaiveUnet:
    torch.manual_seed(0)
    return NaiveUnet(*channels, n_feat)


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("prefix", ["", "eps_model.", "module.", "module._orig_mod.eps_model.", "eps_model.module."])
@torch.no_grad()
def test_state_dicts_of_the_original_give_identical_outputs(tmp_path, prefix):
    net = make_net()
    state = {f"{prefix}{name}": value for name, value in net.state_dict().items()}
    kept_too = {prefix.replace("eps_model.", "") + name: torch.zeros(1001) for name in ddpm_schedules(1e-4, 0.02, 1)}
    weights = read_weights(save(tmp_path / "ddpm.pth", state | kept_too if prefix else state))
    assert weights.checkpoint is None and set(weights.state) == set(net.state_dict())
    loaded = build_network(weights)
    assert type(loaded) is NaiveUnet and not loaded.training
    x, t = torch.randn(1, 3, 32, 32), torch.rand(1)
    assert torch.equal(loaded(x, t), net(x, t))


@pytest.mark.parametrize(
    "content", [{"fc.weight": torch.zeros(2, 2)}, {}, torch.zeros(3), [1, 2], {"init_conv.main.0.weight": "text"}]
)
def test_other_content_is_a_bad_checkpoint_named_by_its_file(tmp_path, content):
    with pytest.raises(BadCheckpoint, match=r"other\.pth"):
        read_weights(save(tmp_path / "other.pth", content))


def test_a_naive_unet_that_lacks_a_layer_or_has_another_shape_is_a_bad_checkpoint(tmp_path):
    state = make_net().state_dict()
    without = {name: value for name, value in state.items() if name != "up2.model.0.bias"}
    for wrong in (without, state | {"up2.model.0.bias": torch.zeros(5)}):
        weights = read_weights(save(tmp_path / "partial.pth", wrong))
        with pytest.raises(BadCheckpoint, match=r"(?s)partial\.pth.*up2\.model\.0\.bias"):
            build_network(weights)


def test_init_parameters_copies_parameters_and_leaves_the_mask_alone():
    source = SparseNaiveUnet(3, 3, 8, 0.5, mask_seed=1)
    target = SparseNaiveUnet(3, 3, 8, 0.8, mask_seed=2)
    mask, births = target.channel_mask.clone(), target.channel_birth_stage.clone()
    init_parameters(target, Weights(Path("source.pt"), source.state_dict(), None))
    assert all(torch.equal(p, q) for p, q in zip(target.parameters(), source.parameters(), strict=True))
    assert torch.equal(target.channel_mask, mask) and torch.equal(target.channel_birth_stage, births)
    assert all(p.requires_grad for p in target.parameters())


def test_a_preconditioned_network_starts_from_its_like_alone():
    plain, other = NaiveUnet(3, 3, 8), PreconditionedNaiveUnet(3, 3, 8)
    of = {net: Weights(Path("x.pt"), net.state_dict(), {"network": type(net).__name__}) for net in (plain, other)}
    init_parameters(PreconditionedNaiveUnet(3, 3, 8), of[other])
    for target, source in ((plain, other), (other, plain)):
        with pytest.raises(BadCheckpoint, match=r"x\.pt does not fit this network: .*answers.*straight line"):
            init_parameters(target, of[source])


def test_init_parameters_of_a_misfit_copies_nothing():
    net = SparseNaiveUnet(3, 3, 8, 0.5)
    before = copy.deepcopy(net.state_dict())
    torch.manual_seed(1)
    wider = NaiveUnet(3, 3, 16).state_dict()
    last_differs = NaiveUnet(3, 3, 8).state_dict() | {"out.bias": torch.zeros(4)}
    last_absent = {name: value for name, value in last_differs.items() if name != "out.bias"}
    grey = NaiveUnet(1, 1, 8).state_dict()
    told = ((wider, "--n-feat"), (last_differs, "--n-feat"), (last_absent, "--n-feat"))
    for state, words in (*told, (grey, "in colour")):
        with pytest.raises(BadCheckpoint, match=rf"misfit\.pth.*{words}"):
            init_parameters(net, Weights(Path("misfit.pth"), state, None))
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_digest_knows_the_same_weights_again_and_no_others(tmp_path):
    state = make_net().state_dict()
    again = read_weights(save(tmp_path / "again.pth", dict(reversed([*state.items()])))).state
    assert weights_digest(again) == weights_digest(state)
    for other in (torch.zeros(3), state["out.bias"].half()):
        assert weights_digest(state | {"out.bias": other}) != weights_digest(state)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(bad):
    with pytest.raises(BadCheckpoint, match=r"bad\.pt holds .*NaN or infinite, in out\.bias.*earlier checkpoint"):
        Weights(Path("bad.pt"), make_net().state_dict() | {"out.bias": torch.full((3,), bad)}, None)
