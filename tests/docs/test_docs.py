"""The documents name files and flags that exist."""

import re
from dataclasses import fields

import pytest
from helpers import ROOT

from mindiffusion.config import TrainConfig

DOCUMENTS = (
    "README.md",
    "docs/architecture.md",
    "docs/CONTRIBUTING.md",
    "docs/results.md",
    "docs/results_small_budget.md",
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_documents_lead_somewhere(name):
    page = ROOT / name
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_names_every_flag():
    text = (ROOT / "README.md").read_text()
    flags = {"--" + item.name.replace("_", "-") for item in fields(TrainConfig) if item.metadata}
    assert [flag for flag in sorted(flags) if f"`{flag}" not in text and f"{flag} " not in text] == []
