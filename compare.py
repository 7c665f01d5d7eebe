"""python compare.py contents_32 contents_c_32 contents_cs_32 contents_cr_32 -o compare.html

Put runs side by side on one page: sample grids at equal images seen with a slider over the run, the curves, where the
configurations differ, and the evaluation table if there is one, in or beside the runs' folders or in the current one:
first run `python evaluate.py` on the same runs. The page needs no network and no server: open the file.
"""

import argparse
from pathlib import Path

from mindiffusion.config import flags_of_evaluation
from mindiffusion.reports.run_record import find_contents, read_record
from mindiffusion.runtime.command_line import CommandLine, run_script
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.files import prepare_output, write_atomically
from mindiffusion.runtime.terminal import command_of
from mindiffusion.sharing.compare_page import build_page
from mindiffusion.sharing.evaluations import find_evaluations
from mindiffusion.sharing.page_pictures import picture_section


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line. Exits with code 2 and a message on a bad one."""
    parser = CommandLine(__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="contents_*_32 folders, the control first")
    parser.add_argument("-o", "--output", type=Path, default=Path("compare.html"), help="default: compare.html")
    parser.add_argument(
        "--picture", nargs=2, metavar=("GRID", "CAPTION"), help="open the page with a grid of sample.py"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a page that is there already")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Read, build, write."""
    args = parse_args(argv)
    if args.output.suffix != ".html":
        raise UserError(f"--output is {args.output}; name an .html file.")
    records = [read_record(find_contents(path)) for path in args.runs]
    evaluations = find_evaluations([record.folder for record in records])
    prepare_output(args.output.parent, [args.output], args.overwrite)
    opening = picture_section(Path(args.picture[0]), args.picture[1]) if args.picture else ""
    page = build_page(records, evaluations, opening)
    write_atomically(args.output, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    runs = "1 run" if len(records) == 1 else f"{len(records)} runs"
    print(f"{runs} in {args.output}, {len(page) / 1e6:.1f} MB: open it in a browser")
    if evaluations:
        print(f"with the evaluation of {', '.join(map(str, evaluations))}")
    else:
        models = (record.checkpoints_dir for record in records)
        how = command_of("evaluate.py", *models, *flags_of_evaluation(records[0].config))
        print(f"without an evaluation table: none is beside the runs. To have one: {how}; then this with --overwrite")


if __name__ == "__main__":
    run_script(main)
