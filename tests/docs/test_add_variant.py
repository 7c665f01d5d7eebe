"""The steps of docs/CONTRIBUTING.md, taken from that page: the variant trains, resumes, samples and is exported."""

import re
import sys

import helpers
import pytest
from helpers import ROOT, assert_identical, checkpoints, final_state, launch, launch_until, load_script, metrics

import mindiffusion
from experiments.specs import faces
from mindiffusion import networks

NAME = "train_celeba_d_32"
PAGE = (ROOT / "docs" / "CONTRIBUTING.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture
def variant(tmp_path, monkeypatch):
    """Steps 1 and 2 of the page, in a folder of their own; returns the network's class."""
    (tmp_path / "dropout_unet.py").write_text(CODE[0])
    script = (ROOT / "train_celeba_c_32.py").read_text()
    for hunk in re.split(r"^@@.*\n", re.search(r"```diff\n(.*?)```", PAGE, re.S)[1], flags=re.M)[1:]:
        old, new = ("".join(re.findall(rf"^[ {sign}](.*\n)", hunk, re.M)) for sign in "-+")
        assert script.count(old) == 1, "the page is behind the script"
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


def test_the_test_of_the_page_passes_and_fails_of_a_network_without_its_property(variant, monkeypatch):
    names = {}
    exec(CODE[1], names)
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    test()
    monkeypatch.delattr(variant[1], "bottleneck")
    with pytest.raises(AssertionError):
        test()


def test_the_cell_of_the_page_trains_the_script_on_the_stages_of_c(variant):
    cell = eval(re.search(r"`(Cell\([^`]*)`", PAGE)[1], vars(faces))
    assert (cell.script, cell.stages) == (NAME, faces.STAGES)
