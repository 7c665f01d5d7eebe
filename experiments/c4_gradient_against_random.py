"""python -m experiments.c4_gradient_against_random STUDY: does regrowth by gradient beat chance?"""

from experiments.claims import StudyTable, compare
from experiments.verdict import Claim


def measure(table: StudyTable) -> list:
    """CS as it is, against CS that draws the channels; the held-out loss too, which has the least noise."""
    return compare(table, "CS", "CS_random", ("swd", "bpd", "loss"))


CLAIM = Claim("C4", "Regrowth by gradient is better than random regrowth.", measure)

if __name__ == "__main__":
    CLAIM.main()
