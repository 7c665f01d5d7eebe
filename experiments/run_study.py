"""python -m experiments.run_study experiments/specs/faces.py studies/faces --data-path CELEBA --wall-minutes 120

Train and evaluate every cell of a spec for every seed, all at equal images seen, and write tidy tables: results.csv (a
row per run, checkpoint and metric) and runs.csv (a row per run). A second call goes on where the first one ended: after
--wall-minutes, a crash, or Ctrl-C. Seeds come one after the other, so whatever is done is a comparison of all cells.

With --tables FOLDER the tables of an earlier sitting, on another machine perhaps, are grown: its runs are not made
again, and what is new is added to them. The folders of those runs need not be there.
"""

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from shlex import quote, split

from experiments.calls import Caller
from experiments.collect import collect
from experiments.harness import Harness
from experiments.spec import Study, load_spec, plan_text, stretched
from mindiffusion.data.images import SYNTHETIC, count_images, parse_range
from mindiffusion.runtime.command_line import CommandLine, run_script
from mindiffusion.runtime.env_file import read_env_file
from mindiffusion.runtime.errors import UserError


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine(__doc__)
    parser.add_argument("spec", type=Path, help="a file of experiments/specs")
    parser.add_argument("output", type=Path, help="folder of the study")
    parser.add_argument("--tables", type=Path, help="folder of tables to grow (default: those in the study's folder)")
    parser.add_argument("--data-path", help="default: the spec's, else CELEBA_PATH (.env or environment)")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: the spec's")
    parser.add_argument("--cells", nargs="+", help="only these (default: all)")
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16"),
        help="of training and samples (default: the spec's); fp32 on a CPU without bf16 instructions",
    )
    parser.add_argument("--images", type=int, help="seen by each run (default: the spec's)")
    parser.add_argument("--wall-minutes", type=float, default=float("inf"), help="stop then; a second call goes on")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores (default: 1)")
    parser.add_argument("--launcher", default=quote(sys.executable), help="e.g. 'torchrun --nproc_per_node=4'")
    parser.add_argument("--dry-run", action="store_true", help="list the runs and exit")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs is {args.jobs}; it must be at least 1.")
    return args


def main(argv: list[str] | None = None) -> None:
    """Plan, run what is missing, collect."""
    args = parse_args(argv)
    read_env_file()
    study = choose(load_spec(args.spec), args)
    if args.dry_run:
        print(plan_text(study))
        return
    output = args.output.resolve()
    tables = args.tables.resolve() if args.tables else output
    caller = Caller(time.monotonic() + 60 * args.wall_minutes, args.jobs)
    finished = 0
    try:
        harness = Harness(study, output, caller, split(args.launcher), args.tables and tables)
        finished = harness.run_all()
    finally:
        collect(output, tables)
    total = len(study.cells) * len(study.seeds)
    left = "" if finished == total else "; the wall budget is used: call again to go on"
    print(f"{finished} of {total} runs are done; tables in {args.tables or args.output}/results.csv and runs.csv{left}")


def choose(study: Study, args: argparse.Namespace) -> Study:
    """The spec with the command line's wishes. UserError for cells that it does not have, or data that is not there."""
    names = [cell.name for cell in study.cells]
    if unknown := set(args.cells or names) - set(names):
        raise UserError(f"the spec has no cell {', '.join(sorted(unknown))}.")
    cells = tuple(cell for cell in study.cells if cell.name in (args.cells or names))
    data_path = args.data_path or study.data_path or os.environ.get("CELEBA_PATH", "")
    if not data_path:
        raise UserError("no data: give --data-path, set CELEBA_PATH in .env, or use a spec of synthetic data.")
    if data_path != SYNTHETIC:
        data_path = os.path.abspath(os.path.expanduser(data_path))  # the runs start in the repository's folder
        for places in filter(None, (study.train_images, study.eval_images)):
            if not args.dry_run:
                count_images(data_path, places=parse_range(places))  # UserError if it has fewer
    seeds = tuple(args.seeds) if args.seeds else study.seeds
    if args.precision:  # of a flag that is given twice the later one counts
        flag = ("--precision", args.precision)
        study = replace(study, flags=(*study.flags, *flag), evaluate=(*study.evaluate, *flag))
    study = replace(study, cells=cells, seeds=seeds, data_path=data_path, images=args.images or study.images)
    if data_path == SYNTHETIC or not study.train_images:
        return study
    first, last = parse_range(study.train_images)
    return stretched(study, last - first + 1)


if __name__ == "__main__":
    run_script(main)
