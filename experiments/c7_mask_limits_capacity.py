"""python -m experiments.c7_mask_limits_capacity STUDY: does a mask at the bottleneck limit capacity at all?

Networks with 80 % of the channels masked throughout, against the unmasked C. If the bottleneck limited capacity, they
would be worse; the d3 skip may carry what the mask blocks, so the mask of the whole level is measured beside it.
"""

from experiments.claims import StudyTable, compare
from experiments.verdict import Claim

METRICS = ("loss", "bpd", "swd")


def measure(table: StudyTable) -> list:
    """Both scopes against C ("C better" means that the mask limits), and the two against each other."""
    return [
        *compare(table, "C", "CS_fixed_bottleneck", METRICS),
        *compare(table, "C", "CS_fixed_level", METRICS),
        *compare(table, "CS_fixed_bottleneck", "CS_fixed_level", METRICS),
    ]


CLAIM = Claim("C7", "Masking bottleneck channels limits the network's capacity.", measure)

if __name__ == "__main__":
    CLAIM.main()
