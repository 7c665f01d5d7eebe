"""The documents name files and flags that exist."""

import re
from dataclasses import fields

import pytest
from helpers import ROOT

from mindiffusion.config import TrainConfig

DOCUMENTS = ("README.md", "docs/architecture.md", "docs/CONTRIBUTING.md", "docs/results.md")
MODULES = {path.stem for path in (ROOT / "mindiffusion").glob("*.py")}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_documents_lead_somewhere(name):
    page = ROOT / name
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_architecture_page_names_modules_that_exist_and_misses_none():
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = "\n".join(line.split("|")[2] for line in text.splitlines() if line.startswith("| ") and "---" not in line)
    named = set(re.findall(r"`([a-z0-9_]+)(?:\.\w+)*`", table))
    named |= {name.split(".")[0] for name in re.findall(r"`([a-z_]+)\.\{", table)}
    assert named <= MODULES
    spoken_of = set(re.findall(r"[a-z][a-z0-9_]+", text))
    assert MODULES - spoken_of <= {"errors", "ema", "signals", "optional", "figure_style"}


def test_the_readme_names_every_flag():
    text = (ROOT / "README.md").read_text()
    flags = {"--" + item.name.replace("_", "-") for item in fields(TrainConfig) if item.metadata}
    assert [flag for flag in sorted(flags) if f"`{flag}" not in text and f"{flag} " not in text] == []
