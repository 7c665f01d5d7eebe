"""python -m experiments.c1_coarse_before_fine STUDY: does the curriculum learn coarse features before fine ones?

A feature's time is the mean over stages of the share of its final gain that is still missing, so 0 is learned at once
and 1 at the very end. Coarse before fine: the fine feature's time is later. The control shows what happens anyway, so
the claim about the curriculum is that its gap is larger than the control's. Features: recovery of M1 and M2 on
synthetic data, SWD of the coarsest and finest pyramid level on faces, from the checkpoints at the ends of stages.
A curriculum that has not reached low noise is judged by x0_hat at its lowest timestep, blurred by construction: part
of the gap is how such a network is read, not what it has learned.
"""

from experiments.claims import NOT_MEASURED, Finding, Interval, StudyTable, interval
from experiments.verdict import Claim

STAGES = 5
FEATURES = (("recovery_coarse", "recovery_fine", 1), ("swd_8", "swd_32", -1))  # +1: larger is better
LEAST_GAIN = {1: 0.02, -1: 1.0}  # below it a metric has not been learned, and has no time


def lateness(table: StudyTable, cell: str, metric: str, sign: int) -> dict[int, float]:
    """{seed: time at which the metric went from stage 1's value to the last one's}, of seeds that learned it."""
    stages = [table.by_seed(cell, metric, f"stage{k + 1}") for k in range(STAGES)]
    times = {}
    for seed in set.intersection(*(set(each) for each in stages)):
        values = [each[seed] for each in stages]
        gain = values[-1] - values[0]
        if sign * gain >= LEAST_GAIN[sign]:
            times[seed] = sum(min(max((values[-1] - value) / gain, 0), 1) for value in values) / STAGES
    return times


def gap(table: StudyTable, cell: str, coarse: str, fine: str, sign: int) -> dict[int, float]:
    """{seed: by how much fine comes later than coarse}."""
    early, late = lateness(table, cell, coarse, sign), lateness(table, cell, fine, sign)
    return {seed: late[seed] - early[seed] for seed in early.keys() & late.keys()}


def measure(table: StudyTable) -> list[Finding]:
    """Per pair of features: the curriculum's gap, and how much of it is more than the control's."""
    findings = []
    for coarse, fine, sign in FEATURES:
        ours, control = (gap(table, cell, coarse, fine, sign) for cell in ("C", "uniform"))
        own = interval(list(ours.values()))
        more = interval([ours[seed] - control[seed] for seed in ours.keys() & control.keys()])
        for quantity, value in ((f"C: {fine} later than {coarse}", own), ("  more so than in the control", more)):
            findings.append(Finding(quantity, verdict(value), value, "share of training"))
    return findings


def verdict(value: Interval) -> str:
    """The usual one, or that nothing is measured."""
    return value.verdict_above_zero if value.seeds else NOT_MEASURED


CLAIM = Claim("C1", "The curriculum learns coarse features before fine ones.", measure)

if __name__ == "__main__":
    CLAIM.main()
