"""python compare.py contents_32 contents_c_32 contents_cs_32 contents_cr_32 -o compare.html

Put runs side by side on one page: sample grids at equal images seen with a slider over the run, the curves, where the
configurations differ, and the evaluation table if there is one. The page needs no network and no server: open the file.
"""

import argparse
from pathlib import Path

from mindiffusion.reports.recovery_log import recovery_table
from mindiffusion.reports.run_record import read_record
from mindiffusion.runtime.errors import UserError, run_script
from mindiffusion.runtime.files import write_atomically
from mindiffusion.sharing.compare_page import build_page, find_evaluations, titles

LARGE = 50  # MB; a page that is slow to send and to open


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line. Exits with code 2 and a message on a bad one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contents", type=Path, nargs="+", help="contents_*_32 folders, the control first")
    parser.add_argument("-o", "--output", type=Path, default=Path("compare.html"), help="default: compare.html")
    parser.add_argument(
        "--evaluation",
        type=Path,
        action="append",
        help="evaluation.csv or .json (default: those in the folders and beside them)",
    )
    parser.add_argument(
        "--jpeg", type=int, metavar="QUALITY", help="recompress the grids to make the page smaller, 1 to 95"
    )
    args = parser.parse_args(argv)
    if args.jpeg is not None and not 1 <= args.jpeg <= 95:
        parser.error(f"--jpeg is {args.jpeg}; it must lie in 1..95.")
    return args


def main() -> None:
    """Read, build, write."""
    args = parse_args()
    if args.output.suffix != ".html":
        raise UserError(f"--output is {args.output}; name an .html file.")
    records = [read_record(folder) for folder in args.contents]
    evaluations = args.evaluation or find_evaluations(args.contents)
    page = build_page(records, evaluations, args.jpeg)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.output, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    megabytes = len(page) / 1e6
    hint = " (--jpeg 90 makes it smaller)" if megabytes > LARGE and not args.jpeg else ""
    for record, title in zip(records, titles(records), strict=True):
        if rows := record.recovery():
            print(f"{title}: {recovery_table(rows)}\n")
    runs = "1 run" if len(records) == 1 else f"{len(records)} runs"
    print(f"{runs} in {args.output}, {megabytes:.1f} MB{hint}")


if __name__ == "__main__":
    run_script(main)
