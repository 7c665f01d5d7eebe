"""What makes the curriculum win, or why it cannot: share of epochs on the full range, union or window of noise levels,
weighting of noise levels with and without the curriculum's order, pacing by patience,
learning rate.

Use the output folder of faces_cpu.py: the control and C are the same runs. Choose on seeds 0-2; confirm the chosen cell
and its control on fresh ones, in another folder: --cells uniform CHOSEN --seeds 10 11 12.
"""

from dataclasses import replace

from experiments.spec import BRIEF, Cell, uniform, union, window
from experiments.specs.faces_cpu import STUDY as FACES

WEIGHTED = "experiments.train_weighted_32"


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
