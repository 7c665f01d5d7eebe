"""recovery.csv: how much of the synthetic data's coarse and fine features the samples show at the end of each stage."""

from pathlib import Path

from torch import Tensor

from mindiffusion.data.synthetic import coefficients, recovery_of, two_feature_model
from mindiffusion.reports.row_file import RowFile

FEATURES = {"coarse": "coarse features (M1)", "fine": "fine features (M2)"}  # columns, and what people call them
COLUMNS = ("stage", *FEATURES, "outside")


class RecoveryFile(RowFile):
    """One row per stage, replaced when a stage is measured again."""

    def __init__(self, path: Path, image_size: int, synthetic_set: str):
        super().__init__(path, COLUMNS)
        self.image_size = image_size
        self.synthetic_set = synthetic_set

    def add(self, stage: int, samples: Tensor) -> str:
        """Measure samples (N, 3, S, S) of a stage (from 0), keep the numbers, and return them as a line to print."""
        model = two_feature_model(self.image_size, self.synthetic_set)
        recovery = recovery_of(model, *coefficients(model, samples))
        row = {"stage": str(stage + 1)} | {name: f"{value:.4f}" for name, value in recovery.items()}
        rows = [*(old for old in self.rows() if old["stage"] != row["stage"]), row]
        self.write(sorted(rows, key=lambda each: int(each["stage"])))
        shares = ", ".join(f"{label} {recovery[name]:.0%}" for name, label in FEATURES.items())
        outside = f"outside both {recovery['outside']:.4f} per pixel"
        return f"recovered in samples after stage {stage + 1}: {shares}; {outside}"


def recovery_table(recovery: dict[str, list[float]]) -> str:
    """The columns of a recovery.csv as a table for a terminal: a column per stage, in per cent."""
    lines = ["recovered after stage   " + "".join(f"{stage:>8.0f}" for stage in recovery["stage"])]
    for name, label in FEATURES.items():
        lines.append(f"{label:<24}" + "".join(f"{share:>8.0%}" for share in recovery[name]))
    return "\n".join(lines)
