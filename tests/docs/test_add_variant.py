"""The steps of docs/CONTRIBUTING.md, taken from that page and done: the variant trains, resumes and samples."""

import difflib
import re
import sys
import types

import helpers
import pytest
import torch
from helpers import ROOT, assert_identical, checkpoints, end_at, final_state, launch, load_script, metrics

from experiments.specs import faces
from mindiffusion.runtime.errors import Stopped

NAME = "train_celeba_cl_32"
PAGE = (ROOT / "docs" / "CONTRIBUTING.md").read_text()


@pytest.fixture
def variant(tmp_path, monkeypatch):
    """Steps 1, 2 and 4 of the page, in a folder of their own; returns the new script's text."""
    code = re.search(r"```python\n(.*?)```", PAGE, re.S)[1]
    module = types.ModuleType("mindiffusion.low_noise_ddpm")
    exec(compile(code, "low_noise_ddpm.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "mindiffusion.low_noise_ddpm", module)

    script = (ROOT / "train_celeba_c_32.py").read_text()
    changes = re.search(r"```diff\n(.*?)```", PAGE, re.S)[1].splitlines()
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert (old[0], new[0]) == ("-", "+")
        assert f"{old[1:]}\n" in script, "the page is behind the script"
        script = script.replace(old[1:], new[1:])
    (tmp_path / f"{NAME}.py").write_text(script)
    monkeypatch.setitem(helpers.VARIANTS, NAME, "cl")
    real = load_script("sample")
    monkeypatch.setattr(helpers, "ROOT", tmp_path)
    return types.SimpleNamespace(script=script, process=module.LowNoiseDDPM, sample=real)


def test_the_new_variant_trains_and_resumes_bit_for_bit(variant, tmp_path, monkeypatch):
    launch(NAME, tmp_path / "whole")
    with monkeypatch.context() as patch:
        end_at(patch, 7, "stopped")
        with pytest.raises(Stopped):
            launch(NAME, tmp_path / "parts")
    launch(NAME, tmp_path / "parts", "--resume")
    assert_identical(final_state(NAME, tmp_path / "parts"), final_state(NAME, tmp_path / "whole"))
    assert len(metrics(NAME, tmp_path / "whole")) == 5


def test_the_new_variant_can_be_sampled_from(variant, tmp_path, monkeypatch):
    launch(NAME, tmp_path)
    path = checkpoints(NAME, tmp_path) / "latest.pt"
    output = tmp_path / "samples.png"
    monkeypatch.setattr(sys, "argv", ["sample.py", str(path), "-o", str(output), "-n", "2", "--steps", "2"])
    variant.sample.main()
    assert output.exists()


def test_its_script_differs_in_the_lines_of_the_page_alone(variant):
    diff = difflib.ndiff((ROOT / "train_celeba_c_32.py").read_text().splitlines(), variant.script.splitlines())
    assert sum(line[0] in "+-" for line in diff) == 10


def test_it_sees_low_noise_more_often_within_the_range_of_its_stage(variant):
    process = variant.process(torch.nn.Identity())
    process.set_time_range(0.4, 1.0)
    t = process.sample_timesteps(20_000, torch.Generator().manual_seed(0))
    assert 400 <= t.min() < 405 and 990 < t.max() <= 1000
    assert t.double().mean() == pytest.approx(600, abs=5)  # 400 + 600 / 3


def test_the_cell_of_the_page_trains_the_script_on_the_stages_of_c(variant):
    cell = eval(re.search(r"`(Cell\([^`]*)`", PAGE)[1], vars(faces))
    assert (cell.script, cell.stages) == (NAME, faces.STAGES)
