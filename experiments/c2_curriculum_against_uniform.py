"""python -m experiments.c2_curriculum_against_uniform STUDY: is C better than uniform training at equal images seen?

Every cell whose name begins with C_ or is C is compared with the control of its learning rate. The last line is the
headline: the best curriculum's gain in the primary metric, as fixed beforehand. It is a choice among cells made on
these seeds; only the same cell on fresh seeds (--cells, --seeds of run_study.py) confirms it.
"""

from experiments.claims import PRIMARY, Finding, StudyTable, compare
from experiments.verdict import Claim


def control_of(cell: str) -> str:
    """ "uniform", with the learning rate that the cell's name ends with, if it does."""
    _, mark, rate = cell.partition("_lr_")
    return f"uniform{mark}{rate}"


def measure(table: StudyTable) -> list[Finding]:
    """A finding per curriculum and metric."""
    cells = [cell for cell in table.cells() if cell == "C" or cell.startswith("C_")] or ["C"]
    findings = [each for cell in cells for each in compare(table, cell, control_of(cell))]
    if best := headlines(findings)[-1:]:
        print(f"Headline: {best[0].interval.mean:.1f} % ({best[0].quantity}, {best[0].interval.seeds} seeds)")
    return findings


def headlines(findings: list[Finding]) -> list[Finding]:
    """The brief's curriculum and the best one, in the primary metric: one finding if they are the same."""
    gains = [each for each in findings if each.quantity.endswith(f": {PRIMARY}") and each.measured]
    ranked = sorted(gains, key=lambda each: each.interval.mean)
    return list(dict.fromkeys([each for each in gains if each.quantity.startswith("C better")] + ranked[-1:]))


CLAIM = Claim("C2", "The curriculum (C) is better than uniform training.", measure, headlines)

if __name__ == "__main__":
    CLAIM.main()
