"""The training scripts: near-duplicates whose diff is the science, with the constants of the experiment."""

import difflib
import itertools
import subprocess
import sys

import pytest
from helpers import ALL_SCRIPTS, ROOT, SCRIPTS, VARIANTS, load_script

MOST_CHANGED_LINES = 30
FIVE_STAGES = [
    (0.8, 1.0, "stage1_high_noise", 5),
    (0.6, 1.0, "stage2_expand", 10),
    (0.4, 1.0, "stage3_expand", 15),
    (0.2, 1.0, "stage4_expand", 20),
    (0.0, 1.0, "stage5_full_range", 30),
]


def source(name: str) -> list[str]:
    return (ROOT / f"{name}.py").read_text().splitlines()


PAIRS = [
    *itertools.combinations(SCRIPTS, 2),
    ("train_celeba_32", "train_celeba_p_32"),
    ("train_celeba_c_32", "train_celeba_cp_32"),
    ("train_celeba_p_32", "train_celeba_cp_32"),
    ("train_celeba_p_32", "train_celeba_s_32"),
    ("train_celeba_c_32", "train_celeba_s_32"),
]


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_two_scripts_differ_in_few_lines(a, b):
    diff = [*difflib.unified_diff(source(a), source(b), lineterm="", n=0)][2:]
    assert 0 < sum(line[0] in "+-" for line in diff) <= MOST_CHANGED_LINES


@pytest.mark.parametrize("name", ALL_SCRIPTS)
def test_a_script_is_short_and_opens_with_its_launch_line(name):
    assert 50 <= len(source(name)) <= 100
    assert source(name)[0] == f'"""torchrun --nproc_per_node=1 {name}.py'


@pytest.mark.parametrize("name", ALL_SCRIPTS)
def test_the_constants_are_those_of_the_experiment(name):
    script = load_script(name)
    assert VARIANTS[name] == script.VARIANT
    assert (script.IMAGE_SIZE, script.N_FEAT, script.GLOBAL_BATCH_SIZE) == (32, 32, 256)
    assert (script.LR, script.BETAS, script.N_T) == (2e-5, (1e-4, 0.02), 1000)
    assert sum(stage.epochs for stage in script.STAGES) == 80
    if VARIANTS[name] in ("c", "cp", "cs", "cr"):
        stages = [(stage.t_min, stage.t_max, stage.name, stage.epochs) for stage in script.STAGES]
        assert stages == FIVE_STAGES
    elif VARIANTS[name] != "s":
        assert [(stage.t_min, stage.t_max) for stage in script.STAGES] == [(0.0, 1.0)]


@pytest.mark.parametrize(
    ("name", "value", "schedule", "constants"),
    [
        ("cs", "sparsity", [0.80, 0.60, 0.40, 0.20, 0.00], {"regrowth": "gradient", "mask_scope": "bottleneck"}),
        ("cr", "lam", [5e-5, 4.27e-5, 2.5e-5, 7.3e-6, 0.0], {"penalty_method": "loss"}),  # a cosine
        ("s", "power", [1.0, 0.75, 0.5, 0.25, 0.0], {}),
    ],
)
def test_a_mechanism_falls_stage_by_stage_to_nothing(name, value, schedule, constants):
    script = load_script(f"train_celeba_{name}_32")
    assert [getattr(stage, value) for stage in script.STAGES] == pytest.approx(schedule, rel=5e-3)
    assert script.STAGES[-1].values[value] == 0 and constants == script.CONSTANTS


ASK_ALL_FOR_HELP = f"""
import contextlib, importlib, sys
for name in {(*SCRIPTS, "sample", "compare")}:
    sys.argv = [name + ".py", "--help"]
    with contextlib.suppress(SystemExit):
        importlib.import_module(name).main()
    slow = {{"torchvision", "torch._dynamo", "matplotlib", "tensorboard", "safetensors"}} & {{*sys.modules}}
    assert not slow, f"{{name}} loads {{slow}}"
"""


def test_help_comes_quickly_and_loads_no_slow_package():
    command = [sys.executable, "-c", ASK_ALL_FOR_HELP]
    said = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert said.count("usage:") == len(SCRIPTS) + 2
