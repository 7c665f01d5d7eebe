"""The commands of the pages of results run as they are written, and so do those in the first lines of experiments/."""

import os
import shlex

import doc_commands
import pytest
from doc_commands import commands, quick
from helpers import ROOT, launch, write_pngs

from experiments import tables

PAGES = ("results.md", "results_small_budget.md")
PAGE = "\n".join((ROOT / "docs" / name).read_text() for name in PAGES)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """What the page takes for granted: CELEBA, a finished run of C beside the scripts, and a study with it."""
    folder = doc_commands.make_sandbox(tmp_path_factory.mktemp("docs") / "repository")
    drawn = sorted(write_pngs(tmp_path_factory.mktemp("drawn") / "pngs").iterdir())
    (folder / "CELEBA").mkdir()
    for number in range(1, 9001):  # as many names as the commands speak of
        os.link(drawn[number % len(drawn)], folder / "CELEBA" / f"{number:06d}.png")
    (folder / ".env").write_text("CELEBA_PATH=CELEBA\n")
    launch("train_celeba_c_32", folder)
    run = folder / "studies" / "faces" / "runs" / "C" / "seed0"
    run.mkdir(parents=True)
    (run / "evaluation").mkdir()
    for name in ("contents_c_32", "checkpoints_c_32"):
        (run / name).symlink_to(folder / name)
    row = {"cell": "C", "seed": 0, "checkpoint": "final", "metric": "swd", "value": 1.0}
    tables.write_csv(folder / "studies" / "faces" / "results.csv", tables.RESULT_COLUMNS, [row])
    (folder / "STUDY").symlink_to(folder / "studies" / "faces")
    (folder / "CHECKPOINT").symlink_to(folder / "checkpoints_c_32" / "latest.pt")
    (folder / "CHECKPOINTS").symlink_to(folder / "checkpoints_c_32")
    return folder


def assert_they_run(lines, sandbox):
    """Every command ends with exit code 0."""
    failed = {}
    for words in lines:
        if "experiments.ledger" in words and "docs/results/faces_cpu" not in words:
            continue  # C3, C5 and C8 want more of a study than this one has: tests/experiments judges a whole one
        few = ["--eval-images", "17-24"] if "evaluate.py" in words else []  # the later flag counts
        done = doc_commands.run([*quick(words), *few], sandbox)
        if done.returncode:
            failed[shlex.join(words)] = done.stderr[-500:]
    assert failed == {}


def test_the_commands_of_the_results_run_as_they_are_written(sandbox):
    lines = list({shlex.join(words): words for words in commands(PAGE)}.values())
    assert len(lines) >= 5
    assert_they_run(lines, sandbox)


def test_the_commands_in_the_first_lines_of_experiments_run_as_they_are_written(sandbox):
    names = ("samplers", "mean_of_eps", "time_embedding", "swd_noise", "train_weighted_32", "train_candidate_32")
    texts = [(ROOT / "experiments" / f"{name}.py").read_text().splitlines()[0] for name in names]
    told = [commands(f"`{text[3:].split(': ')[0]}`")[0] for text in texts]
    on_the_page = [words for words in told if any(words == line[: len(words)] for line in commands(PAGE))]
    assert len(on_the_page) == 4  # these run with the page, with more flags
    assert_they_run([words for words in told if words not in on_the_page], sandbox)


def test_commands_are_found_with_their_quotes_their_comments_and_their_next_lines():
    page = """Try `python a.py --x 1` and `other`.
```bash
python b.py --set 'A=[1,
    2]' -- \\
    --flag   # a comment
# alone
torchrun --nproc_per_node=2 -m c.d
```
"""
    found = commands(page)
    assert found == [
        ["python", "a.py", "--x", "1"],
        ["python", "b.py", "--set", "A=[1,\n    2]", "--", "--flag"],
        ["torchrun", "--nproc_per_node=2", "-m", "c.d"],
    ]
    assert [doc_commands.program(words) for words in found] == ["a.py", "b.py", "c.d"]
    for unknown in (["python", "unheard_of.py"], ["bash", "x.sh"]):
        with pytest.raises(AssertionError):
            quick(unknown)
