"""Random numbers as a function of (seed, purpose, index), never of what was drawn before.

A run that draws the noise of step 1234 gets the same noise whether it trained up to there or was resumed there, and
whether it runs on one process or on four, so no random state has to be saved and ranks never share noise by accident.
"""

import hashlib

import torch


def derive_seed(seed: int, purpose: str, index: int = 0) -> int:
    """A 63-bit seed, well mixed and the same on every machine (BLAKE2b of the three values)."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(seed: int, purpose: str, index: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on ``device``, seeded for one purpose ("noise", "order", ...) and one step or epoch.

    CPU and CUDA generators give different numbers for the same seed, so a run is reproducible per kind of device.
    """
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose, index))
