"""Checkpoints of every format version, kept in tests/fixtures, load for ever."""

import importlib.util
import json
import lzma
from pathlib import Path

import pytest
import torch
from helpers import CS, ROOT, checkpoints, final_state, launch, save_again

from mindiffusion.checkpoints.checkpoint import FORMAT_VERSION, load_checkpoint
from mindiffusion.checkpoints.weights import build_network, read_weights

FIXTURES = ROOT / "tests/fixtures"
VERSIONS = [path.name.removeprefix("checkpoint_v").removesuffix(".json") for path in FIXTURES.glob("*.json")]

_spec = importlib.util.spec_from_file_location("make_checkpoint", FIXTURES / "make_checkpoint.py")
maker = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(maker)


def unpack(version: str, folder: Path) -> tuple[Path, dict]:
    path = checkpoints(CS, folder) / "latest.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(lzma.decompress((FIXTURES / f"checkpoint_v{version}.pt.xz").read_bytes()))
    return path, json.loads((FIXTURES / f"checkpoint_v{version}.json").read_text())


def test_the_present_version_is_kept():
    assert str(FORMAT_VERSION) in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_a_kept_checkpoint_loads_as_the_same_function(version, tmp_path):
    path, facts = unpack(version, tmp_path)
    content = load_checkpoint(path)
    assert [content["next_stage"], content["next_epoch"], content["next_step"]] == facts["next"]
    assert maker.probe(build_network(read_weights(path))) == pytest.approx(facts["probe"], abs=1e-4)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_kept_checkpoint_is_resumed_to_the_end(version, tmp_path, capsys):
    _, facts = unpack(version, tmp_path)
    launch(CS, tmp_path, "--resume")
    assert f"at step {facts['next'][2]} of 15" in capsys.readouterr().out
    end = final_state(CS, tmp_path)
    assert end["next_step"] == 15
    births = torch.tensor(facts["births"])
    old = births >= 0
    assert torch.equal(end["model"]["channel_birth_stage"][old], births[old])


def test_a_field_that_an_old_checkpoint_lacks_counts_as_its_default(tmp_path):
    path, _ = unpack(VERSIONS[0], tmp_path)
    state = load_checkpoint(path)
    del state["config"]["crop"]
    save_again(path, state)
    launch(CS, tmp_path, "--resume")
    assert final_state(CS, tmp_path)["next_step"] == 15
