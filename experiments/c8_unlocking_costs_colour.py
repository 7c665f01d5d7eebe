"""python -m experiments.c8_unlocking_costs_colour STUDY: do high noise levels lose what they knew when low ones unlock?

Colour is decided at high noise (color_drift.py), by the mean of the predicted noise in each colour channel. Blindness
is the squared error of that mean over what a network makes that always answers 0, which is 1 / (S * S): 1 is blind, 0
sees. Averaged over held-out images and timesteps above 0.7 * n_T, of the averaged weights at the end of each stage.
"""

from pathlib import Path

import torch

from experiments.claims import NOT_MEASURED, Finding, StudyTable, interval
from experiments.held_out import held_out_images
from experiments.verdict import Claim
from mindiffusion.checkpoints.weights import build_network, read_weights
from mindiffusion.ddpm import DDPM
from mindiffusion.evaluation.likelihood import held_out_errors

BANDS = slice(7, 10)  # of ten: t > 0.7 * n_T
STAGES = 5


def blindness(checkpoint: Path, images: torch.Tensor) -> float:
    """The blindness of a checkpoint's averaged network for images (N, 3, S, S) in [-1, 1]."""
    weights = read_weights(checkpoint)
    config = weights.checkpoint["config"]
    errors = held_out_errors(DDPM(build_network(weights), tuple(config["betas"]), config["n_T"]), images)
    return float(errors.band_losses(errors.dc)[:, BANDS].mean()) * images.shape[-1] ** 2


def measure(table: StudyTable) -> list[Finding]:
    """Blindness after each stage in C and in the control, and what the later stages add to it in C."""
    seen: dict[str, list[list[float]]] = {}
    for cell in ("C", "uniform"):
        runs = table.run_folders(cell)
        if not runs:
            return [Finding(f"{cell}: blindness", NOT_MEASURED, interval([]), "1 = blind")]
        seen[cell] = [
            [blindness(next(run.glob(f"checkpoints_*/stage{k + 1}.pt")), held_out_images(run)) for k in range(STAGES)]
            for _, run in sorted(runs.items())
        ]
    findings = [
        Finding(f"{cell}: blindness after stage {k + 1}", "", interval([run[k] for run in seen[cell]]), "1 = blind")
        for cell in seen
        for k in range(STAGES)
    ]
    for start in (2, 4):
        rise = interval([run[-1] - run[start - 1] for run in seen["C"]])
        quantity = f"C: rise from stage {start} to the end"
        findings.append(Finding(quantity, rise.verdict_above_zero, rise, "1 = blind"))
    return findings


CLAIM = Claim(
    "C8", "Unlocking low noise costs high noise its sense of colour.", measure, lambda findings: findings[-2:]
)

if __name__ == "__main__":
    CLAIM.main()
