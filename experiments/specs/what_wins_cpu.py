"""What makes the curriculum win, or why it cannot: share of epochs on the full range, union or window of noise levels,
experts for high and low noise, weighting of noise levels with and without the curriculum's order, pacing by patience,
learning rate.

Use the output folder of faces_cpu.py: the control and C are the same runs. Choose on seeds 0-2; confirm the chosen cell
and its control on fresh ones, in another folder: --cells uniform CHOSEN --seeds 10 11 12.
"""

from dataclasses import replace

from experiments.spec import BRIEF, Cell, Stages, uniform, union, window
from experiments.specs.faces_cpu import STUDY as FACES

WEIGHTED = "experiments.train_weighted_32"


# Experts: the network of an earlier stage is kept for high noise; the last stage trains it for what is left. With the
# brief's ramp; without it; and with all of the coarse part spent above the border.
REST: Stages = (*BRIEF[:4], (0, 0.6, 6))
FLAT: Stages = ((0.2, 1, 10), (0, 0.6, 6))
ABOVE_04: Stages = ((0.8, 1, 1), (0.6, 1, 2), (0.4, 1, 7), (0, 0.4, 6))
ABOVE_06: Stages = ((0.8, 1, 1), (0.6, 1, 6), (0, 0.6, 9))


def pair(lr: str) -> tuple[Cell, Cell]:
    """The control and C at another learning rate."""
    flags = ("--lr", lr)
    return (
        Cell(f"uniform_lr_{lr}", "train_celeba_32", uniform(), flags=flags),
        Cell(f"C_lr_{lr}", "train_celeba_c_32", flags=flags),
    )


STUDY = replace(
    FACES,
    cells=(
        *(cell for cell in FACES.cells if cell.name in ("uniform", "C")),  # C: 6 of 16 epochs on the full range
        Cell("C_full_2", "train_celeba_c_32", union(2)),
        Cell("C_experts", "train_celeba_c_32", experts=("stage4", 0.6), trained_as="C"),
        Cell("uniform_experts", "train_celeba_32", uniform(), experts=("stage4", 0.6), trained_as="uniform"),
        Cell("C_experts_rest", "train_celeba_c_32", REST, experts=("stage4", 0.6)),
        Cell("C_experts_flat", "train_celeba_c_32", FLAT, experts=("stage1", 0.6)),
        Cell("C_experts_0.4", "train_celeba_c_32", ABOVE_04, experts=("stage3", 0.4)),
        Cell("C_experts_0.6", "train_celeba_c_32", ABOVE_06, experts=("stage2", 0.6)),
        Cell("C_p2", WEIGHTED, BRIEF, {"GAMMA": 1.0}),
        Cell("uniform_p2", WEIGHTED, uniform(), {"GAMMA": 1.0}),
        Cell("C_tilt", WEIGHTED, BRIEF, {"TILT": 1.0}),
        Cell("uniform_tilt", WEIGHTED, uniform(), {"TILT": 1.0}),
        Cell("C_window_6", "train_celeba_c_32", window(6)),
        Cell("C_full_10", "train_celeba_c_32", union(10)),
        Cell("C_patient", "train_celeba_c_32", paced_by="C"),
        *pair("3e-3"),
        *pair("3e-4"),
    ),
)
