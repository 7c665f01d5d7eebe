"""python experiments/c6_sparsity_against_curriculum.py STUDY: do CS and CR beat the curriculum alone?"""

from claims import StudyTable, compare, run_claim

from mindiffusion.runtime.errors import run_script


def measure(table: StudyTable) -> list:
    """CS against C and CR against C."""
    return [*compare(table, "CS", "C"), *compare(table, "CR", "C")]


if __name__ == "__main__":
    run_script(lambda: run_claim("C6", "Curriculum and sparsity together are better than curriculum alone.", measure))
