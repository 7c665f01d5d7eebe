"""faces_lr.py in fp32, for a CPU that has no bf16 units: there bf16 is emulated and many times slower. Only the control
(uniform) and S_long_end have been run, with seed 0.
"""

from dataclasses import replace

from experiments.specs.faces_lr import STUDY as FACES_LR

STUDY = replace(
    FACES_LR,
    flags=(*FACES_LR.flags, "--precision", "fp32"),  # of a flag that is given twice the later one counts
    evaluate=(*FACES_LR.evaluate, "--precision", "fp32"),
)
