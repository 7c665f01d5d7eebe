"""evaluation.png: how each row differs from the first, and where along scales and timesteps. matplotlib is optional."""

import math
from pathlib import Path
from typing import Any

from mindiffusion.evaluation.bootstrap import Estimate
from mindiffusion.evaluation.held_out import summary
from mindiffusion.evaluation.measures import SHOWN
from mindiffusion.evaluation.settings import Result
from mindiffusion.evaluation.terminal_table import heading
from mindiffusion.runtime.files import write_atomically
from mindiffusion.runtime.packages import installed

# Okabe and Ito's, safe for the colour-blind; the first row, the control, is grey as on the page of compare.py.
COLOURS = ("#555555", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00")
DASHES = ("-", (0, (7, 3)), (0, (2, 2)), (0, (7, 2, 2, 2)), (0, (12, 4)), (0, (4, 4)))
MARKERS = "osD^vP"


def plot_report(path: Path, results: list[Result], settings: dict[str, Any]) -> bool:
    """Draw the picture. False if matplotlib is missing."""
    if not installed("matplotlib"):
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    models = [each for each in results if each.about.get("kind") != "real"]
    metrics = [metric.name for metric in SHOWN.values() if metric.label and metric.name in models[0].metrics]
    curves = [draw for draw in (_levels, _spectrum, _loss) if draw(None, results)]
    height = 1.6 + 0.32 * len(models) if len(models) > 1 and metrics else 0
    figure = Figure(figsize=(13, height + (3.8 if curves else 0.5)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.subfigures(
        2 if height and curves else 1, 1, height_ratios=[height, 3.8] if height and curves else None
    )
    parts = list(parts) if height and curves else [parts]
    if height:
        _differences(parts[0], models, metrics)
    if curves:
        panels = parts[-1].subplots(1, len(curves), squeeze=False)[0]
        for axes, draw in zip(panels, curves, strict=True):
            draw(axes, results)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].legend(fontsize=8, frameon=False)
    statuses = {each.name: each.about.get("reference", "") for each in models}
    figure.suptitle(f"{summary(statuses)}\n{heading(results, settings)}", fontsize=10)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))
    return True


def difference(ours: Estimate, base: Estimate) -> Estimate:
    """``ours - base`` with the interval of two independent estimates: half-widths add as squares."""
    value = ours.value - base.value
    half = math.hypot((ours.high - ours.low) / 2, (base.high - base.low) / 2)
    return Estimate(value, value - half, value + half)


def _differences(part: Any, models: list[Result], metrics: list[str]) -> None:
    """A panel per metric: each row's difference to the first one."""
    first, *others = models
    panels = part.subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for place, other in enumerate(others):
            if metric not in other.metrics:
                continue
            gap = difference(other.metrics[metric], first.metrics[metric])
            half = gap.high - gap.value
            style = {"color": COLOURS[(place + 1) % len(COLOURS)], "fmt": MARKERS[(place + 1) % len(MARKERS)]}
            axes.errorbar(gap.value, place, xerr=None if math.isnan(half) else half, capsize=3, **style)
        axes.axvline(0, color=COLOURS[0], lw=1)
        labels = [each.name if axes is panels[0] else "" for each in others]
        axes.set_yticks(range(len(others)), labels, fontsize=9)
        axes.set_ylim(len(others) - 0.5, -0.5)
        axes.locator_params(axis="x", nbins=4)
        axes.set_title(f"{SHOWN[metric].label}, {SHOWN[metric].direction}", fontsize=8)
        axes.set_xlabel(f"{first.name}: {first.metrics[metric].value:.3g}", fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    part.suptitle(f"difference to {first.name} (0), with 95 % intervals over images, not over seeds", fontsize=9)


def _levels(axes: Any, results: list[Result]) -> bool:
    if axes is None:
        return any(name.startswith("swd_") for each in results for name in each.metrics)
    _points(axes, results, "swd_")
    axes.set_title("sliced Wasserstein distance per pyramid level", fontsize=9)
    axes.set(xlabel="pixels of the level: fine to coarse", ylim=(0, None))
    return True


def _spectrum(axes: Any, results: list[Result]) -> bool:
    if axes is None:
        return any("spectrum_db_1" in each.metrics for each in results)
    axes.axhline(0, color="#999999", lw=0.8)
    _points(axes, results, "spectrum_db_")
    axes.set_title("energy against real images", fontsize=9)
    axes.set(xlabel="cycles per image, from: coarse to fine", ylabel="dB")
    return True


def _points(axes: Any, results: list[Result], prefix: str) -> None:
    """A line per row over the metrics that begin so, each a little to the side: equal ones can be told apart."""
    for index, result in enumerate(results):
        names = [name for name in result.metrics if name.startswith(prefix)]
        if not names:
            continue
        x = [place + 0.09 * (index - (len(results) - 1) / 2) for place in range(len(names))]
        estimates = [result.metrics[name] for name in names]
        halves = [(each.high - each.low) / 2 for each in estimates]
        axes.errorbar(x, [each.value for each in estimates], [0 if math.isnan(h) else h for h in halves],
                      label=result.name, capsize=2, ms=5, **_style(index, result))  # fmt: skip
        axes.set_xticks(range(len(names)), [name.removeprefix(prefix) for name in names])


def _loss(axes: Any, results: list[Result]) -> bool:
    """The loss per timestep as a ratio to the first row's: the losses themselves span decades and coincide."""
    asked = [(index, each) for index, each in enumerate(results) if each.about.get("terms")]
    if axes is None:
        return bool(asked)
    first = asked[0][1]
    for index, result in asked:
        terms = result.about["terms"]
        if len(terms) != len(first.about["terms"]):
            continue
        middle = [(term["t_first"] + term["t_last"]) / 2 for term in terms]
        ratio = [term["loss"] / base["loss"] for term, base in zip(terms, first.about["terms"], strict=True)]
        style = _style(index, result)
        axes.plot(middle, ratio, color=style["color"], ls=style["ls"], lw=1.8)
    axes.set_title(f"denoising loss, relative to {first.name}", fontsize=9)
    axes.set(xlabel="timestep t", xscale="log")
    return True


def _style(index: int, result: Result) -> dict[str, Any]:
    if result.about.get("kind") == "real":
        return {"color": "#999999", "ls": ":", "marker": "x"}
    return {"color": COLOURS[index % 6], "ls": DASHES[index % 6], "marker": MARKERS[index % 6]}
