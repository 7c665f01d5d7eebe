"""python evaluate.py checkpoints_32 checkpoints_c_32 --data-path REAL --eval-images 8001-9000 --output-dir evaluation

One table of metrics for models, and for folders of PNGs that stand in for them, against real images: in the terminal,
and as evaluation.csv, evaluation.json and, where matplotlib is installed, evaluation.png in --output-dir. A model is
named as for sample.py: a run's folder, a checkpoint file, or an export. Samples are those that sample.py draws.
For each row the table says whether the real images were held out of that model's training.

Cost: a network is asked about n_samples x steps images, and n_loss_images x 53 for each kind of weights. The defaults,
on 2 CPU cores and at n_feat 32, come to some minutes per model; a bar shows the time left.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from mindiffusion.checkpoints.models import model_of
from mindiffusion.data.image_cache import CROPS
from mindiffusion.data.images import parse_range
from mindiffusion.data.synthetic import RECIPES, SYNTHETIC, is_synthetic
from mindiffusion.evaluation.bootstrap import RESAMPLES
from mindiffusion.evaluation.choose import (
    check_floor,
    check_weights,
    choose_data_path,
    choose_groups,
    choose_inception,
    choose_size,
    note,
    note_reference,
    trained_on,
)
from mindiffusion.evaluation.faces import describe_detector
from mindiffusion.evaluation.held_out import DRAWN_ALIKE, TRAINED_ON, UNKNOWN
from mindiffusion.evaluation.measure import WEIGHTS, Work, measure_floor, measure_folder, measure_model
from mindiffusion.evaluation.metrics import GROUPS, OF_SAMPLES, Row, Settings, bands
from mindiffusion.evaluation.plots import plot_report
from mindiffusion.evaluation.subjects import RealImages, Subject, find_subjects, load_real, read_folders
from mindiffusion.evaluation.swd import NORMALIZATIONS
from mindiffusion.evaluation.table import CSV_NAME, JSON_NAME, write_report
from mindiffusion.evaluation.terminal_table import table_text
from mindiffusion.runtime.distributed import process_group
from mindiffusion.runtime.env_file import read_env_file
from mindiffusion.runtime.errors import UserError, run_script
from mindiffusion.runtime.files import prepare_output
from mindiffusion.runtime.precision import set_backend_flags
from mindiffusion.runtime.terminal import work_bar
from mindiffusion.sampling import add_sampler_flags, chosen_sampler
from mindiffusion.unet import SIZE_MULTIPLE

FLOOR = "real"  # the name of the row of real images
PLOT_NAME = "evaluation.png"
DATA_DEFAULT = "(default: what models of synthetic images were trained on, else CELEBA_PATH)"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line. Exits with code 2 and a message on a bad one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", type=Path, nargs="+", metavar="MODEL_OR_FOLDER", help="models, or folders of PNGs")
    parser.add_argument("--names", nargs="+", help="what to call them (default: the variant, or the file's name)")
    parser.add_argument("--data-path", help=f"real images: a folder, or {', '.join(RECIPES)} {DATA_DEFAULT}")
    parser.add_argument("--eval-images", metavar="A-B", help="of the sorted folder (default: those not trained on)")
    parser.add_argument("--crop", choices=tuple(CROPS), default="square", help="of real images (default: square)")
    parser.add_argument("--skip-bad-images", action="store_true", help="leave out unreadable real images")
    parser.add_argument("--image-size", type=int, help="pixels per side (default: the model's, else 32)")
    parser.add_argument("--n-samples", type=int, default=1000, help="images to draw or read (default: 1000)")
    parser.add_argument("--n-loss-images", type=int, default=1000, help="real ones for loss and bpd (default: 1000)")
    parser.add_argument("--metrics", nargs="+", choices=GROUPS, help="default: all that can be had")
    parser.add_argument("--weights", choices=tuple(WEIGHTS), default="both", help="of loss and bpd (default: both)")
    add_sampler_flags(parser)
    parser.add_argument("--raw-samples", action="store_true", help="draw with the last weights, not their average")
    parser.add_argument("--swd-normalization", choices=NORMALIZATIONS, default="reference", help="default: reference")
    parser.add_argument("--inception-weights", type=Path, help="torch-fidelity's file (default: torch's cache)")
    parser.add_argument("--floor", action="store_true", help="also a row of real images that are not the reference")
    resamples = "of the bootstrap; 0 = none; of swd always 20 (default: 200)"
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help=resamples)
    parser.add_argument("--seed", type=int, default=0, help="of samples, noise and projections (default: 0)")
    parser.add_argument("--batch-size", type=int, default=250, help="images at a time (default: 250)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of samples (default: fp32)")
    parser.add_argument("--compile", action="store_true", help="compile for samples: pays from some minutes on")
    parser.add_argument("--output-dir", type=Path, default=Path("evaluation"), help="default: evaluation")
    parser.add_argument("--overwrite", action="store_true", help="replace an evaluation that is there already")
    parser.add_argument("--no-plots", action="store_true", help="tables only")
    args = parser.parse_args(argv)
    if args.names and len(args.names) != len(args.subjects):
        parser.error(f"--names has {len(args.names)} names for {len(args.subjects)} models and folders.")
    for name, least in (("n_samples", 2), ("n_loss_images", 1), ("batch_size", 1), ("resamples", 0), ("seed", 0)):
        if getattr(args, name) < least:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}; it must be at least {least}.")
    if args.image_size is not None and (args.image_size < 1 or args.image_size % SIZE_MULTIPLE):
        parser.error(f"--image-size is {args.image_size}; it must be a positive multiple of {SIZE_MULTIPLE}.")
    args.sampler = chosen_sampler(parser, args)
    try:
        args.places = parse_range(args.eval_images) if args.eval_images else None
    except ValueError:
        parser.error(f"--eval-images is {args.eval_images}; write it like 8001-9000: first and last file, from 1.")
    return args


def main(argv: list[str] | None = None) -> None:
    """Check everything, measure row by row, print, write."""
    args = parse_args(argv)
    read_env_file()
    subjects = find_subjects(args.subjects, args.names, (FLOOR,) if args.floor else ())
    size = choose_size(args.image_size, subjects)
    subjects = read_folders(subjects, size, args.crop, args.n_samples)
    seen = trained_on(subjects)
    args.data_path = choose_data_path(args.data_path, seen)
    real = load_real(args.data_path, size, args.crop, args.places, args.n_samples, seen, args.skip_bad_images)
    inception = choose_inception(args.metrics, args.inception_weights)
    groups = choose_groups(args.metrics, args.data_path, inception, size)
    check_weights(subjects, groups, args.weights, args.raw_samples)
    if args.floor and set(groups) & set(OF_SAMPLES):
        check_floor(real)
    features = args.data_path if is_synthetic(args.data_path) else SYNTHETIC
    settings = Settings(
        groups, args.seed, args.swd_normalization, not args.no_clip, args.resamples, inception, features
    )
    names = (CSV_NAME, JSON_NAME, PLOT_NAME)
    prepare_output(args.output_dir, [args.output_dir / name for name in names], args.overwrite)
    note_reference(real, args.n_samples, args.n_loss_images)
    with process_group(args.device) as ranks:
        if ranks.world_size > 1:
            raise UserError("evaluate.py runs as one process: start it with plain python.")
        set_backend_flags("fp32", ranks.device)  # of all metrics, not of the samples alone
        numbers = (args.n_samples, args.n_loss_images, args.batch_size)
        speed = (args.precision, args.compile)
        work = Work(
            settings, args.sampler, ranks.device, size, args.crop, *numbers, args.weights, args.raw_samples, *speed
        )
        rows, details = measure_all(work, subjects, real)
        if args.floor and work.wants_samples:
            rows[FLOOR], details[FLOOR] = measure_floor(work, real)
    about = describe(args, work, real, details)
    print(table_text(rows, about, details))
    write_report(args.output_dir, rows, about, details)
    plots = not args.no_plots and plot_report(args.output_dir / PLOT_NAME, rows, about, details)
    if not plots:
        (args.output_dir / PLOT_NAME).unlink(missing_ok=True)  # of the evaluation that was replaced
    if not plots and not args.no_plots:
        note("no plots: matplotlib is not installed (pip install -r requirements-eval.txt).")
    print(f"written to {args.output_dir}/: all metrics in {CSV_NAME}, with intervals in {JSON_NAME}")


def measure_all(
    work: Work, subjects: list[Subject], real: RealImages
) -> tuple[dict[str, Row], dict[str, dict[str, Any]]]:
    """The rows of all subjects and what is to be known about each, with a bar on a terminal and a line per row."""
    rows: dict[str, Row] = {}
    details: dict[str, dict[str, Any]] = {}
    models = {subject.name: model_of(subject.weights) for subject in subjects if subject.weights}
    total = sum(work.questions(model, len(real.held_out)) for model in models.values())
    with work_bar(total, "measuring") as bar:
        for number, subject in enumerate(subjects, start=1):
            bar.set_description_str(f"{subject.name} ({number} of {len(subjects)})")
            if bar.disable:
                print(f"measuring {subject.name} ({number} of {len(subjects)}) ...", file=sys.stderr, flush=True)
            if subject.model:
                rows[subject.name], about = measure_model(work, subject, real, bar.update)
            else:
                rows[subject.name], about = measure_folder(work, subject, real)
            details[subject.name] = about
            if about["reference"] != UNKNOWN and about.get("crop", work.crop) != work.crop:
                note(f"{subject.name} was trained with --crop {about['crop']}, the reference has {work.crop}.")
            if about["reference"] in (TRAINED_ON, DRAWN_ALIKE):
                note(f"{subject.name} was not measured on held-out images: {about['reference_reason']}.")
    return rows, details


def describe(
    args: argparse.Namespace, work: Work, real: RealImages, details: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Everything that must be known to compare these numbers with others."""
    settings = work.settings
    drawn_with = {about["sample_weights"] for about in details.values() if "sample_weights" in about}
    return {
        **real.description,
        "metrics": list(settings.groups),
        "n_samples": args.n_samples,
        "n_loss_images": min(args.n_loss_images, len(real.held_out)),
        "sampler": work.sampler.describe(),
        "steps": work.sampler.steps if work.sampler.name != "ddpm" else "all",
        "eta": work.sampler.eta if work.sampler.name != "ddpm" else "",
        "sample_weights": ", ".join(sorted(drawn_with)),
        "sample_precision": work.precision,
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
