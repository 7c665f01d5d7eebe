"""python experiments/c2_curriculum_against_uniform.py STUDY: is C better than uniform training at equal images seen?

Every cell whose name begins with C_ or is C is compared with the control of its learning rate. The last line is the
headline: the best curriculum's gain in the primary metric, as fixed beforehand. It is a choice among cells made on
these seeds; only the same cell on fresh seeds (--cells, --seeds of run_study.py) confirms it.
"""

from claims import PRIMARY, Finding, StudyTable, compare, run_claim

from mindiffusion.runtime.errors import run_script


def control_of(cell: str) -> str:
    """ "uniform", with the learning rate that the cell's name ends with, if it does."""
    _, mark, rate = cell.partition("_lr_")
    return f"uniform{mark}{rate}"


def measure(table: StudyTable) -> list[Finding]:
    """A finding per curriculum and metric."""
    cells = [cell for cell in table.cells() if cell == "C" or cell.startswith("C_")] or ["C"]
    findings = [each for cell in cells for each in compare(table, cell, control_of(cell))]
    gains = [each for each in findings if each.quantity.endswith(f": {PRIMARY}") and each.interval.seeds]
    if gains:
        best = max(gains, key=lambda each: each.interval.mean)
        print(f"Headline: {best.interval.mean:.1f} % ({best.quantity}, {best.interval.seeds} seeds)")
    return findings


if __name__ == "__main__":
    run_script(lambda: run_claim("C2", "The curriculum (C) is better than uniform training.", measure))
