"""python evaluate.py checkpoints_32 checkpoints_c_32 --data-path REAL --eval-images 8001-9000 --output-dir evaluation

One table of metrics for checkpoints, and for folders of PNGs that stand in for them, against real images: in the
terminal, and as evaluation.csv, evaluation.json and, where matplotlib is installed, evaluation.png in --output-dir.
Samples are those that `python sample.py CHECKPOINT -n N --steps STEPS` draws.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import torch
from dotenv import load_dotenv
from torch import Tensor

from mindiffusion.checkpoints.weights import build_network, read_weights
from mindiffusion.data.image_cache import CROPS
from mindiffusion.data.images import SYNTHETIC, parse_range
from mindiffusion.ddpm import DDPM
from mindiffusion.evaluation.bootstrap import RESAMPLES
from mindiffusion.evaluation.faces import can_find_faces, describe_detector
from mindiffusion.evaluation.inception import METRICS as INCEPTION_METRICS
from mindiffusion.evaluation.inception import Inception, Unavailable, find_inception
from mindiffusion.evaluation.metrics import (
    GROUPS,
    OF_NETWORKS,
    OF_SAMPLES,
    Row,
    Settings,
    bands,
    network_row,
    sample_row,
    to_bytes,
)
from mindiffusion.evaluation.plots import plot_report
from mindiffusion.evaluation.subjects import RealImages, Subject, find_subject, load_real, read_folder
from mindiffusion.evaluation.swd import NORMALIZATIONS
from mindiffusion.evaluation.table import table_text, write_report
from mindiffusion.runtime.distributed import Ranks, process_group
from mindiffusion.runtime.errors import UserError, run_script
from mindiffusion.runtime.files import write_errors_explained
from sample import draw
from sample import parse_args as sample_args

WEIGHTS = {"both": ("ema", "raw"), "ema": ("ema",), "raw": ("raw",)}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line. Exits with code 2 and a message on a bad one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", type=Path, nargs="+", metavar="CHECKPOINT_OR_FOLDER", help="weights, or images")
    parser.add_argument("--names", nargs="+", help="what to call them in the table (default: the paths)")
    parser.add_argument("--data-path", help="folder of real images, or 'synthetic' (default: CELEBA_PATH)")
    parser.add_argument("--eval-images", metavar="A-B", help="of the sorted folder only these, held out of training")
    parser.add_argument("--crop", choices=tuple(CROPS), default="square", help="of real images (default: square)")
    parser.add_argument("--image-size", type=int, help="pixels per side (default: the checkpoint's, else 32)")
    parser.add_argument("--n-samples", type=int, default=1000, help="images to draw or read (default: 1000)")
    parser.add_argument(
        "--n-loss-images", type=int, default=1000, help="held-out images for loss and bpd (default: 1000)"
    )
    parser.add_argument("--metrics", nargs="+", choices=GROUPS, help="default: all that can be had")
    parser.add_argument("--weights", choices=tuple(WEIGHTS), default="both", help="of loss and bpd (default: both)")
    parser.add_argument("--sampler", choices=("ddim", "ddpm"), default="ddim", help="default: ddim")
    parser.add_argument("--steps", type=int, default=50, help="DDIM: network evaluations per image (default: 50)")
    parser.add_argument("--eta", type=float, default=1.0, help="DDIM: 0 = deterministic, 1 = DDPM's noise (default: 1)")
    parser.add_argument("--raw-samples", action="store_true", help="draw with the last weights, not their average")
    parser.add_argument("--no-clip", action="store_true", help="do not clip x0_hat to [-1, 1], in samples and bpd")
    parser.add_argument("--swd-normalization", choices=NORMALIZATIONS, default="reference", help="default: reference")
    parser.add_argument("--inception-weights", type=Path, help="torch-fidelity's file (default: torch's cache)")
    parser.add_argument("--floor", action="store_true", help="also a row of real images that are not held out")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="of the bootstrap; 0 = no intervals")
    parser.add_argument("--seed", type=int, default=0, help="of samples, noise and projections (default: 0)")
    parser.add_argument("--batch-size", type=int, default=250, help="images at a time (default: 250)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument("--output-dir", type=Path, default=Path("evaluation"), help="default: evaluation")
    parser.add_argument("--no-plots", action="store_true", help="tables only")
    args = parser.parse_args(argv)
    if args.names and len(args.names) != len(args.subjects):
        parser.error(f"--names has {len(args.names)} names for {len(args.subjects)} checkpoints and folders.")
    for name, least in (("n_samples", 2), ("n_loss_images", 1), ("batch_size", 1), ("resamples", 0), ("seed", 0)):
        if getattr(args, name) < least:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}; it must be at least {least}.")
    try:
        args.places = parse_range(args.eval_images) if args.eval_images else None
    except ValueError:
        parser.error(f"--eval-images is {args.eval_images}; write it like 8001-9000: first and last file, from 1.")
    return args


def main(argv: list[str] | None = None) -> None:
    """Check everything, measure row by row, print, write."""
    args = parse_args(argv)
    load_dotenv(Path.cwd() / ".env")
    args.data_path = args.data_path or os.environ.get("CELEBA_PATH", "")
    names = args.names or [None] * len(args.subjects)
    subjects = [find_subject(path, name) for path, name in zip(args.subjects, names, strict=True)]
    if len({subject.name for subject in subjects}) < len(subjects):
        raise UserError("two rows have the same name: name each checkpoint or folder once, or use --names.")
    size = image_size(args, subjects)
    real = load_real(args.data_path, size, args.crop, args.places, args.n_samples)
    inception = choose_inception(args)
    settings = Settings(
        choose_groups(args, inception), args.seed, args.swd_normalization, not args.no_clip, args.resamples, inception
    )
    with write_errors_explained(args.output_dir):
        args.output_dir.mkdir(parents=True, exist_ok=True)

    rows: dict[str, Row] = {}
    details: dict[str, dict[str, Any]] = {}
    with process_group(args.device) as ranks:
        if ranks.world_size > 1:
            raise UserError("evaluate.py runs as one process: start it with plain python.")
        for subject in subjects:
            print(f"measuring {subject.name} ...", file=sys.stderr, flush=True)
            measure = measure_checkpoint if subject.checkpoint else measure_folder
            rows[subject.name], details[subject.name] = measure(args, ranks, subject, real, settings, size)
        if args.floor and set(settings.groups) & set(OF_SAMPLES):
            rows["real"], details["real"] = measure_floor(args, ranks, real, settings)

    print(table_text(rows))
    write_report(args.output_dir, rows, describe(args, real, settings), details)
    if not args.no_plots and not plot_report(args.output_dir / "evaluation.png", rows, details):
        print("no plots: matplotlib is not installed", file=sys.stderr)
    print(f"written to {args.output_dir}/")


# --- what can be measured ---------------------------------------------------------------------------------------------


def image_size(args: argparse.Namespace, subjects: list[Subject]) -> int:
    """--image-size, or that of the checkpoints, or 32. UserError if they differ."""
    sizes = {}
    for subject in subjects:
        if subject.checkpoint and (checkpoint := read_weights(subject.checkpoint).checkpoint):
            sizes[subject.name] = checkpoint["config"]["image_size"]
    if args.image_size is None and len(set(sizes.values())) > 1:
        raise UserError(f"the checkpoints are of different image sizes ({sizes}): measure them apart.")
    return args.image_size or next(iter(sizes.values()), 32)


def choose_inception(args: argparse.Namespace) -> Inception | None:
    """The Inception weights if they are wanted and can be had; else None, after one message that says why."""
    if args.metrics and not set(args.metrics) & set(INCEPTION_METRICS):
        return None
    try:
        return find_inception(args.inception_weights)
    except Unavailable as reason:
        print(f"no FID, KID, precision and recall: {reason}. All other metrics go on.", file=sys.stderr)
        return None


def choose_groups(args: argparse.Namespace, inception: Inception | None) -> tuple[str, ...]:
    """The groups of metrics to measure. UserError if none of those asked for is left."""
    impossible = set() if inception else set(INCEPTION_METRICS)
    if args.data_path != SYNTHETIC:
        impossible.add("recovery")
        if args.metrics and "recovery" in args.metrics:
            print("no recovery: it needs --data-path synthetic, whose features are known.", file=sys.stderr)
    elif not args.metrics:
        impossible.add("face_rate")  # there are no faces in the synthetic images; whoever asks for it gets it
    if "face_rate" in (args.metrics or GROUPS) and "face_rate" not in impossible and not can_find_faces():
        impossible.add("face_rate")
        print("no face_rate: OpenCV is not installed (pip install -r requirements-eval.txt).", file=sys.stderr)
    groups = tuple(group for group in args.metrics or GROUPS if group not in impossible)
    if not groups:
        raise UserError(f"none of the metrics asked for ({', '.join(args.metrics)}) can be had here.")
    return groups


# --- rows -------------------------------------------------------------------------------------------------------------


def measure_checkpoint(
    args: argparse.Namespace, ranks: Ranks, subject: Subject, real: RealImages, settings: Settings, size: int
) -> tuple[Row, dict[str, Any]]:
    """A checkpoint's row: its samples, and its network's answers about held-out images."""
    row: Row = {}
    about = read_weights(subject.checkpoint).checkpoint
    details: dict[str, Any] = {"kind": "checkpoint", "path": str(subject.checkpoint), "terms": {}}
    if about:
        details |= {"step": about["next_step"], "images": about["next_step"] * about["config"]["global_batch_size"]}
        if real.files and about["data"].get("files") == real.files:
            print(f"note: {subject.name} was trained on all of {args.data_path}: nothing is held out.", file=sys.stderr)
        if about["config"]["crop"] != args.crop and args.data_path != SYNTHETIC:
            print(f"note: {subject.name} was trained with --crop {about['config']['crop']}.", file=sys.stderr)
    if set(settings.groups) & set(OF_SAMPLES):
        samples = draw_samples(args, ranks, subject.checkpoint, size)
        details["samples"] = len(samples)
        row |= sample_row(samples, real.held_out, settings, ranks.device)
    if set(settings.groups) & set(OF_NETWORKS):
        has_average = bool(about and about["ema"])
        for which in WEIGHTS[args.weights]:
            if which == "ema" and not has_average and args.weights == "both":
                continue
            prefix = "raw_" if which == "raw" and args.weights == "both" and has_average else ""
            process = load_process(subject.checkpoint, which == "raw").to(ranks.device)
            values, terms = network_row(process, real.held_out[: args.n_loss_images], settings, prefix)
            row |= values
            details["terms"][which] = terms
    return row, details


def draw_samples(args: argparse.Namespace, ranks: Ranks, checkpoint: Path, size: int) -> Tensor:
    """What sample.py draws, rounded to 8 bits as in its PNGs: uint8 (N, 3, S, S)."""
    options = ["-n", str(args.n_samples), "--sampler", args.sampler, "--seed", str(args.seed)]
    options += ["--batch-size", str(args.batch_size), "--image-size", str(size)]
    options += ["--steps", str(args.steps), "--eta", str(args.eta)] if args.sampler == "ddim" else []
    options += ["--raw-weights"] * args.raw_samples + ["--no-clip"] * args.no_clip
    return to_bytes(draw(sample_args([str(checkpoint), *options]), ranks, 0, args.n_samples))


def load_process(checkpoint: Path, raw: bool) -> DDPM:
    """The diffusion process of a checkpoint, around its raw or its averaged weights."""
    weights = read_weights(checkpoint, raw=raw)
    config = weights.checkpoint["config"] if weights.checkpoint else {}
    net = build_network(weights)
    return DDPM(net, tuple(config.get("betas", (1e-4, 0.02))), config.get("n_T", 1000))


def measure_folder(
    args: argparse.Namespace, ranks: Ranks, subject: Subject, real: RealImages, settings: Settings, size: int
) -> tuple[Row, dict[str, Any]]:
    """The row of a folder of images, which has no loss and no bound."""
    samples = read_folder(subject.folder, size, args.crop, args.n_samples)
    if len(samples) < 2:
        raise UserError(f"{subject.folder} has {len(samples)} image: at least 2 are needed.")
    details = {"kind": "folder", "path": str(subject.folder), "samples": len(samples)}
    return sample_row(samples, real.held_out, settings, ranks.device), details


def measure_floor(
    args: argparse.Namespace, ranks: Ranks, real: RealImages, settings: Settings
) -> tuple[Row, dict[str, Any]]:
    """The row that perfect samples would get: real images, drawn evenly from those that are not the reference."""
    count = min(args.n_samples, len(real.others))
    if count < 2:
        raise UserError("--floor needs real images outside the reference: hold some out with --eval-images.")
    places = torch.linspace(0, len(real.others) - 1, count).round().long()
    return sample_row(real.others[places], real.held_out, settings, ranks.device), {"kind": "real", "samples": count}


def describe(args: argparse.Namespace, real: RealImages, settings: Settings) -> dict[str, Any]:
    """Everything that must be known to compare these numbers with others."""
    return {
        **real.description,
        "metrics": list(settings.groups),
        "n_samples": args.n_samples,
        "n_loss_images": min(args.n_loss_images, len(real.held_out)),
        "sampler": args.sampler,
        "steps": args.steps if args.sampler == "ddim" else "all",
        "eta": args.eta if args.sampler == "ddim" else "",
        "sample_weights": "raw" if args.raw_samples else "ema",
        "clip_x0": settings.clip_x0,
        "swd_normalization": settings.normalization,
        "resamples": settings.resamples,
        "seed": args.seed,
        "loss_bands": bands(1000),
        "faces": describe_detector() if "face_rate" in settings.groups else None,
        "inception": settings.inception.describe() if settings.inception else None,
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    run_script(main)
