"""python experiments/c4_gradient_against_random.py STUDY: does regrowth by gradient beat chance?"""

from claims import StudyTable, compare, run_claim

from mindiffusion.runtime.errors import run_script


def measure(table: StudyTable) -> list:
    """CS as it is, against CS that draws the channels; the held-out loss too, which has the least noise."""
    return compare(table, "CS", "CS_random", ("swd", "bpd", "loss"))


if __name__ == "__main__":
    run_script(lambda: run_claim("C4", "Regrowth by gradient is better than random regrowth.", measure))
