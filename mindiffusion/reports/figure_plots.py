"""What is on the figures of a run, see figures.py, and how all figures look. Wants matplotlib."""

import statistics
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from mindiffusion.checkpoints.weights import Weights, build_network
from mindiffusion.reports.bands import NUM_BANDS
from mindiffusion.reports.row_file import BANDS
from mindiffusion.reports.run_record import RunRecord
from mindiffusion.runtime.files import write_atomically
from mindiffusion.stages import changing_values

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"  # Okabe and Ito's, safe for the colour-blind
SEQUENTIAL = "cividis"  # light and dark stay apart for every kind of colour vision, and in print
WIDTH, DPI = 9.0, 110  # inches; 990 pixels, about the width of a README
MASKED, ACTIVE, BORN = "#E6E6E6", "#9CC3E0", BLUE
NORM_FLOOR = 1e-8  # exact zeros are drawn here on the logarithmic axis
BAND_LOSSES = (1e-3, 1.0)  # the colours' range, the same for all runs; what lies outside has the colour of the end


def loss_figure(record: RunRecord) -> Figure:
    """The training loss, which is over the timesteps of its stage, and the loss over all timesteps."""
    figure = new_figure(3.6)
    axes = figure.subplots()
    mark_stages(axes, record)
    images = record.metrics["images"]
    label = "mean squared error over the timesteps of the stage"
    axes.plot(images, record.metrics["mse"], color=BLUE, lw=1.5, marker=_marker(images), label=label)
    if record.is_weighted:
        axes.plot(images, record.metrics["loss"], color=GREY, lw=1.2, ls="-.", label="what is trained: a weighted loss")
    if record.bands["step"]:
        images = record.bands["images"]
        label = "the same over all timesteps (moving average of the weights)"
        axes.plot(images, record.band_loss(), color=ORANGE, lw=1.5, ls="--", marker=_marker(images), label=label)
    if any(record.metrics["penalty"]):
        penalty = [value or None for value in record.metrics["penalty"]]
        axes.plot(record.metrics["images"], penalty, color=GREEN, lw=1.2, ls=":", label="penalty")
    axes.set(yscale="log", ylabel="loss")
    log_ticks(axes.yaxis)
    axes.legend(fontsize=8, frameon=False)
    images_axis(axes, record)
    _title(figure, record, "training loss")
    return figure


def bands_figure(record: RunRecord) -> Figure:
    """Where along the noise levels the loss is: over the run, and at its last epoch."""
    figure = new_figure(4.0)
    over_time, now = figure.subplots(1, 2, width_ratios=(2.6, 1))
    table = [record.bands[name] for name in BANDS]
    images = record.bands["images"]
    edges = [2 * images[0] - images[1] if len(images) > 1 else 0, *images]
    heights = [index / NUM_BANDS for index in range(NUM_BANDS + 1)]
    mesh = over_time.pcolormesh(edges, heights, table, cmap=SEQUENTIAL, norm=LogNorm(*BAND_LOSSES))
    bar = figure.colorbar(mesh, ax=over_time, pad=0.01, extend="both", label="mean squared error of eps")
    log_ticks(bar.ax.yaxis)
    mark_stages(over_time, record, fontsize=7)
    over_time.vlines(record.stage_borders[1:-1], 0, 1, color="white", lw=1)
    over_time.set(ylabel="timestep t/T (1 = pure noise)")
    images_axis(over_time, record)
    now.stairs([row[-1] for row in table], heights, color=BLUE, lw=2, baseline=None)
    now.set(yscale="log", xlabel="timestep t/T", xlim=(0, 1), title="at the last epoch")
    now.title.set_fontsize(9)
    log_ticks(now.yaxis)
    _title(figure, record, "loss per band of timesteps, fixed batch")
    return figure


def channels_figure(record: RunRecord, saved: list[dict[str, Any]]) -> Figure:
    """Active channels over the run, and a map of which was born when. ``saved``: the stages' checkpoints so far."""
    births = saved[-1]["model"]["channel_birth_stage"].tolist()
    figure = new_figure(4.4)
    count, lattice = figure.subplots(2, 1, height_ratios=(1, 1.3))
    mark_stages(count, record)
    active = [sum(0 <= birth <= stage for birth in births) for stage in record.metrics["stage"]]
    count.plot([0, *record.metrics["images"]], [active[0], *active], color=BLUE, lw=2, drawstyle="steps-pre")
    count.set(ylabel="active channels", ylim=(0, len(births) * 1.08))
    images_axis(count, record)

    stages = range(1, len(record.config["stages"]) + 1)
    state = [[(0 <= birth <= stage) + (birth == stage) for birth in births] for stage in stages]
    colours, extent = ListedColormap([MASKED, ACTIVE, BORN]), (-0.5, len(births) - 0.5, stages[-1] + 0.5, 0.5)
    lattice.imshow(state, colours, vmin=0, vmax=2, aspect="auto", interpolation="nearest", extent=extent)
    begun = record.stages_begun
    born = [sum(birth == stage for birth in births) for stage in (0, *stages)]
    labels = [f"{s}: {born[s]} born" if s <= begun else f"{s}: to come" for s in stages]
    labels[0] = f"1: {born[0]} from the start"
    lattice.set_yticks(list(stages), labels)
    lattice.set(xlabel="bottleneck channel", ylabel="stage")
    keys = [Patch(color=c, label=t) for c, t in ((MASKED, "masked"), (ACTIVE, "active"), (BORN, "born in this stage"))]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    _title(figure, record, f"active bottleneck channels, of {len(births)}")
    return figure


def norms_figure(record: RunRecord, saved: list[dict[str, Any]]) -> Figure:
    """The penalty's weight per stage, and below it the median filter norm of each convolution at the end of each
    stage, as a number on its colour; of the weights themselves and not of their average. ``saved``: the stages'
    checkpoints so far."""
    norms = [layer_norms(each) for each in saved]
    layers, stages = list(norms[0]), record.config["stages"]
    figure = new_figure(2.4 + 0.22 * len(layers))
    top, axes = figure.subplots(2, 1, sharex=True, height_ratios=(1.2, 0.22 * len(layers)))
    schedule = [stage.get("lam", 0.0) for stage in stages]
    top.bar_label(top.bar(range(len(stages)), schedule, color=GREEN), fmt="%.2g", fontsize=8)
    top.set(ylabel="lambda", ylim=(0, 1.3 * max(schedule) or 1))

    medians = [[max(statistics.median_high(of[layer]), NORM_FLOOR) for of in norms] for layer in layers]
    norm = LogNorm(min(map(min, medians)), max(map(max, medians)))
    axes.imshow(medians, SEQUENTIAL, norm, aspect="auto", interpolation="nearest")
    for row, values in enumerate(medians):
        for column, value in enumerate(values):
            colour = "black" if norm(value) > 0.5 else "white"
            axes.text(column, row, f"{value:.2g}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_yticks(range(len(layers)), layers, fontsize=8)
    axes.set_xticks(range(len(stages)), [f"stage {index + 1}" for index in range(len(stages))])
    axes.set_xlim(-0.5, len(stages) - 0.5)
    axes.set_xlabel("median L2 norm of an output channel's weights, per convolution, at the end of each stage")
    _title(figure, record, "Group L1: lambda and filter norms per convolution")
    return figure


def layer_norms(checkpoint: dict[str, Any]) -> dict[str, list[float]]:
    """The L2 norm of each output channel of each convolution."""
    net = build_network(Weights(Path("checkpoint"), checkpoint["model"], checkpoint))
    return {name: norms.tolist() for name, norms in net.channel_norms().items()}


OF_NETWORK = {  # of the networks that have one: its name, and a function of the record and the stages' checkpoints
    "SparseNaiveUnet": ("channels", channels_figure),
    "RegNaiveUnet": ("norms", norms_figure),
}


def _marker(points: list[float]) -> str | None:
    return "o" if len(points) < 3 else None  # a single point makes no line


def _title(figure: Figure, record: RunRecord, what: str) -> None:
    data = record.config["data"]
    about = f"seed {record.config['seed']}, n_feat {record.config.get('n_feat')}, {data['images']:,} images"
    figure.suptitle(f"{record.title}: {what} ({about})", fontsize=10)


# --- how all figures look ---------------------------------------------------------------------------------------


def new_figure(height: float) -> Figure:
    """A figure of the common width. Without pyplot: nothing global is touched, and no window system is asked for."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


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
