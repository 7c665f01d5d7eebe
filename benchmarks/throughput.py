"""python -m benchmarks.throughput --data-path FOLDER_OF_JPEGS --output-dir results

How fast the program trains, against published-style loops and against the hardware. Every contender trains the same
network at the same batch size in a process of its own; they take turns (A B C A B C ...), and medians are
compared. Writes throughput.csv and throughput.md. Peers that are not installed are skipped: requirements-bench.txt.
"""

import argparse
import csv
import os
import sys
import tempfile
import time
from pathlib import Path

import torch
from torchvision.utils import save_image

from benchmarks import sections
from benchmarks.bare import DEVICE, ceiling, training_flops
from benchmarks.interleave import Contender, race, start
from benchmarks.sections import COLUMNS, row
from mindiffusion.data.synthetic import synthetic_images
from mindiffusion.runtime.command_line import CommandLine
from mindiffusion.runtime.precision import resolve_precision

MEANING = {
    "a": "published style: ImageFolder, workers, eager fp32, .item()",
    "b": "denoising-diffusion-pytorch Trainer, this network",
    "d": "ours, fp32, eager",
    "e": "ours, default of a long run (C)",
    "e_cs": "ours, default of a long run (CS)",
    "e_cr": "ours, default of a long run (CR)",
    "f": "bare step of e on one fixed batch",
    "g": "ceiling: large matrix products at that precision",
}
SCHEDULE_IMAGES = 202_599 * 80  # the default schedule on CelebA


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = CommandLine(__doc__)
    parser.add_argument("--data-path", help="folder of images in subfolders; without it, synthetic data only")
    parser.add_argument("--output-dir", type=Path, default=Path("benchmark_results"), help="default: %(default)s")
    parser.add_argument("--contenders", default="a,b,d,e,e_cs,e_cr,f", help="default: %(default)s")
    parser.add_argument("--n-feat", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5, help="turns per contender (default: 5)")
    parser.add_argument("--turn-seconds", type=float, default=4.0, help="length of a turn (default: 4)")
    parser.add_argument("--quick", action="store_true", help="3 turns of 1 s at batch 64: shows that it works")
    parser.add_argument("--no-synthetic", action="store_true", help="leave out the second race, on synthetic data")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the peer of b")
    parser.add_argument(
        "--sections",
        nargs="*",
        default=["race"],
        choices=["race", *sections.SECTIONS, "all"],
        help="default: race",
    )
    args = parser.parse_args()
    if args.quick:
        args.repeats, args.turn_seconds, args.batch_size = 3, 1.0, 64
    if "all" in args.sections:
        args.sections = ["race", *sections.SECTIONS]
    return args


def main() -> None:
    """All sections, one table."""
    args = parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("MINDIFFUSION_CACHE", str(Path.home() / ".cache" / "mindiffusion"))
        if "race" in args.sections:
            names = args.contenders.split(",")
            if args.data_path:
                rows += hold_race(args, names, "jpeg", os.path.abspath(args.data_path), None, scratch)
            if not args.no_synthetic:
                kept = [name for name in names if name in "adef"] if args.data_path else names
                rows += hold_race(args, kept, "synthetic", write_synthetic(args, scratch), "synthetic", scratch)
        for name in args.sections:
            if name != "race":
                print(f"section {name} ...", file=sys.stderr, flush=True)
                rows += sections.SECTIONS[name](args, scratch)
    text = report(args, rows, time.monotonic() - began)
    with open(args.output_dir / "throughput.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    (args.output_dir / "throughput.md").write_text(text)
    print(text)


def hold_race(args, names: list[str], label: str, folder: str, train_path: str | None, scratch: str) -> list[dict]:
    """Race the contenders on the images in ``folder``; ours read ``train_path`` where it differs."""
    options = {
        "data_path": folder,
        "train_path": train_path or folder,
        "scratch": scratch,
        **{name: getattr(args, name) for name in ("n_feat", "image_size", "batch_size")},
    }
    contenders: list[Contender] = []
    try:
        for name in names:
            python = args.peer_python if name == "b" else sys.executable
            contenders.append(start(name, options, args.output_dir / f"{label}_{name}.log", python))
            contenders[-1].turn(1)  # sets it up, compiles if it will: one after the other
            print(f"{label}: {name} is set up" + ("" if contenders[-1].alive else " (failed)"), file=sys.stderr)
        race(contenders, args.turn_seconds, args.repeats, warm_up=6 if DEVICE.type == "cuda" else 1)
    finally:
        for each in contenders:
            each.end() if each.alive else None
    base = next((each.rate for each in contenders if each.name == "a"), float("nan"))
    rows = []
    for each in contenders:
        rates = each.rates
        if not rates or rates[-1] != rates[-1]:
            print(f"{label}: {each.name} is left out: {each.reason()}", file=sys.stderr)
            continue
        facts = {"memory": each.memory / 2**20, "data": label, "over_a": each.rate / base}
        rows.append(row("race", each.name, MEANING[each.name], *rates, **facts))
    rows.append(ceiling_row(args, label, base))
    return rows


def ceiling_row(args, label: str, base: float) -> dict:
    """(g) Images per second if every operation ran as fast as a large matrix product."""
    precision = resolve_precision("auto", DEVICE, long_run=True)
    rate, bandwidth = ceiling(torch.bfloat16 if precision == "bf16" else torch.float32)
    flops = training_flops(args.n_feat, args.image_size)
    print(
        f"ceiling: {rate / 1e9:,.0f} GFLOP/s in {precision}, copies at {bandwidth / 1e9:,.0f} GB/s; "
        f"{flops / 1e9:.2f} GFLOP per image",
        file=sys.stderr,
    )
    return row("race", "g", MEANING["g"], rate / flops, data=label, over_a=rate / flops / base)


def write_synthetic(args, scratch: str) -> str:
    """The program's synthetic images as PNG files in a subfolder, for the contenders that read files."""
    folder = Path(scratch, "synthetic", "images")
    if not folder.exists():
        folder.mkdir(parents=True)
        for index, image in enumerate(synthetic_images(1024, args.image_size, 0)):
            save_image(image.float() / 255, folder / f"{index:05d}.png")
    return str(folder.parent)


def report(args, rows: list[dict], seconds: float) -> str:
    """The table and the ratios in Markdown."""
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"{os.cpu_count()} CPU cores"
    lines = [
        f"Command: `python -m benchmarks.throughput {' '.join(sys.argv[1:])}`",
        f"Machine: {device}, PyTorch {torch.__version__}, {time.strftime('%Y-%m-%d')}, {seconds:.0f} s in all, "
        f"load average at the end {os.getloadavg()[0]:.1f}.",
        f"n_feat {args.n_feat}, {args.image_size}x{args.image_size}, batch {args.batch_size}.",
        "",
        "| section | data | | what | images/s (median) | over a | lowest - highest | peak MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in rows:
        ratio = f"{each['over_a']:.2f}" if each["over_a"] == each["over_a"] else ""
        span = f"{number(each['low'])} - {number(each['high'])}"
        cells = [each["section"], each["data"], each["name"], each["meaning"], number(each["images_per_s"])]
        lines.append("| " + " | ".join([*cells, ratio, span, f"{each['memory_mib']:,.0f}"]) + " |")
    for label in ("jpeg", "synthetic"):
        rates = {
            each["name"]: each["images_per_s"] for each in rows if (each["section"], each["data"]) == ("race", label)
        }
        pairs = [("e", "a"), ("e", "b"), ("e", "f"), ("f", "g"), ("e_cs", "e"), ("e_cr", "e")]
        ratios = [f"{x}/{y} {rates[x] / rates[y]:.3f}" for x, y in pairs if x in rates and y in rates]
        if ratios:
            lines += ["", f"{label}: {', '.join(ratios)}"]
        if "e" in rates:
            hours = SCHEDULE_IMAGES / rates["e"] / 3600
            lines.append(f"The default schedule on CelebA ({SCHEDULE_IMAGES:,} images) would take {hours:,.2f} h.")
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """Four digits, whatever the size."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    main()
