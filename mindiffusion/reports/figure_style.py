"""How all figures look: size, colours, the stages behind the curves, and the way to a file."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from mindiffusion.reports.run_record import RunRecord
from mindiffusion.runtime.files import write_atomically
from mindiffusion.stages import changing_values

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


def mark_stages(axes: Axes, record: RunRecord, fontsize: int = 8) -> None:
    """Shade every second stage, and write above the axes which values it has that others have not."""
    borders = record.stage_borders
    for index, values in enumerate(changing_values(record.config["stages"])):
        left, right = borders[index : index + 2]
        if index % 2:
            axes.axvspan(left, right, color="#000000", alpha=0.06, lw=0, zorder=0)
        text = _stage_label(index + 1, values, (right - left) / borders[-1])
        place = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
        axes.annotate(text, ((left + right) / 2, 1.01), fontsize=fontsize, **place)
    axes.set_xlim(0, borders[-1])


def _stage_label(number: int, values: dict[str, float], share: float) -> str:
    """As much as fits over this share of the width."""
    if share < 0.05:
        return str(number)
    return "\n".join([f"stage {number}", *(f"{name} {value:.3g}" for name, value in values.items() if share >= 0.09)])


def log_ticks(axis: Axis) -> None:
    """Ticks of a logarithmic axis, after it has its data: 0.2 and not 2 x 10^-1, several of them within any range, and
    as far apart as their labels need: powers of ten, their 1, 2, 5, or even steps within less than a decade."""
    low, high = sorted(axis.get_view_interval())
    if low <= 0 or high < 8 * low:
        axis.set_major_locator(MaxNLocator(5))
    elif high < 1000 * low:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
    else:
        axis.set_major_locator(LogLocator(numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))


def images_axis(axes: Axes, record: RunRecord) -> None:
    """The x axis of everything that is plotted against the images seen."""
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel(f"images seen (an epoch has {record.images_per_epoch:,})")
