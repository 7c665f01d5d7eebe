"""The documents name commands, flags, pages, files and tests that exist."""

import argparse
import importlib
import re
import shlex
import subprocess
import sys
from dataclasses import fields

import pytest
from helpers import ROOT, load_script

from mindiffusion.config import TrainConfig

PAGES = [ROOT / "README.md", ROOT / "pretrained" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OLD = ("results_archive.md", "CHANGELOG.md", "README.md")  # below docs/: they speak of programs of an earlier commit
PROGRAMS = ("python", "torchrun", "make")


class Understood(BaseException):
    """The command line was parsed; nothing of the program has run."""


def commands(page: str) -> list[list[str]]:
    """The command lines of a Markdown page as lists of words: those of its ```bash blocks, and those in `backquotes`
    that begin with python, torchrun or make."""
    found = re.findall(r"```bash\n(.*?)```|`((?:python|torchrun|make) [^`]+)`", page, re.S)
    lines = "\n".join(block or inline for block, inline in found).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def check(words: list[str]) -> None:
    """Fail if the command names a program, a target or a file that is not there, or flags that it does not have."""
    if words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif words[0] in ("python", "torchrun"):
        launcher = r"-m$|--(nproc.per.node|nnodes|max-restarts|rdzv)"
        parse([word for word in words[1:] if not re.match(launcher, word)])
    for name in words:
        assert not re.fullmatch(r"requirements[\w-]*\.txt|constraints\.txt", name) or (ROOT / name).is_file(), name


def parse(words: list[str]) -> None:
    """Parse a program's command line as it would itself."""
    name, *arguments = words or ["pytest"]
    module = load_script(name.removesuffix(".py")) if name.endswith(".py") else importlib.import_module(name)
    if not arguments or not {"CommandLine", "parse_config"} & {*vars(module)}:
        return  # a program without flags, or another's
    parse_args = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, *given, **named):
        parse_args(self, *given, **named)
        raise Understood

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        patch.setattr(sys, "argv", [name, *arguments])
        with pytest.raises(Understood):
            module.main()


TOLD = [words for page in PAGES if page.parent == ROOT or page.name not in OLD for words in commands(page.read_text())]
COMMANDS = {shlex.join(words): words for words in TOLD if words[0] in (*PROGRAMS, "pip")}
PATHS = [path for folder in ("experiments", "benchmarks", ".") for path in sorted((ROOT / folder).glob("*.py"))]
FIRST_LINES = [path for path in PATHS if re.search("CommandLine|parse_config", path.read_text())]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_a_document_starts_a_program_that_understands_it(line):
    check(COMMANDS[line])


@pytest.mark.parametrize("path", FIRST_LINES, ids=lambda path: path.name)
def test_the_command_in_the_first_line_of_a_program_is_understood(path):
    first = path.read_text().split('"""')[1].split("\n\n")[0].replace("\\\\\n", " ")
    first = re.split(r":(?: |$)|, | or ", first.splitlines()[0])[0]
    if first.startswith(PROGRAMS):
        check(shlex.split(first))


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_a_file_and_to_a_heading(page):
    for target, _, heading in (
        link.partition("#") for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text())
    ):
        path = page.parent / target if target else page
        assert path.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, heading


@pytest.mark.parametrize("page", ["architecture.md", "reliability.md"])
def test_files_and_tests_that_a_page_names_are_there(page):
    text = (ROOT / "docs" / page).read_text()
    files = [*ROOT.glob("*.py"), *(path for top in ("mindiffusion", "tests") for path in (ROOT / top).rglob("*.py"))]
    for name in re.findall(r"`([\w/]+\.py)", text):
        assert any(path.as_posix().endswith(f"/{name}") for path in files), name
    tests = "".join(path.read_text() for path in files if path.name.startswith("test_"))
    assert [name for name in re.findall(r"`(test_\w+)`", text) if f"def {name}(" not in tests] == []


def test_the_table_of_flags_in_the_readme_names_each_of_the_training_scripts():
    table = (ROOT / "README.md").read_text().partition("## Flags")[2].partition("\n## ")[0]
    flags = {"--" + item.name.replace("_", "-") for item in fields(TrainConfig) if "help" in item.metadata}
    assert flags | {"--epochs-per-stage", "--help"} == set(re.findall(r"`(--[\w-]+)`", table))


@pytest.mark.parametrize("number", range((ROOT / "README.md").read_text().count("```python\n")))
def test_the_python_of_the_readme_runs_and_draws(number, tmp_path, monkeypatch):
    code = (ROOT / "README.md").read_text().split("```python\n")[number + 1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pretrained").symlink_to(ROOT / "pretrained")
    exec(compile(re.sub(r"steps=\d+", "steps=2", code), "README.md", "exec"), {})
    assert any(path.stat().st_size > 10_000 for path in tmp_path.glob("*.png"))
