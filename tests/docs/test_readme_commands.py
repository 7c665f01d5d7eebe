"""The README's commands run as they stand, one after the other, on runs and images of tiny budgets.

Flags are added at the end so that each ends in seconds (doc_commands.QUICK), and a job of several processes gets one.
What cannot run here is looked at: `make` knows its targets, `pip` its files; a job over two machines is left out.
"""

import os
import re
import shlex
import subprocess
import sys

import doc_commands
import pytest
import torch
from doc_commands import commands, quick
from helpers import ROOT, launch, load_script, write_pngs

from mindiffusion.unet import NaiveUnet

PAGE = (ROOT / "README.md").read_text()
RUNS = ("train_celeba_32", "train_celeba_c_32", "train_celeba_p_32")  # that the README evaluates
NUM_FACES = 9000  # names of files, as many as the README's --train-images and --eval-images speak of
FLAGS = ("--train-images", "1-8000", "--images-per-epoch", "8", "--num-samples", "2", "--sample-steps", "2")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """What the README takes for granted: images, finished runs, a file of the original minDiffusion."""
    folder = doc_commands.make_sandbox(tmp_path_factory.mktemp("readme") / "repository")
    drawn = sorted(write_pngs(tmp_path_factory.mktemp("drawn") / "pngs").iterdir())
    faces = folder / "REAL"
    faces.mkdir()
    for number in range(1, NUM_FACES + 1):
        os.link(drawn[number % len(drawn)], faces / f"{number:06d}.png")
    (folder / ".env").write_text("CELEBA_PATH=REAL\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINDIFFUSION_CACHE", str(folder / "cache"))
        for name in RUNS:
            launch(name, folder, "--data-path", str(faces), *FLAGS)
    study = folder / "studies" / "faces" / "runs" / "P"
    study.mkdir(parents=True)
    (study / "seed0").symlink_to(folder)  # a study's run of P, as the README's budget looks into
    torch.save(NaiveUnet(3, 3, 8).state_dict(), folder / "ddpm_celeba.pth")
    return folder


def lines(*programs: str) -> list[list[str]]:
    """The commands of the README's blocks that start one of ``programs``, each once, in order."""
    blocks = [part for part in PAGE.split("```")[1::2] if part.startswith("bash\n")]
    found = [words for block in blocks for words in commands(f"```{block}```")]
    return [words for words in {shlex.join(words): words for words in found}.values() if words[0] in programs]


def alone(words: list[str]) -> list[str]:
    """The command with one process where it asks for several of this machine."""
    return ["--nproc_per_node=1" if word.startswith("--nproc_per_node=") else word for word in words]


def test_the_commands_run_as_they_are_written_and_in_order(sandbox):
    told = [words for words in lines("python", "torchrun") if not any("HOST" in word for word in words)]
    assert {"sample.py", "evaluate.py", "compare.py"} <= {doc_commands.program(words) for words in told}
    failed = {}
    for words in told:
        done = doc_commands.run(alone(quick(words)), sandbox)
        if done.returncode:
            failed[shlex.join(words)] = done.stderr[-500:]
    assert failed == {}
    assert (sandbox / "compare.html").stat().st_size > 10_000
    report = (sandbox / "evaluation" / "evaluation.json").read_text()
    assert '"reference": "held out"' in report


def test_make_knows_the_targets_and_pip_finds_the_files():
    for words in lines("make"):
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    named = re.findall(r"requirements[\w-]*\.txt", PAGE)
    assert "requirements.txt" in named and all((ROOT / name).is_file() for name in named)


def test_make_compare_takes_the_folders_that_hold_a_run_and_says_so_where_there_is_none(tmp_path):
    for name in ("checkpoints_32", "checkpoints_c_32", "checkpoints_p_32"):
        (tmp_path / name).mkdir()
    make = ["make", "-n", "compare", f"RUNS={tmp_path}"]
    told = subprocess.run(make, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert 'test -n ""' in told and f"There is no run in {tmp_path}" in told
    for name in ("checkpoints_32", "checkpoints_p_32"):
        (tmp_path / name / "latest.pt").touch()
    told = subprocess.run(make, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert f"evaluate.py {tmp_path}/checkpoints_32 {tmp_path}/checkpoints_p_32 " in told
    assert f"compare.py {tmp_path}/contents_32 {tmp_path}/contents_p_32 " in told


def test_the_ten_lines_run_and_draw_the_same_sixteen_faces_each_time(sandbox):
    block = next(part for part in PAGE.split("```")[1::2] if part.startswith("python\n"))
    code = block.removeprefix("python\n").replace("steps=50", "steps=2")
    pictures = []
    for _ in range(2):
        done = doc_commands.run(["python", "-c", code], sandbox)
        assert done.returncode == 0, done.stderr[-500:]
        pictures.append((sandbox / "sixteen_faces.png").read_bytes())
    assert pictures[0] == pictures[1] and len(pictures[0]) > 10_000


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in (ROOT / "pretrained").glob("*/config.json")))
def test_pretrained_weights_are_small_and_draw_images(folder, tmp_path, monkeypatch):
    assert (ROOT / "pretrained" / folder / "model.safetensors").stat().st_size < 2_000_000
    picture = tmp_path / "faces.png"
    model = str(ROOT / "pretrained" / folder)
    monkeypatch.setattr(sys, "argv", ["sample.py", model, "-o", str(picture), "-n", "2", "--steps", "2"])
    load_script("sample").main()
    assert picture.stat().st_size > 1000
