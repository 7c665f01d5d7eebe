"""Curricula that might keep what they learned, and the same weights without an order: pilots of 96,000 images with the
network of P, everything else as in faces.py. To see what is worth 256,000 images, not to settle anything: one seed.
"""

from dataclasses import replace

from experiments.spec import Cell, Stages, uniform
from experiments.specs.faces import EQUAL, STAGES
from experiments.specs.faces import STUDY as FACES

CANDIDATE = "experiments.train_candidate_32"
FULL: Stages = uniform(STAGES)
SHORT: Stages = ((0.8, 1, 2), (0.6, 1, 2), (0.4, 1, 2), (0.2, 1, 2), (0, 1, 24))  # a ramp over a quarter of the images


def weight(*powers: float) -> dict[str, list[float]]:
    """Powers of the weight 1 / c_out^2, per stage."""
    return {"WEIGHT_SCHEDULE": list(powers)}


STUDY = replace(
    FACES,
    cells=(
        *(cell for cell in FACES.cells if cell.name in ("P", "S", "CP")),
        Cell("S_constant", "train_celeba_s_32", EQUAL, weight(0.5, 0.5, 0.5, 0.5, 0.5)),
        Cell("S_reversed", "train_celeba_s_32", EQUAL, weight(0, 0.25, 0.5, 0.75, 1)),
        Cell("P_min_snr", CANDIDATE, FULL, {"WEIGHT": "min_snr", **weight(1, 1, 1, 1, 1)}),
        Cell("CP_weighted", CANDIDATE, STAGES, weight(1, 0.75, 0.5, 0.25, 0)),
        Cell("CP_short_weighted", CANDIDATE, SHORT, weight(1, 1, 1, 1, 0.25)),
        Cell("S_min_snr", CANDIDATE, EQUAL, {"WEIGHT": "min_snr", **weight(1, 0.75, 0.5, 0.25, 0)}),
        Cell("P_lr1e-3", "train_celeba_p_32", FULL, flags=("--lr", "1e-3")),
        Cell("P_lr2e-3", "train_celeba_p_32", FULL, flags=("--lr", "2e-3")),
        Cell("S_lr1e-3", "train_celeba_s_32", EQUAL, flags=("--lr", "1e-3")),
    ),
    seeds=(0,),
    images=96_000,
    evaluate=("--n-samples", "500", "--n-loss-images", "500", *FACES.evaluate[2:]),
)
