"""python -m experiments.color_drift STUDY --cells uniform C: where do the wrong colours of samples come from?

Samples of each finished run under four settings: averaged or last weights, x0_hat clipped or not. Then, averaged and
clipped, samples that start from real held-out images with the noise of timestep t instead of from pure noise: what the
levels above t did wrong is missing from them (the start of SDEdit, Meng et al. 2022, arXiv 2108.01073). Writes
color_drift.csv, a row per run and setting, beside the study's tables, and prints means over seeds.

color_error: of the mean colour; saturation_error: of the mean saturation; spread: deviation of the images' mean
colours over that of real images, 1 where colours vary from image to image as they should. The row "real" is other
real images: what perfect samples would get.
"""

import argparse
import os
import statistics
from pathlib import Path

import torch
from torch import Tensor

from experiments.claims import StudyTable
from experiments.tables import write_csv
from mindiffusion.checkpoints.weights import build_network, read_weights
from mindiffusion.data.images import parse_range
from mindiffusion.ddim import DDIM
from mindiffusion.evaluation.color import color_error, color_statistics
from mindiffusion.evaluation.settings import to_bytes, to_float
from mindiffusion.evaluation.subjects import load_real
from mindiffusion.runtime.errors import UserError, run_script
from mindiffusion.runtime.rng import make_generator

STARTS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)  # of n_T, where samples leave real images
STEPS = 20
MEASURES = ("color_error", "saturation_error", "spread")
COLUMNS = ("cell", "seed", "weights", "clip", "start", *MEASURES)


class LateDDIM(DDIM):
    """A DDIM that begins at the first of its timesteps at or below ``start`` (a fraction of n_T)."""

    start = 1.0

    def timesteps(self, t_stop: int = 0) -> list[int]:
        """The timesteps visited."""
        return [t for t in super().timesteps(t_stop) if t <= self.start * self.n_T]


def measures(images: Tensor, reference: Tensor) -> dict[str, float]:
    """The three numbers of images (N, 3, S, S) against a reference (M, 3, S, S), both in [-1, 1]."""
    ours, theirs = color_statistics(images), color_statistics(reference)
    spread = ours[:, :3].std(0) / theirs[:, :3].std(0)
    values = (color_error(ours, theirs), ours[:, 3].mean() - theirs[:, 3].mean(), spread.mean())
    return dict(zip(MEASURES, (float(value) for value in values), strict=True))


def samples(path: Path, held_out: Tensor, raw: bool, clip: bool, start: float) -> Tensor:
    """Images like ``held_out`` (N, 3, S, S) in [-1, 1], as a PNG would hold them, from a checkpoint."""
    weights = read_weights(path, raw=raw)
    config = weights.checkpoint["config"]
    process = LateDDIM(build_network(weights), tuple(config["betas"]), config["n_T"], steps=STEPS)
    process.start = start
    noise = torch.randn(held_out.shape, generator=make_generator(0, "color drift"))
    x = noise if start == 1.0 else process.q_sample(held_out, torch.tensor([process.timesteps()[0]]), noise)
    return to_float(to_bytes(process.sample(len(x), tuple(x.shape[1:]), x_T=x, clip_x0=clip)))


def main(argv: list[str] | None = None) -> None:
    """Measure every run, write the table, print means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="output folder of experiments.run_study")
    parser.add_argument("--data-path", default=os.environ.get("CELEBA_PATH", ""), help="default: CELEBA_PATH")
    parser.add_argument("--eval-images", default="8001-9000", help="the reference (default: 8001-9000)")
    parser.add_argument("--cells", nargs="+", default=["uniform", "C"], help="default: uniform C")
    parser.add_argument("--n-samples", type=int, default=500, help="per run and setting (default: 500)")
    args = parser.parse_args(argv)
    table = StudyTable(args.study)
    runs = [(cell, seed, path) for cell in args.cells for seed, path in sorted(table.checkpoints(cell).items())]
    if not runs:
        raise UserError(f"{args.study} has no finished run of {', '.join(args.cells)}: run_study.py trains them.")
    real = load_real(args.data_path, 32, "square", parse_range(args.eval_images), args.n_samples)
    reference = to_float(real.images)
    rows = [{"cell": "real", "seed": "", **measures(to_float(real.floor(args.n_samples)), reference)}]
    settings = [(raw, clip, 1.0) for raw in (True, False) for clip in (False, True)]
    settings += [(False, True, start) for start in STARTS]
    for cell, seed, path in runs:
        for raw, clip, start in settings:
            images = samples(path, reference[: args.n_samples], raw, clip, start)
            about = {"weights": "raw" if raw else "ema", "clip": clip, "start": start}
            rows.append({"cell": cell, "seed": seed, **about, **measures(images, reference)})
    write_csv(args.study / "color_drift.csv", COLUMNS, rows)
    report(rows)


def report(rows: list[dict]) -> None:
    """Means over seeds, a line per cell and setting."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name, "") for name in ("cell", "weights", "clip", "start")), []).append(row)
    for (cell, weights, clip, start), members in groups.items():
        numbers = "  ".join(f"{name} {statistics.fmean(row[name] for row in members):.3f}" for name in MEASURES)
        setting = f"{weights}, {'clipped' if clip else 'unclipped'}, from t = {start}" if weights else ""
        print(f"{cell:<16}{setting:<32}{numbers}  ({len(members)} runs)")


if __name__ == "__main__":
    run_script(main)
