"""What all tests share: one thread, and an environment that no test changes for the next."""

import os

import pytest
import torch

torch.set_num_threads(1)  # sums in one order: runs can be compared bit for bit


@pytest.fixture(autouse=True)
def same_environment():
    """Put os.environ back: reading .env fills it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
