"""The documents name commands, flags and pages that exist."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from doc_commands import check, commands
from helpers import ROOT

from mindiffusion.config import TrainConfig

PAGES = [ROOT / "README.md", ROOT / "pretrained" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OLD = ("results_archive.md", "CHANGELOG.md", "README.md")  # below docs/: they speak of programs of an earlier commit
PROGRAMS = ("python", "torchrun", "make")


def told(page: Path) -> dict[str, list[str]]:
    """{command line: words} of a page."""
    if page.parent != ROOT and page.name in OLD:
        return {}
    return {shlex.join(words): words for words in commands(page.read_text()) if words[0] in (*PROGRAMS, "pip")}


COMMANDS = {line: words for page in PAGES for line, words in told(page).items()}
PATHS = [path for folder in ("experiments", "benchmarks", ".") for path in sorted((ROOT / folder).glob("*.py"))]
FIRST_LINES = [path for path in PATHS if re.search("argparse|parse_config", path.read_text())]


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


def test_the_readme_or_a_page_beside_it_names_every_flag():
    text = "".join(page.read_text() for page in PAGES)
    flags = {"--" + item.name.replace("_", "-") for item in fields(TrainConfig) if "help" in item.metadata}
    assert [flag for flag in sorted(flags) if f"`{flag}" not in text and f"{flag} " not in text] == []


@pytest.mark.parametrize("number", range((ROOT / "README.md").read_text().count("```python\n")))
def test_the_python_of_the_readme_runs_and_draws(number, tmp_path, monkeypatch):
    code = (ROOT / "README.md").read_text().split("```python\n")[number + 1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pretrained").symlink_to(ROOT / "pretrained")
    exec(compile(re.sub(r"steps=\d+", "steps=2", code), "README.md", "exec"), {})
    assert any(path.stat().st_size > 10_000 for path in tmp_path.glob("*.png"))
