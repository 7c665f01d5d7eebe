"""python -m experiments.ledger STUDY: judge every claim by the tables of a study.

STUDY is the output folder of experiments.run_study, or a folder with its tables alone (docs/results/faces_cpu, say):
then the claims that look into checkpoints (C3, C5, C8) are not measured, and what stands written of them stays. Writes
cN.csv and cN.png beside the tables.
"""

import argparse
import importlib
from pathlib import Path

from experiments.claims import StudyTable
from experiments.verdict import Claim
from mindiffusion.runtime.errors import run_script

MODULES = {path.stem.split("_")[0].upper(): path.stem for path in sorted(Path(__file__).parent.glob("c[1-9]_*.py"))}


def claim(number: str) -> Claim:
    """The claim of a number: "C2"."""
    return importlib.import_module(f"experiments.{MODULES[number]}").CLAIM


def main(argv: list[str] | None = None) -> None:
    """Judge those asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder with results.csv")
    parser.add_argument("--claims", nargs="+", choices=tuple(MODULES), default=list(MODULES), help="default: all")
    args = parser.parse_args(argv)
    table = StudyTable(args.study)
    for number in args.claims:
        claim(number).judge(table)


if __name__ == "__main__":
    run_script(main)
