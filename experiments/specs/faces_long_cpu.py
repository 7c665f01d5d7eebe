"""The control and C three times as long, at a smaller learning rate, with a longer average: are the colours cured?"""

from dataclasses import replace

from experiments.specs.faces_cpu import STUDY as FACES

CHANGED = {"--lr": "3e-4", "--ema-decay": "0.998"}
FLAGS = tuple(CHANGED.get(before, flag) for before, flag in zip(("", *FACES.flags), FACES.flags, strict=False))

STUDY = replace(
    FACES,
    cells=tuple(cell for cell in FACES.cells if cell.name in ("uniform", "C")),
    seeds=(0,),
    images=115_200,
    flags=FLAGS,
)
