"""python evaluate.py checkpoints_32 checkpoints_c_32 --data-path REAL --eval-images 8001-9000 --output-dir evaluation

One table of metrics for models, and for folders of PNGs that stand in for them, against real images: in the terminal,
and as evaluation.csv, evaluation.json and, where matplotlib is installed, evaluation.png in --output-dir. A model is
named as for sample.py: a run's folder, a checkpoint file, or an export. Samples are those that sample.py draws.
For each row the table says whether the real images were held out of that model's training.

Each row is written as soon as it is measured. Cost: a network is asked about num_samples x steps images, and about
num_loss_images x 31 for loss and bpd: some minutes per model on 2 CPU cores at n_feat 32; it is told at the beginning.
The cheap question: --metrics swd color face_rate.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from mindiffusion.checkpoints.models import model_of
from mindiffusion.data.decode import CROPS
from mindiffusion.data.images import parse_range
from mindiffusion.data.synthetic import RECIPES
from mindiffusion.evaluation.image_statistics import describe_detector
from mindiffusion.evaluation.inception import METRICS, describe_inception, weights_file
from mindiffusion.evaluation.likelihood import bands
from mindiffusion.evaluation.measure import measure_floor, measure_folder, measure_model, questions
from mindiffusion.evaluation.measures import NAMES, SAMPLES, choose_measures, wanted
from mindiffusion.evaluation.plots import plot_report
from mindiffusion.evaluation.reference import RealImages, choose_data_path, load_real, note_reference
from mindiffusion.evaluation.results import CSV_NAME, JSON_NAME, Result, table_text, write_report
from mindiffusion.evaluation.settings import RESAMPLES, Settings, note
from mindiffusion.evaluation.subjects import Subject, choose_size, find_subjects, with_images
from mindiffusion.evaluation.swd import NORMALIZATIONS
from mindiffusion.runtime.command_line import CommandLine, run_script
from mindiffusion.runtime.distributed import process_group
from mindiffusion.runtime.env_file import read_env_file
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import check_output, prepare_output, remove_files
from mindiffusion.runtime.precision import resolve_precision, set_backend_flags
from mindiffusion.runtime.terminal import progress_bar
from mindiffusion.sampling import TO_MEASURE, add_drawing_flags, chosen_sampler

FLOOR = "real"  # the name of the row of real images
PLOT_NAME = "evaluation.png"
DATA_DEFAULT = "(default: what models of synthetic images were trained on, else CELEBA_PATH)"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line. Exits with code 2 and a message on a bad one."""
    parser = CommandLine(__doc__)
    parser.add_argument("subjects", type=Path, nargs="+", metavar="MODEL_OR_FOLDER", help="models, or folders of PNGs")
    parser.add_argument("--names", nargs="+", help="what to call them (default: the variant, or the file's name)")
    parser.add_argument("--data-path", help=f"real images: a folder, or {', '.join(RECIPES)} {DATA_DEFAULT}")
    parser.add_argument(
        "--eval-images", metavar="A-B", help="of the sorted folder (default: 10,000 at most, not trained on if known)"
    )
    parser.add_argument("--crop", choices=tuple(CROPS), default="square", help="of real images (default: square)")
    parser.add_argument("--skip-bad-images", action="store_true", help="leave out unreadable real images")
    parser.add_argument("--num-samples", type=int, default=1000, help="images to draw or read (default: 1000)")
    parser.add_argument("--num-loss-images", type=int, default=1000, help="real ones for loss and bpd (default: 1000)")
    parser.add_argument("--metrics", nargs="+", choices=NAMES, help="default: all that can be had")
    add_drawing_flags(parser, TO_MEASURE, batch_size=250)
    parser.add_argument("--swd-normalization", choices=NORMALIZATIONS, default="reference", help="default: reference")
    parser.add_argument("--inception-weights", type=Path, help="torch-fidelity's file (default: torch's cache)")
    parser.add_argument("--floor", action="store_true", help="also a row of real images that are not the reference")
    resamples = "of the bootstrap; 0 = none; of swd always 20 (default: 200)"
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help=resamples)
    parser.add_argument("--output-dir", type=Path, default=Path("evaluation"), help="default: evaluation")
    parser.add_argument("--overwrite", action="store_true", help="replace an evaluation that is there already")
    parser.add_argument("--no-plots", action="store_true", help="tables only")
    args = parser.parse_args(argv)
    if args.names and len(args.names) != len(args.subjects):
        parser.error(f"--names has {len(args.names)} names for {len(args.subjects)} models and folders.")
    for name, least in (("num_samples", 2), ("num_loss_images", 1), ("batch_size", 1), ("resamples", 0), ("seed", 0)):
        if getattr(args, name) < least:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}; it must be at least {least}.")
    args.sampler = chosen_sampler(parser, args, TO_MEASURE)
    try:
        args.places = parse_range(args.eval_images) if args.eval_images else None
    except ValueError:
        parser.error(f"--eval-images is {args.eval_images}; write it like 8001-9000: first and last file, from 1.")
    return args


def main(argv: list[str] | None = None) -> None:
    """Check everything, measure row by row, write, show."""
    args = parse_args(argv)
    outputs = [args.output_dir / name for name in (CSV_NAME, JSON_NAME, PLOT_NAME)]
    check_output(outputs, args.overwrite)
    read_env_file()
    subjects = find_subjects(args.subjects, args.names, args.raw_weights)
    size = choose_size(args.image_size, subjects)
    subjects = [with_images(each, size, args.crop, args.num_samples) for each in subjects]
    seen = [each.about.get("data") for each in subjects if each.weights]
    data_path = choose_data_path(args.data_path, seen)
    real = load_real(data_path, size, args.crop, args.places, args.num_samples, seen, args.skip_bad_images)
    counts = [args.num_samples if each.images is None else len(each.images) for each in subjects]
    with process_group(args.device) as ranks:
        if ranks.world_size > 1:
            raise UserError("evaluate.py runs as one process: start it with plain python.")
        found = {
            "image_size": size,
            "data_path": data_path,
            "fewest": min(len(real.images), *counts),
            "device": ranks.device,
            "precision": resolve_precision(args.precision, ranks.device),
        }
        asked = {item.name: getattr(args, item.name) for item in fields(Settings) if hasattr(args, item.name)}
        settings = Settings(**{**asked, **found})
        settings = replace(settings, measures=choose_measures(args.metrics, settings))
        of_images = [str(each.path) for each in subjects if not each.weights] + ["--floor"] * args.floor
        if of_images and not wanted(settings, SAMPLES):
            raise UserError(f"the metrics asked for are of a network, and {of_images[0]} is of images: leave it out.")
        if args.floor and real.num_others < 2:
            raise UserError(
                "--floor needs real images outside the reference, and that is the whole folder: choose a part of it "
                "with --eval-images, or leave --floor out (of make compare with FLOOR=)."
            )
        prepare_output(args.output_dir, outputs, args.overwrite)
        remove_files(filter(Path.exists, outputs[2:]))  # the plot of an evaluation that is replaced
        note_reference(real, args.places is not None, args.num_samples, args.num_loss_images)
        set_backend_flags("fp32", ranks.device)  # of all measures, not of the samples alone
        about = describe(settings, real)
        results: list[Result] = []
        for result in measured(settings, subjects, real, args.floor):
            results.append(result)
            write_report(args.output_dir, results, about)  # what comes later may fail
    print(table_text(results, about))
    if not args.no_plots and not plot_report(args.output_dir / PLOT_NAME, results, about):
        note("no plots: matplotlib is not installed (pip install -r requirements-eval.txt).")
    print(f"written to {args.output_dir}/: all metrics in {CSV_NAME}, with intervals in {JSON_NAME}")


def measured(settings: Settings, subjects: list[Subject], real: RealImages, floor: bool) -> Iterator[Result]:
    """The rows one by one, with a bar on a terminal and a line per row elsewhere."""
    total = sum(questions(settings, model_of(each.weights), len(real.images)) for each in subjects if each.weights)
    if total:
        note(f"networks will be asked about {total:,} noisy images in all.")
    with progress_bar(total, "measuring: ", unit=" img") as bar:
        for number, subject in enumerate(subjects, start=1):
            bar.set_description_str(f"{subject.name} ({number} of {len(subjects)})")
            if bar.disable:
                print(f"measuring {subject.name} ({number} of {len(subjects)}) ...", file=sys.stderr, flush=True)
            if subject.weights:
                yield measure_model(settings, subject, real, bar.update)
            else:
                yield measure_folder(settings, subject, real)
        if floor:
            yield measure_floor(settings, FLOOR, real)


def describe(settings: Settings, real: RealImages) -> dict[str, Any]:
    """Everything that must be known to compare these numbers with others."""
    return {
        **real.describe(),
        "metrics": list(settings.measures),
        "num_samples": settings.num_samples,
        "num_loss_images": min(settings.num_loss_images, len(real.images)),
        "sampler": settings.sampler.describe(),
        "sample_precision": settings.precision,
        "sampling": vars(settings.sampler),
        "swd_normalization": settings.swd_normalization,
        "resamples": settings.resamples,
        "seed": settings.seed,
        "loss_bands": bands(1000),
        "faces": describe_detector() if "face_rate" in settings.measures else None,
        "inception": describe_inception(weights_file(settings)) if settings.wanted(METRICS) else None,
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    run_script(main)
