"""python -m experiments.c5_group_l1 STUDY: what does lambda do?

For every cell whose name begins with CR: the share of output channels whose filter is exactly zero; the norm of all
filters against C's; how uneven norms are inside the normalisation groups of layers that a GroupNorm follows (a group
that shrinks as a whole changes no function, so capacity is released only where channels within a group part); and
whether the metrics differ from C's at all. Read at the end of stage 1, where lambda is largest, and at the end.
"""

from pathlib import Path

import torch

from experiments.claims import DEPENDS, FAILS, HOLDS, NOT_MEASURED, Finding, StudyTable, compare, interval
from experiments.verdict import Claim
from mindiffusion.checkpoints.checkpoint import load_checkpoint
from mindiffusion.reg_unet import RegNaiveUnet
from mindiffusion.unet import NORM_GROUPS

BASE = "C"
NOT_NORMALISED = ("up1.model.0", "up2.model.0", "up3.model.0", "out")  # no GroupNorm follows these


def norms(checkpoint: Path) -> dict[str, torch.Tensor]:
    """{layer: norm of each output channel's filter} of the raw weights, which the penalty acts on."""
    content = load_checkpoint(checkpoint)
    net = RegNaiveUnet(3, 3, content["config"]["n_feat"])
    net.load_state_dict(content["model"])
    return {name: each.detach() for name, each in net.channel_norms().items()}


def checkpoint(run: Path, name: str) -> Path:
    """A checkpoint of a run."""
    return next(run.glob("checkpoints_*")) / f"{name}.pt"


def read(checkpoint: Path) -> dict[str, float]:
    """The three numbers of one network."""
    layers = norms(checkpoint)
    everything = torch.cat(list(layers.values()))
    grouped = [each.reshape(NORM_GROUPS, -1) for name, each in layers.items() if name not in NOT_NORMALISED]
    spread = [(each.std(1) / each.mean(1).clamp(min=1e-12)).mean() for each in grouped if each.shape[1] > 1]
    return {
        "zero channels": 100 * float((everything == 0).float().mean()),
        "sum of norms": float(everything.sum()),
        "spread within groups": float(torch.stack(spread).mean()) if spread else float("nan"),
    }


def measure(table: StudyTable) -> list[Finding]:
    """Per cell: what its weights look like against C's, then whether it makes any difference."""
    findings = []
    for cell in [each for each in table.cells() if each.startswith("CR")] or ["CR"]:
        runs, base = table.run_folders(cell), table.run_folders(BASE)
        seeds = sorted(runs.keys() & base.keys())
        if not seeds:
            findings.append(Finding(f"{cell}: exact zeros", NOT_MEASURED, interval([]), "% of channels"))
            continue
        for name in ("stage1", "latest"):
            pairs = [[read(checkpoint(each[seed], name)) for each in (runs, base)] for seed in seeds]
            zeros = interval([ours["zero channels"] for ours, _ in pairs])
            smaller = interval([100 * (1 - ours["sum of norms"] / theirs["sum of norms"]) for ours, theirs in pairs])
            spread = interval([ours["spread within groups"] - theirs["spread within groups"] for ours, theirs in pairs])
            findings += [
                Finding(f"{cell}, {name}: exact zeros", HOLDS if zeros.mean > 0 else FAILS, zeros, "% of channels"),
                Finding(f"{cell}, {name}: norms below C's", smaller.verdict_above_zero, smaller, "%"),
                Finding(
                    f"{cell}, {name}: spread within groups above C's", spread.verdict_above_zero, spread, "relative"
                ),
            ]
        for each in compare(table, cell, BASE):
            changed = DEPENDS if each.verdict == DEPENDS else HOLDS
            findings.append(Finding(each.quantity + " (any difference)", changed, each.interval, each.unit))
    return findings


CLAIM = Claim("C5", "Group L1 gives up channels and releases them as lambda falls.", measure)

if __name__ == "__main__":
    CLAIM.main()
