"""python -m experiments.c6_sparsity_against_curriculum STUDY: do CS and CR beat the curriculum alone?"""

from experiments.claims import StudyTable, compare
from experiments.verdict import Claim


def measure(table: StudyTable) -> list:
    """CS against C and CR against C."""
    return [*compare(table, "CS", "C"), *compare(table, "CR", "C")]


CLAIM = Claim("C6", "Curriculum and sparsity together are better than curriculum alone.", measure)

if __name__ == "__main__":
    CLAIM.main()
