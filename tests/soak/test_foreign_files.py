"""pytest tests/soak/test_foreign_files.py -s

Checkpoints and exports with a fault each, made by a seeded generator, whose checksum is right: every way to use them
ends in one message that says what is wrong, or in the same images. Never a traceback. SOAK_CHECKPOINTS of them, default
150, and SOAK_EXPORTS, default 80.
"""

import collections
import copy
import json
import os
import random
import shutil

import pytest
import torch
from altered import VALUES, damaged, places
from helpers import checkpoints, launch

from mindiffusion.checkpoints.checkpoint import Found, load_checkpoint, save_checkpoint
from mindiffusion.checkpoints.foreign import check_checkpoint
from mindiffusion.checkpoints.models import open_model
from mindiffusion.checkpoints.weights import init_parameters, read_weights
from mindiffusion.networks import REGISTRY
from mindiffusion.runtime.errors import UserError
from mindiffusion.sampling import Sampler, draw
from mindiffusion.sharing.export import export
from mindiffusion.training.run import Run

CHECKPOINTS = int(os.environ.get("SOAK_CHECKPOINTS", "150"))
EXPORTS = int(os.environ.get("SOAK_EXPORTS", "80"))
NAME = "train_celeba_cs_32"
POSSIBLE = (True, 0, 1, 99, 0.5, 10**6, torch.zeros(2), *REGISTRY)  # somewhere
DRAWN = ("n_T", "betas", "t_stop")  # what is possible here makes other images, as it should
TENSORS = {
    "absent": None,
    "shape": lambda tensor: torch.zeros(*tensor.shape, 2),
    "flat": lambda tensor: torch.zeros(tensor.numel() + 1),
    "number": lambda tensor: 0.5,
    "whole": lambda tensor: torch.ones(tensor.shape, dtype=torch.int64 if tensor.is_floating_point() else torch.float),
    "complex": lambda tensor: torch.ones(tensor.shape, dtype=torch.complex64),
    "sparse": lambda tensor: torch.ones(tensor.shape).to_sparse(),
    "hollow": lambda tensor: torch.zeros(1).expand(10**7),
    "elsewhere": lambda tensor: torch.zeros(tensor.shape, device="meta"),
    "no number": lambda tensor: torch.full(tensor.shape, float("nan")),
    "text": lambda tensor: "x",
}


def alter(tree, dice):
    """One value replaced, removed, added or renamed, in place. Returns what was done."""
    found = list(places(tree))
    # In a tree of a checkpoint most leaves are moments and weights: choose among those, or among the others.
    tensors = [place for place in found if isinstance(place[0][place[1]], torch.Tensor)]
    others = [place for place in found if not isinstance(place[0][place[1]], torch.Tensor)]
    node, key, above = dice.choice(tensors if tensors and dice.random() < 0.4 else others)
    if isinstance(node[key], torch.Tensor):
        kind = dice.choice(list(TENSORS))
        node[key] = TENSORS[kind](node[key]) if TENSORS[kind] else node.pop(key)
        if kind == "absent":
            del node[key]
    elif dice.random() < 0.15:
        kind = "absent"
        del node[key]
    elif isinstance(node, dict) and dice.random() < 0.1:
        kind = "renamed"
        node[dice.choice((0, None, "x", "\x1b[2J"))] = node.pop(key)
    else:
        drawn = any(name in DRAWN for name in (*above, key))
        node[key] = dice.choice(VALUES if drawn else VALUES + POSSIBLE)
        kind = repr(node[key])[:40]
    return f"{'.'.join(map(str, (*above, key)))}: {kind}"


def images(path):
    return draw(open_model(path), Sampler(steps=2), 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A checkpoint of stage 3, its images, an export of it, and a run that could go on from it."""
    folder = tmp_path_factory.mktemp("whole")
    runs, restore = [], Run.restore
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "restore", lambda self: runs.append(self) or restore(self))
        launch(NAME, folder)
    path = checkpoints(NAME, folder) / "stage3.pt"
    export(read_weights(path), folder / "export", False, False)
    return load_checkpoint(path), images(path), folder / "export", runs[0]


@pytest.mark.parametrize("number", range(CHECKPOINTS))
def test_a_checkpoint_with_a_fault_is_refused_or_draws_the_same(number, whole, tmp_path, record_property):
    good, expected, _, run = whole
    dice = random.Random(number)
    content = copy.deepcopy({k: v for k, v in good.items() if k not in ("format_version", "checksum")})
    what = alter(content, dice)
    altered = tmp_path / "latest.pt"
    try:
        save_checkpoint(altered, content)
    except (TypeError, ValueError, KeyError, RuntimeError):  # no checksum can be made of it
        torch.save({"format_version": 2, "checksum": "0", **content}, altered)
    outcomes = collections.Counter()

    def attempt(use):
        try:
            use()
            outcomes["accepted"] += 1
        except UserError as error:
            assert str(altered) in str(error) or "settings" in str(error), what
            assert "\x1b" not in str(error).replace(str(tmp_path), ""), what
            outcomes["refused"] += 1

    def go_on():
        run.found = Found(altered, load_checkpoint(altered))
        check_checkpoint(altered, run.found.content)
        run.restore()
        for net, state in ((run.net, good["model"]), (run.ema.net, good["ema"])):
            assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items()), what
        moments = run.optimizer.state_dict()["state"]
        assert all(
            torch.equal(value, moments[number][name])
            for number, each in good["optimizer"]["state"].items()
            for name, value in each.items()
        ), what

    def look():
        assert torch.equal(images(altered), expected), what

    attempt(look)
    attempt(go_on)
    attempt(lambda: init_parameters(copy.deepcopy(run.net), read_weights(altered)))
    attempt(lambda: export(read_weights(altered), tmp_path / "export", False, False))
    print(f"{what}: {dict(outcomes)}")


@pytest.mark.parametrize("number", range(EXPORTS))
def test_an_export_with_a_fault_is_refused_or_draws_the_same(number, whole, tmp_path):
    _, expected, folder, _ = whole
    dice = random.Random(number)
    altered = tmp_path / "export"
    shutil.copytree(folder, altered)
    if dice.random() < 0.3:
        file = altered / dice.choice(("model.safetensors", "config.json"))
        what = file.name
        file.write_bytes(damaged(file.read_bytes(), dice))
    else:
        about = json.loads((altered / "config.json").read_text())
        what = alter(about, dice)
        text = json.dumps(about, default=lambda value: "a tensor", skipkeys=True)
        (altered / "config.json").write_text(text)
    try:
        assert torch.equal(images(altered), expected), what
        outcome = "accepted"
    except UserError as error:
        assert str(altered) in str(error) and "\x1b" not in str(error), what
        outcome = "refused"
    print(f"{what}: {outcome}")
