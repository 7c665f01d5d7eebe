"""Whole runs that several files of tests look at; who changes one copies it first."""

import pytest
from helpers import launch

GRIDS = ("--num-samples", "2", "--sample-steps", "2")


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of an uninterrupted run of a script, with grids; made once."""
    folders = {}

    def run(name):
        if name not in folders:
            folder = tmp_path_factory.mktemp(name)
            launch(name, folder, *GRIDS)
            folders[name] = folder
        return folders[name]

    return run
