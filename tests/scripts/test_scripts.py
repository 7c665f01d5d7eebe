"""The training scripts: near-duplicates whose diff is the science, with the constants of the experiment."""

import difflib
import itertools

import pytest
from helpers import ALL_SCRIPTS, ROOT, SCRIPTS, VARIANTS, load_script

from mindiffusion.reg_unet import lambda_schedule

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


def changed_lines(a: str, b: str) -> list[str]:
    diff = difflib.unified_diff(source(a), source(b), lineterm="", n=0)
    return [line[1:] for line in list(diff)[2:] if line[0] in "+-"]


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
    assert 0 < len(changed_lines(a, b)) <= MOST_CHANGED_LINES


@pytest.mark.parametrize("name", ALL_SCRIPTS)
def test_a_script_is_short_and_opens_with_its_launch_line(name):
    assert 50 <= len(source(name)) <= 100
    assert source(name)[0] == f'"""torchrun --nproc_per_node=1 {name}.py'


@pytest.mark.parametrize("name", ALL_SCRIPTS)
def test_the_shared_constants_are_those_of_the_experiment(name):
    script = load_script(name)
    assert VARIANTS[name] == script.VARIANT
    assert (script.IMAGE_SIZE, script.N_FEAT, script.GLOBAL_BATCH_SIZE) == (32, 32, 256)
    assert (script.LR, script.BETAS, script.N_T) == (2e-5, (1e-4, 0.02), 1000)


@pytest.mark.parametrize("name", [f"train_celeba_{name}_32" for name in ("c", "cp", "cs", "cr")])
def test_the_curriculum_has_the_five_stages_of_the_experiment(name):
    stages = load_script(name).STAGES
    assert [(stage.t_min, stage.t_max, stage.name, stage.epochs) for stage in stages] == FIVE_STAGES


def test_the_control_trains_as_many_epochs_on_the_full_range():
    (stage,) = load_script("train_celeba_32").STAGES
    assert (stage.t_min, stage.t_max) == (0.0, 1.0)
    assert stage.epochs == sum(epochs for *_, epochs in FIVE_STAGES) == 80


def test_cs_opens_a_fifth_of_the_channels_per_stage_by_gradient():
    script = load_script("train_celeba_cs_32")
    assert [stage.sparsity for stage in script.STAGES] == [0.80, 0.60, 0.40, 0.20, 0.00]
    assert script.CONSTANTS == {"regrowth": "gradient", "mask_scope": "bottleneck"}


def test_cr_lowers_lambda_along_a_cosine_to_zero():
    schedule = [stage.lam for stage in load_script("train_celeba_cr_32").STAGES]
    assert schedule == lambda_schedule(5e-5, 5) and (schedule[0], schedule[-1]) == (5e-5, 0.0)
    assert schedule[2] == pytest.approx(2.5e-5)  # half-way down the cosine


def test_p_trains_the_stages_of_the_control():
    assert load_script("train_celeba_p_32").STAGES == load_script("train_celeba_32").STAGES


def test_s_comes_down_to_the_plain_loss_in_five_equal_stages_of_all_timesteps():
    script = load_script("train_celeba_s_32")
    assert [stage.power for stage in script.STAGES] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert [stage.epochs for stage in script.STAGES] == [16] * 5
