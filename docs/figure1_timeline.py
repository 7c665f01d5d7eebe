"""python docs/figure1_timeline.py RUN_CONTENTS

Draw figure1_timeline.png from the constants of the training scripts, and from the stage grids that a run left in
RUN_CONTENTS (a contents_c_32 folder, say). Of the grids only the samples are shown, never the real images below them.
"""

import importlib
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
COLORS = {"train_celeba_32": "#555555", "train_celeba_c_32": "#0072B2"}  # Okabe and Ito's, safe for the colour-blind
SPARSE, LAMBDA = "#D55E00", "#009E73"
CELL = 34  # pixels of an image and its border in a grid of 32x32 samples
SAMPLE_ROWS, SAMPLE_COLUMNS = 2, 4


def main() -> None:
    """Read the scripts and the grids, draw, save."""
    contents = Path(sys.argv[1]) if len(sys.argv) == 2 else None
    if contents is None or not any(contents.glob("stage*_epoch*.png")):
        sys.exit("error: name the contents_*_32 folder of a finished run: python docs/figure1_timeline.py FOLDER")
    control, c, cs, cr = (importlib.import_module(f"train_celeba_{name}32") for name in ("", "c_", "cs_", "cr_"))
    borders = [0]
    for stage in c.STAGES:
        borders.append(borders[-1] + stage.epochs)

    figure = plt.figure(figsize=(10, 5.6), layout="constrained")
    rows = figure.subfigures(2, 1, height_ratios=[2.1, 1])
    ranges, channels, lambdas = rows[0].subplots(3, 1, sharex=True, height_ratios=[1.4, 1, 1])
    for index, stage in enumerate(c.STAGES):
        middle = (borders[index] + borders[index + 1]) / 2
        ranges.fill_between(
            borders[index : index + 2], stage.t_min, stage.t_max, color=COLORS["train_celeba_c_32"], alpha=0.75, lw=0
        )
        ranges.text(middle, 0.89, f"{stage.epochs} epochs", ha="center", va="center", fontsize=7, color="w")
    uniform = control.STAGES[0]
    ranges.hlines([uniform.t_min, uniform.t_max], 0, borders[-1], color=COLORS["train_celeba_32"], ls="--", lw=1.5)
    ranges.set(
        ylabel="t / T", ylim=(-0.05, 1.05), title="C, CS, CR: range of training timesteps (dashed: the uniform control)"
    )

    count = 2 * cs.N_FEAT
    active = [int(count * (1 - sparsity) + 1e-6) for sparsity in cs.SPARSITY_SCHEDULE]
    channels.stairs(active, borders, fill=True, color=SPARSE, alpha=0.75)
    channels.set(ylabel="channels", title=f"CS: active bottleneck channels, of {count}", ylim=(0, count * 1.25))
    for index, number in enumerate(active):
        channels.text((borders[index] + borders[index + 1]) / 2, number, number, ha="center", va="bottom", fontsize=8)
    lambdas.stairs(cr.lambda_schedule(cr.LAMBDA_MAX, len(cr.STAGES)), borders, fill=True, color=LAMBDA, alpha=0.75)
    lambdas.set(ylabel="lambda", title="CR: weight of Group L1", xlabel="epoch", xlim=(0, borders[-1]))
    for axes in (ranges, channels, lambdas):
        axes.set_xticks(borders)
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(9)

    pictures = rows[1].subplots(1, len(c.STAGES))
    for index, axes in enumerate(pictures):
        path = sorted(contents.glob(f"stage{index + 1}_epoch*.png"))[-1]
        grid = Image.open(path).crop((0, 0, SAMPLE_COLUMNS * CELL + 2, SAMPLE_ROWS * CELL + 2))
        axes.imshow(grid, interpolation="nearest")
        axes.set_title(f"after {c.STAGES[index].name}", fontsize=8)
        axes.axis("off")
    rows[1].suptitle("Samples of one run, same noise: x0_hat at the lowest timestep trained so far", fontsize=9)
    figure.savefig(ROOT / "figure1_timeline.png", dpi=110)


if __name__ == "__main__":
    main()
