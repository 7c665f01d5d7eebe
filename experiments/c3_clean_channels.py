"""python -m experiments.c3_clean_channels STUDY: do masked channels stay clean, and what do they learn once born?

Clean: at the end of each stage, the parameters that a still masked channel owns equal their initial values bit for
bit (the initial weights are a function of the seed). What a cohort learns: the relative rise of the held-out loss, per
timestep band, when the channels born in one stage are masked again in the finished network. If late cohorts learn
fine detail, then their rise lies at lower noise than that of the first cohort.
"""

import json
from pathlib import Path

import torch

from experiments.claims import DEPENDS, FAILS, HOLDS, NOT_MEASURED, Finding, StudyTable, interval
from experiments.held_out import held_out_images
from experiments.verdict import Claim
from mindiffusion.checkpoints.checkpoint import load_checkpoint
from mindiffusion.checkpoints.weights import build_network, read_weights
from mindiffusion.ddpm import DDPM
from mindiffusion.evaluation.likelihood import NUM_BANDS, held_out_errors
from mindiffusion.sparse_unet import NOT_BORN, SparseNaiveUnet

CELL = "CS"


def dirty_channels(run: Path) -> int:
    """How many channels, over all ends of stages, were masked and yet not as initialised."""
    config = json.loads((next(run.glob("contents_*")) / "config.json").read_text())
    torch.manual_seed(config["seed"])
    initial = SparseNaiveUnet(
        3, 3, config["n_feat"], config["sparsity_schedule"][0], config["mask_scope"], mask_seed=config["seed"]
    )
    dirty = 0
    for path in sorted(next(run.glob("checkpoints_*")).glob("stage*.pt")):
        state = load_checkpoint(path)["model"]
        for channel in (state["channel_mask"] == 0).nonzero().flatten().tolist():
            slices = initial.masked_channel_slices()
            dirty += any(
                not torch.equal(
                    state[name].select(axis, offset + channel),
                    initial.get_parameter(name).detach().select(axis, offset + channel),
                )
                for name, axis, offset in slices
            )
    return dirty


def cohort_rises(run: Path) -> dict[int, torch.Tensor]:
    """{birth stage: relative rise of the loss (10,) per band when its channels are masked}; stage 0 is active from the
    start."""
    weights = read_weights(next(run.glob("checkpoints_*")) / "latest.pt")
    net = build_network(weights)
    process = DDPM(net, tuple(weights.checkpoint["config"]["betas"]), weights.checkpoint["config"]["n_T"])
    images = held_out_images(run)

    def band_loss() -> torch.Tensor:
        errors = held_out_errors(process, images)
        return errors.band_losses(errors.noise).mean(0)

    whole, full_mask = band_loss(), net.channel_mask.clone()
    rises = {}
    for stage in sorted(set(net.channel_birth_stage.tolist()) - {NOT_BORN}):
        net.channel_mask.copy_(full_mask * (net.channel_birth_stage != stage))
        rises[stage] = band_loss() / whole - 1.0
    net.channel_mask.copy_(full_mask)
    return rises


def centre(rise: torch.Tensor) -> float:
    """The mean noise level (0..1) at which the loss rises."""
    rise = rise.clamp(min=0)
    levels = (torch.arange(NUM_BANDS, dtype=torch.float64) + 0.5) / NUM_BANDS
    return float((rise * levels).sum() / rise.sum().clamp(min=1e-12))


def measure(table: StudyTable) -> list[Finding]:
    """Cleanliness, the rise per cohort, and whether the last cohort works at lower noise than the first."""
    runs = table.run_folders(CELL)
    if not runs:
        return [Finding("masked channels that changed", NOT_MEASURED, interval([]), "channels")]
    dirty = interval([float(dirty_channels(run)) for run in runs.values()])
    findings = [Finding("masked channels that changed", HOLDS if dirty.mean == 0 else FAILS, dirty, "channels")]
    rises = [cohort_rises(run) for run in runs.values()]
    for stage in sorted(rises[0]):
        largest = interval([100 * float(each[stage].max()) for each in rises if stage in each])
        verdict = HOLDS if largest.low > 0 else DEPENDS
        quantity = f"cohort of stage {stage} matters: largest rise of a band's loss"
        findings.append(Finding(quantity, verdict, largest, "%"))
    first, last = min(rises[0]), max(rises[0])
    shift = interval([centre(each[first]) - centre(each[last]) for each in rises])
    quantity = "last cohort works at lower noise than the first"
    return [*findings, Finding(quantity, shift.verdict_above_zero, shift, "noise level, 0 to 1")]


CLAIM = Claim(
    "C3",
    "Masked channels stay clean, and learn fine detail once born.",
    measure,
    lambda findings: [findings[0], findings[-1]],
)

if __name__ == "__main__":
    CLAIM.main()
