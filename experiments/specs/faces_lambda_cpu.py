"""C5's sweep of lambda, over four orders of magnitude and both methods. Use the output folder of faces_cpu.py: C, which
everything is compared with, and CR with the brief's lambda are the same runs.
"""

from dataclasses import replace

from experiments.spec import Cell
from experiments.specs.faces_cpu import STUDY as FACES


def cell(method: str, lam: str) -> Cell:
    """CR with another largest lambda, in the loss or as a proximal step."""
    constants = {"LAMBDA_MAX": float(lam), "PENALTY_METHOD": method}
    return Cell(f"CR_{method}_{lam}", "train_celeba_cr_32", constants=constants)


SAME = tuple(each for each in FACES.cells if each.name in ("C", "CR"))
SWEEP = tuple(cell(*each) for each in (("loss", "1e-3"), ("loss", "1e-2"), ("proximal", "1"), ("proximal", "10")))
STUDY = replace(FACES, cells=SAME + SWEEP)
