"""python -m benchmarks.loss_curves --data-path FOLDER --output-dir results

Does the fast path (bf16, compiled) learn as fp32 eager does? Trains the control with several seeds on both paths,
on synthetic data and on a folder, and asks whether the fast path's mean curve lies within the spread that seeds make.
Writes loss_curves.csv and loss_curves.md. The default budget is about 20,000 images per run at n_feat 16.
"""

import argparse
import csv
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

from mindiffusion.runtime.command_line import CommandLine

ROOT = Path(__file__).parents[1]
PATHS = {"fp32": ["--precision", "fp32", "--no-compile"], "fast": ["--precision", "bf16", "--compile"]}


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = CommandLine(__doc__)
    parser.add_argument("--data-path", help="folder of images; without it, synthetic data only")
    parser.add_argument("--output-dir", type=Path, default=Path("benchmark_results"))
    parser.add_argument("--images", type=int, default=20_000, help="per run (default: 20000)")
    parser.add_argument("--seeds", type=int, default=3, help="per path (default: 3)")
    parser.add_argument("--n-feat", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3, help="large: a budget this small shows little at 2e-5")
    return parser.parse_args()


def train(args: argparse.Namespace, label: str, data: str, path: str, seed: int) -> list[float]:
    """The logged losses of a run: mean mse of 50 steps each, of the uniform control, whose range of t is constant."""
    output = args.output_dir / "runs" / f"{label}_{path}_{seed}"
    images_per_epoch = {"synthetic": 4096}.get(data) or sum(1 for each in Path(data).rglob("*.jpg"))
    epochs = max(1, round(args.images / images_per_epoch))
    command = [sys.executable, str(ROOT / "train_celeba_32.py"), "--data-path", data, "--output-dir", str(output)]
    command += ["--overwrite", "--num-samples", "0", "--epochs-per-stage", str(epochs), "--seed", str(seed)]
    command += ["--n-feat", str(args.n_feat), "--global-batch-size", str(args.batch_size), "--lr", str(args.lr)]
    began = time.monotonic()
    job = subprocess.run([*command, *PATHS[path]], cwd=ROOT, capture_output=True, text=True)
    if job.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{job.stderr}")
    print(f"{label}, {path}, seed {seed}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    with open(output / "contents_32" / "metrics.csv", newline="") as file:
        return [float(row["mse"]) for row in csv.DictReader(file)]


def compare(curves: dict[str, list[list[float]]]) -> dict[str, float]:
    """The paths' mean curves against the spread of the fp32 seeds, in the second half of training, as relative numbers.

    ``spread`` is the standard deviation over seeds of one fp32 run, ``difference`` that of the two paths' means. With k
    seeds a difference of spread * sqrt(2 / k) is what two equal paths would show, so twice that is the limit.
    """
    means = {path: [statistics.mean(run[len(run) // 2 :]) for run in runs] for path, runs in curves.items()}
    center = statistics.mean(means["fp32"])
    spread = statistics.stdev(means["fp32"]) / center
    difference = (statistics.mean(means["fast"]) - center) / center
    return {
        "fp32": center,
        "fast": statistics.mean(means["fast"]),
        "spread": spread,
        "difference": difference,
        "limit": 2 * spread * math.sqrt(2 / len(means["fp32"])),
        "points_inside": points_inside(curves),
    }


def points_inside(curves: dict[str, list[list[float]]]) -> float:
    """Share of logged points where the fast path's mean lies within the fp32 mean +- 2 standard deviations."""
    inside = []
    for exact, fast in zip(zip(*curves["fp32"], strict=True), zip(*curves["fast"], strict=True), strict=True):
        inside.append(abs(statistics.mean(fast) - statistics.mean(exact)) <= 2 * statistics.stdev(exact))
    return statistics.mean(inside)


def main() -> None:
    """Train, compare, tell."""
    args = parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    sources = {"synthetic": "synthetic"} | ({"folder": str(Path(args.data_path).resolve())} if args.data_path else {})
    lines = [
        f"Command: `python -m benchmarks.loss_curves {' '.join(sys.argv[1:])}`",
        "",
        "| data | fp32 | fast | difference | seed spread (1 sd) | limit | points inside 2 sd | within |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = []
    for label, data in sources.items():
        curves = {path: [train(args, label, data, path, seed) for seed in range(args.seeds)] for path in PATHS}
        for path, runs in curves.items():
            rows += [
                {"data": label, "path": path, "seed": seed, "point": point, "mse": mse}
                for seed, run in enumerate(runs)
                for point, mse in enumerate(run)
            ]
        found = compare(curves)
        verdict = "yes" if abs(found["difference"]) <= found["limit"] else "NO"
        lines.append(
            f"| {label} | {found['fp32']:.5f} | {found['fast']:.5f} | {found['difference']:+.2%} "
            f"| {found['spread']:.2%} | {found['limit']:.2%} | {found['points_inside']:.0%} | {verdict} |"
        )
    with open(args.output_dir / "loss_curves.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ("data", "path", "seed", "point", "mse"))
        writer.writeheader()
        writer.writerows(rows)
    text = "\n".join(lines) + "\n"
    (args.output_dir / "loss_curves.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
