"""The steps of docs/CONTRIBUTING.md, taken from that page: the variant trains, resumes, samples and is exported."""

import importlib
import re
import sys

import helpers
import pytest
import torch
from helpers import ROOT, assert_identical, checkpoints, final_state, launch, launch_until, load_script, metrics

import mindiffusion
from experiments.specs import faces
from mindiffusion import networks

NAME = "train_celeba_d_32"
PAGE = (ROOT / "docs" / "CONTRIBUTING.md").read_text()


@pytest.fixture
def variant(tmp_path, monkeypatch):
    """Steps 1 and 2 of the page, in a folder of their own; returns the network's class."""
    (tmp_path / "dropout_unet.py").write_text(re.search(r"```python\n(.*?)```", PAGE, re.S)[1])
    script = (ROOT / "train_celeba_c_32.py").read_text()
    for old, new in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)+)", re.search(r"```diff\n(.*?)```", PAGE, re.S)[1], re.M):
        old, new = (re.sub(r"^.", "", part, flags=re.M) for part in (old, new))
        assert old in script, "the page is behind the script"
        script = script.replace(old, new)
    (tmp_path / f"{NAME}.py").write_text(script)
    monkeypatch.setattr(mindiffusion, "__path__", [*mindiffusion.__path__, str(tmp_path)])
    monkeypatch.setattr(networks, "REGISTRY", networks.REGISTRY | networks._networks())
    monkeypatch.setattr("mindiffusion.checkpoints.weights.REGISTRY", networks.REGISTRY)
    monkeypatch.setitem(helpers.VARIANTS, NAME, "d")
    sample = load_script("sample")
    monkeypatch.setattr(helpers, "ROOT", tmp_path)
    yield sample, networks.REGISTRY["DropoutNaiveUnet"]
    sys.modules.pop("mindiffusion.dropout_unet")


def test_the_new_variant_trains_resumes_samples_and_is_exported(variant, tmp_path, monkeypatch, capsys):
    launch(NAME, tmp_path / "whole")
    assert "stage2_expand: 1 epoch, t_min 0.6, t_max 1, dropout 0.3" in capsys.readouterr().out
    launch_until(7, NAME, tmp_path / "parts")
    launch(NAME, tmp_path / "parts", "--resume")
    assert_identical(final_state(NAME, tmp_path / "parts"), final_state(NAME, tmp_path / "whole"))
    assert [float(row["dropout"]) for row in metrics(NAME, tmp_path / "whole")] == [0.4, 0.3, 0.2, 0.1, 0.0]
    path = checkpoints(NAME, tmp_path / "whole") / "latest.pt"
    for words in (["--export", tmp_path / "model"], ["-o", tmp_path / "samples.png", "-n", "2", "--steps", "2"]):
        monkeypatch.setattr(sys, "argv", ["sample.py", str(path), *map(str, words)])
        variant[0].main()
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| name | epochs | t_min | t_max | dropout |" in card and "dropout at the bottleneck" in card
    assert (tmp_path / "samples.png").exists()


def test_the_property_of_the_page(variant):
    torch.manual_seed(0)
    net, x, t = variant[1](3, 3, 8), torch.randn(2, 3, 32, 32), torch.tensor([0.2, 0.7])
    plain = importlib.import_module("mindiffusion.unet").NaiveUnet(3, 3, 8)
    plain.load_state_dict(net.state_dict())
    with torch.no_grad():
        assert torch.equal(net(x, t), plain(x, t))
        net.dropout = 0.4
        assert not torch.equal(net(x, t), net(x, t))
        assert torch.equal(net.eval()(x, t), plain(x, t))


def test_the_cell_of_the_page_trains_the_script_on_the_stages_of_c(variant):
    cell = eval(re.search(r"`(Cell\([^`]*)`", PAGE)[1], vars(faces))
    assert (cell.script, cell.stages) == (NAME, faces.STAGES)
