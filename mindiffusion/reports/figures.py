"""python -m mindiffusion.reports.figures contents_c_32

Draw a run's figures from its metrics.csv, bands.csv, config.json and checkpoints: figure_loss, figure_bands,
and of some networks one of their own: figure_channels (CS), figure_norms (CR). Training does so at the end of each
stage. The loss per band has one colour scale for all runs, so that the figures of two runs can be compared. Wants
matplotlib.
"""

import itertools
from pathlib import Path
from typing import Any

from mindiffusion.checkpoints.checkpoint import load_checkpoint
from mindiffusion.reports.run_record import RunRecord, find_contents, read_record
from mindiffusion.runtime.command_line import CommandLine, run_script
from mindiffusion.runtime.packages import require


def draw_figures(contents_dir: Path) -> list[Path]:
    """Draw all figures that this run has the data for; returns their files. UserError if it is no contents folder."""
    from mindiffusion.reports import figure_plots as plots  # wants matplotlib, which --help can do without

    record = read_record(contents_dir)
    if not record.metrics["stage"]:
        return []
    figures = {"loss": plots.loss_figure(record)}
    if record.bands["step"]:
        figures["bands"] = plots.bands_figure(record)
    name, of_network = plots.OF_NETWORK.get(record.config.get("network"), ("", None))
    if of_network and (saved := stage_checkpoints(record)):
        figures[name] = of_network(record, saved)
    paths = [contents_dir / f"figure_{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        plots.save_figure(figure, path)
    return paths


def stage_checkpoints(record: RunRecord) -> list[dict[str, Any]]:
    """The checkpoints kept at the ends of the stages so far, in order; up to the first that is missing."""
    paths = (record.checkpoints_dir / f"stage{stage}.pt" for stage in range(1, record.stages_begun + 1))
    return [load_checkpoint(path) for path in itertools.takewhile(Path.exists, paths)]


def main(argv: list[str] | None = None) -> None:
    """Draw the figures of the runs named on the command line."""
    parser = CommandLine(__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="contents_*_32 folders of runs to draw")
    args = parser.parse_args(argv)
    require("matplotlib", "drawing figures")
    for run in args.runs:
        for path in draw_figures(find_contents(run)):
            print(path)


if __name__ == "__main__":
    run_script(main)
