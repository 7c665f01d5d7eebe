"""python -m experiments.c9_experts STUDY: is it the kept network, or the order in which it was trained?

Experts answer for high and for low noise (mindiffusion/experts.py). With the brief's ramp of stages before the split,
or without; and the control with its own earlier network, which has had no curriculum, for high noise.
"""

from experiments.claims import StudyTable, compare
from experiments.verdict import Claim

PAIRS = (
    ("C_experts_rest", "uniform"),
    ("C_experts_flat", "uniform"),
    ("uniform_experts", "uniform"),
    ("C_experts", "C"),
    ("C_experts_rest", "C_experts_flat"),
)


def measure(table: StudyTable) -> list:
    """A finding per pair and metric."""
    return [each for pair in PAIRS for each in compare(table, *pair)]


CLAIM = Claim("C9", "A network kept for high noise helps, and more so after a curriculum.", measure)

if __name__ == "__main__":
    CLAIM.main()
