"""How all figures look: size, colours, the stages behind the curves, and the way to a file."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullLocator

from mindiffusion.reports.run_record import RunRecord
from mindiffusion.runtime.files import write_atomically

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"  # Okabe and Ito's, safe for the colour-blind
SEQUENTIAL = "cividis"  # light and dark stay apart for every kind of colour vision, and in print
WIDTH, DPI = 9.0, 110  # inches; 990 pixels, about the width of a README


def new_figure(height: float) -> Figure:
    """A figure of the common width. Without pyplot: nothing global is touched, and no window system is asked for."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write the PNG, whole or not at all."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))


def mark_stages(axes: Axes, record: RunRecord, labels: bool = True) -> None:
    """Shade every second stage, and write above the axes which timesteps each trains on."""
    borders = record.stage_borders
    for index, stage in enumerate(record.config["stages"]):
        left, right = borders[index : index + 2]
        if index % 2:
            axes.axvspan(left, right, color="#000000", alpha=0.06, lw=0, zorder=0)
        if labels:
            text = _stage_label(index + 1, stage, (right - left) / borders[-1])
            place = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
            axes.annotate(text, ((left + right) / 2, 1.01), fontsize=8, **place)
    axes.set_xlim(0, borders[-1])


def _stage_label(number: int, stage: dict[str, Any], share: float) -> str:
    """As much as fits over this share of the width."""
    if share < 0.05:
        return str(number)
    timesteps = f"{stage['t_min']:g} to {stage['t_max']:g}"
    return f"stage {number}\n{timesteps}" if share < 0.09 else f"stage {number}\nt/T {timesteps}"


def plain_log_ticks(axis: Axis) -> None:
    """0.2 and 0.5 on a logarithmic axis, not 2 x 10^-1 and 5 x 10^-1."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def sparse_log_ticks(axis: Axis) -> None:
    """The same with ticks as far apart as their labels need: all of 1, 2, 5 within two decades, then powers of ten."""
    low, high = axis.get_view_interval()
    plain_log_ticks(axis)
    if low > 0 and high / low > 100:
        axis.set_major_locator(LogLocator(numticks=9))


def images_axis(axes: Axes, record: RunRecord) -> None:
    """The x axis of everything that is plotted against the images seen."""
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel(f"images seen (an epoch has {record.images_per_epoch:,})")
