"""Checkpoints of every format version, kept in tests/fixtures, load for ever.

PYTHONPATH=.:tests python tests/checkpoints/test_format.py VERSION, once for each new version, writes the state of a
tiny CS run after 7 steps as today's program saves it. Weights are rounded and moments set to 0, which packs well.
"""

import json
import lzma
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from helpers import CS, ROOT, checkpoints, final_state, launch, launch_until

from mindiffusion.checkpoints.checkpoint import FORMAT_VERSION, load_checkpoint, save_checkpoint
from mindiffusion.checkpoints.weights import build_network, read_weights

FIXTURES = ROOT / "tests/fixtures"
VERSIONS = [path.name.removeprefix("checkpoint_v").removesuffix(".json") for path in FIXTURES.glob("*.json")]


def probe(path: Path) -> list[float]:
    """Some outputs of the saved network on a fixed input: does it still compute the same function?"""
    x = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    with torch.no_grad():
        return build_network(read_weights(path))(x, torch.tensor([0.5])).flatten()[::311].tolist()


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
    assert probe(path) == pytest.approx(facts["probe"], abs=1e-4)


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


def keep(version: str, folder: Path) -> None:
    """Make the run in ``folder``, pack its state, and write what a reader must find."""
    launch_until(6, CS, folder)
    path = checkpoints(CS, folder) / "latest.pt"
    state = load_checkpoint(path)
    for part in ("model", "ema"):
        for name, value in state[part].items():
            if value.is_floating_point() and not name.startswith("channel"):
                state[part][name] = (state["model"][name] * 64).round() / 64
    for moments in state["optimizer"]["state"].values():
        moments["exp_avg"].zero_()
        moments["exp_avg_sq"].zero_()
    save_checkpoint(path, state)
    where = [state["next_stage"], state["next_epoch"], state["next_step"]]
    facts = {"next": where, "births": state["model"]["channel_birth_stage"].tolist(), "probe": probe(path)}
    (FIXTURES / f"checkpoint_v{version}.pt.xz").write_bytes(lzma.compress(path.read_bytes(), preset=9))
    (FIXTURES / f"checkpoint_v{version}.json").write_text(json.dumps(facts) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        keep(sys.argv[1], Path(place))
