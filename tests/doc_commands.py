"""The commands of a document, run as they are written, in a folder that looks like the repository but is none.

Flags may be added at the end of a command, so that it ends in seconds; nothing that is written is taken away. Programs
start as a reader starts them: from the repository's folder, by `python` and `torchrun` of the path.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from helpers import ROOT

# What makes a program quick. Of a flag that is given twice the later one counts.
QUICK = {
    "train_": ["--dry-run", "--n-feat", "8"],
    "experiments.launch": ["--dry-run", "--n-feat", "8"],
    "experiments.train_weighted_32": ["--dry-run", "--n-feat", "8"],
    "experiments.train_candidate_32": ["--dry-run", "--n-feat", "8"],
    "experiments.run_study": ["--dry-run"],
    "experiments.budget": ["--n-samples", "2", "--steps", "2", "--columns", "2"],
    "sample.py": ["-n", "2"],
    "evaluate.py": ["--n-samples", "4", "--steps", "2", "--n-loss-images", "2", "--resamples", "2", "--no-plots"],
    "experiments.side_by_side": ["--columns", "2", "--steps", "2"],
    "experiments.color_drift": ["--cells", "C", "--n-samples", "2", "--eval-images", "17-24"],
    "experiments.samplers": [
        *("--n-samples", "2", "--eval-images", "17-24", "--steps", "2"),
        *("--no-compile", "--precision", "fp32"),
    ],
    "experiments.mean_of_eps": [
        *("--n-samples", "2", "--eval-images", "17-24", "--steps", "2", "--no-compile", "--precision", "fp32")
    ],
    "experiments.time_embedding": [
        *("--n-samples", "2", "--eval-images", "17-24", "--steps", "2", "--n-loss-images", "2"),
        *("--no-compile", "--precision", "fp32"),
    ],
    "experiments.swd_noise": [
        *("--n-samples", "4", "--eval-images", "17-24", "--steps", "2", "--sets-of", "2"),
        *("--no-compile", "--precision", "fp32"),
    ],
}
AS_IT_IS = ("experiments.ledger", "experiments.summary", "compare.py")


def commands(page: str) -> list[list[str]]:
    """The command lines of a Markdown page as lists of words: those of its ```bash blocks, where a line may go on after
    a backslash or within quotes, and those in `backquotes` that begin with python or torchrun."""
    found = []
    for block, inline in re.findall(r"```bash\n(.*?)```|`((?:python|torchrun) [^`]+)`", page, re.S):
        text = ""
        for line in (block or inline).replace("\\\n", " ").splitlines():
            text += f"\n{line}" if text else line
            try:
                words = shlex.split(text, comments=True)
            except ValueError:  # a quotation goes on
                continue
            text = ""
            found += [words] if words else []
        assert not text, f"a quotation has no end: {text}"
    return found


def program(words: list[str]) -> str:
    """What a command line starts: "sample.py", or "experiments.launch" of `python -m experiments.launch`."""
    assert words[0] in ("python", "torchrun"), f"not a command that can be tested: {shlex.join(words)}"
    rest = [word for word in words[1:] if not re.match(r"--(nproc_per_node|nnodes|standalone|master_port|rdzv)", word)]
    return rest[1] if rest[0] == "-m" else rest[0]


def quick(words: list[str]) -> list[str]:
    """The command line with the flags that make it quick. AssertionError for a program that nobody has thought of."""
    name = program(words)
    if name in AS_IT_IS or "--export" in words:
        return words
    flags = next((flags for start, flags in QUICK.items() if name.startswith(start)), None)
    assert flags is not None, f"say in {Path(__file__).name} how to make {name} quick"
    if name == "experiments.side_by_side" and "--cells" in words:
        flags = ["--cells", "C", *flags]  # all that the study of the sandbox has
    return [*words, *flags]


def make_sandbox(folder: Path) -> Path:
    """A folder with the programs of the repository as links and its tables as copies: what is written stays here."""
    folder.mkdir()
    for path in [
        *ROOT.glob("*.py"),
        *(ROOT / name for name in ("mindiffusion", "experiments", "benchmarks", "pretrained")),
    ]:
        (folder / path.name).symlink_to(path)
    shutil.copytree(ROOT / "docs" / "results", folder / "docs" / "results", ignore=shutil.ignore_patterns("*.png"))
    return folder


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line in a folder, as a person would; PYTHONPATH, which tests may have, is not theirs."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MINDIFFUSION_CACHE": str(folder / "cache")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment.pop("PYTHONPATH", None)
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
