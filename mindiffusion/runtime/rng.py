"""Random numbers as a function of (seed, purpose, index), never of what was drawn before.

A run that draws the noise of step 1234 gets the same noise whether it trained up to there or was resumed there, and
whether it runs on one process or on four, so no random state has to be saved and ranks never share noise by accident.

That holds per kind of device. CPU and CUDA generators give different numbers for the same seed, and large draws differ
between GPU models too, by their number of multiprocessors. What is drawn on the CPU is the same everywhere: the order
of images, initial weights and masks, the noise that samples start from, the held-out measures. The ranks of one run
should have GPUs of one model, as each draws the global batch and takes its slice (a run says so at its start).
"""

import hashlib

import torch


def derive_seed(seed: int, purpose: str, index: int = 0) -> int:
    """A 63-bit seed, well mixed and the same on every machine (BLAKE2b of the three values)."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(seed: int, purpose: str, index: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on ``device``, seeded for one purpose ("noise", "order", ...) and one step or epoch."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose, index))


class BlockNoise:
    """Gaussian noise for images ``first`` .. ``first + count - 1``. That of image i depends on (seed, purpose, i) and
    the kind of device alone: every BLOCK images have one generator, which draws for all of them, wanted or not."""

    BLOCK = 64

    def __init__(self, seed: int, purpose: str, first: int, count: int, device: torch.device | str = "cpu"):
        self.device = device
        self.offset, self.count = first % self.BLOCK, count
        blocks = range(first // self.BLOCK, (first + count - 1) // self.BLOCK + 1)
        self.generators = [make_generator(seed, purpose, block, device) for block in blocks]

    def draw(self, shape: tuple[int, ...]) -> torch.Tensor:
        """The next noise of each image: (count, *shape) on the device."""
        parts = [torch.randn(self.BLOCK, *shape, generator=each, device=self.device) for each in self.generators]
        return torch.cat(parts)[self.offset : self.offset + self.count]
