"""python -m experiments.swd_noise CHECKPOINT --data-path CELEBA --eval-images 8001-9000: how far is swd chance?

Disjoint sets of samples of one network get different swd, and the same set gets another one with other patches and
projections. Writes swd_noise.csv, a row per setting, and swd_noise.png. Both kinds of noise are relative: the standard
deviation over sets (or over seeds of patches and projections) in percent of the mean; and the largest difference of
two sets. Networks that are compared share patches and projections: the second kind of noise is mostly common to them.
"""

import itertools
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from experiments.networks import held_out, load_network, network_flags
from experiments.tables import write_csv
from mindiffusion.evaluation import swd
from mindiffusion.evaluation.settings import to_float
from mindiffusion.runtime.errors import UserError, run_script
from mindiffusion.runtime.optional import require
from mindiffusion.sampling import Sampler

COLUMNS = ("samples", "patches", "directions", "sets", "swd", "deviation_percent", "largest_percent", "seed_percent")
SEEDS = 4  # of patches and projections, for the second kind of noise


@contextmanager
def swd_settings(patches: int, directions: int) -> Iterator[None]:
    """Within the block, evaluation/swd.py takes so many patches per image and so many projections."""
    before = swd.PATCHES_PER_IMAGE, swd.DIRECTIONS
    swd.PATCHES_PER_IMAGE, swd.DIRECTIONS = patches, directions
    try:
        yield
    finally:
        swd.PATCHES_PER_IMAGE, swd.DIRECTIONS = before


def mean_swd(samples: Tensor, reference: Tensor, seed: int = 0) -> float:
    """swd averaged over levels, of float images."""
    levels = swd.swd_per_level(samples, reference, seed)
    return sum(distance for distance, _ in levels.values()) / len(levels)


def noise_of(pool: Tensor, reference: Tensor, samples: int, patches: int, directions: int) -> dict:
    """A row of the table: the disjoint sets of ``samples`` images that the pool (N, 3, S, S) holds, as float images."""
    with swd_settings(patches, directions):
        sets = [each for each in pool.split(samples) if len(each) == samples]
        values = [mean_swd(each, reference) for each in sets]
        by_seed = [values[0], *(mean_swd(sets[0], reference, seed) for seed in range(1, SEEDS))]
    mean = statistics.fmean(values)
    return {
        "samples": samples,
        "patches": patches,
        "directions": directions,
        "sets": len(sets),
        "swd": mean,
        "deviation_percent": 100 * statistics.stdev(values) / mean,
        "largest_percent": 100 * (max(values) - min(values)) / mean,
        "seed_percent": 100 * statistics.stdev(by_seed) / statistics.fmean(by_seed),
    }


def main(argv: list[str] | None = None) -> None:
    """Draw one pool, cut it into sets, measure under every setting."""
    parser = network_flags(__doc__, samples=4000)
    parser.add_argument("--sets-of", type=int, nargs="+", default=[250, 500, 1000], help="default: 250 500 1000")
    parser.add_argument("--patches", type=int, nargs="+", default=[32, 128], help="per image (default: 32 128)")
    parser.add_argument("--directions", type=int, nargs="+", default=[128, 512], help="projections (default: 128 512)")
    parser.add_argument("--steps", type=int, default=50, help="of DDIM with eta 1 (default: 50)")
    args = parser.parse_args(argv)
    require("matplotlib", "a figure")
    if args.n_samples < 2 * max(args.sets_of):
        raise UserError(f"--n-samples is {args.n_samples}: two sets of {max(args.sets_of)} need twice as many.")
    network = load_network(args.checkpoint, args.precision, args.compile)
    reference = to_float(held_out(args, network).images)
    if len(reference) < max(args.sets_of):
        raise UserError(f"{len(reference)} reference images are too few for sets of {max(args.sets_of)} samples.")
    pool = to_float(network.draw(Sampler(steps=args.steps), args.n_samples, args.seed))
    rows = []
    for setting in itertools.product(args.sets_of, args.patches, args.directions):
        rows.append(noise_of(pool, reference, *setting))
        print("  ".join(f"{name} {rows[-1][name]:.4g}" for name in COLUMNS), flush=True)
    write_csv(args.output / "swd_noise.csv", COLUMNS, rows)
    plot(args.output / "swd_noise.png", rows)
    print(f"swd_noise.csv and swd_noise.png in {args.output}/")


def plot(path: Path, rows: list[dict]) -> None:
    """Noise over the number of samples, a curve per setting of patches and projections."""
    from mindiffusion.reports.figure_style import new_figure, save_figure

    figure = new_figure(3.6)
    axes = figure.subplots()
    for patches, directions in dict.fromkeys((row["patches"], row["directions"]) for row in rows):
        mine = [row for row in rows if (row["patches"], row["directions"]) == (patches, directions)]
        label = f"{patches} patches, {directions} projections"
        axes.plot([r["samples"] for r in mine], [r["deviation_percent"] for r in mine], marker="o", label=label)
    axes.axhline(5, color="#999999", linewidth=0.8)
    axes.set(xlabel="samples per set", ylabel="deviation of swd between sets (%)", ylim=(0, None))
    least = min(rows, key=lambda row: row["deviation_percent"])
    axes.set_title(
        f"swd differs by {least['deviation_percent']:.1f} % between sets of {least['samples']} samples of one network",
        fontsize=10,
    )
    axes.legend(fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    run_script(main)
