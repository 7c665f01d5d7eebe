"""python experiments/c1_coarse_before_fine.py STUDY: does the curriculum learn coarse features before fine ones?

A feature's time is the mean over stages of the share of its final gain that is still missing, so 0 is learned at once
and 1 at the very end. Coarse before fine: the fine feature's time is later. The control shows what happens anyway,
so the claim about the curriculum is that its gap is larger than the control's. Features: recovery of M1 and M2 on synthetic
data, SWD of the coarsest and finest pyramid level on faces, from the checkpoints at the ends of stages.
"""

from claims import NOT_MEASURED, Finding, Interval, StudyTable, interval, run_claim

from mindiffusion.errors import run_script

STAGES = 5
FEATURES = (("recovery_coarse", "recovery_fine"), ("swd_8", "swd_32"))


def lateness(table: StudyTable, cell: str, metric: str) -> dict[int, float]:
    """{seed: time at which the metric made its way from stage 1's value to the last one's}."""
    stages = [table.by_seed(cell, metric, f"stage{k + 1}") for k in range(STAGES)]
    times = {}
    for seed in set.intersection(*(set(each) for each in stages)):
        values = [each[seed] for each in stages]
        gain = values[-1] - values[0]
        if gain:
            times[seed] = sum((values[-1] - value) / gain for value in values) / STAGES
    return times


def gap(table: StudyTable, cell: str, coarse: str, fine: str) -> dict[int, float]:
    """{seed: by how much fine comes later than coarse}."""
    early, late = lateness(table, cell, coarse), lateness(table, cell, fine)
    return {seed: late[seed] - early[seed] for seed in early.keys() & late.keys()}


def measure(table: StudyTable) -> list[Finding]:
    """Per pair of features: the curriculum's gap, and how much of it is more than the control's."""
    findings = []
    for coarse, fine in FEATURES:
        ours, control = gap(table, "C", coarse, fine), gap(table, "uniform", coarse, fine)
        own = interval(list(ours.values()))
        more = interval([ours[seed] - control[seed] for seed in ours.keys() & control.keys()])
        for quantity, value in ((f"C: {fine} later than {coarse}", own), ("  more so than in the control", more)):
            findings.append(Finding(quantity, verdict(value), value, "share of training"))
    return findings


def verdict(value: Interval) -> str:
    """The usual one, or that nothing is measured."""
    return value.verdict_above_zero if value.seeds else NOT_MEASURED


if __name__ == "__main__":
    run_script(lambda: run_claim("C1", "The curriculum learns coarse features before fine ones.", measure))
