"""evaluation.png: how each row differs from the first, and where along scales and timesteps. matplotlib is optional."""

import math
from functools import partial
from pathlib import Path
from typing import Any

from mindiffusion.evaluation.measures import SHOWN
from mindiffusion.evaluation.results import Result, heading
from mindiffusion.runtime.files import write_atomically
from mindiffusion.runtime.packages import installed

# Okabe and Ito's, safe for the colour-blind; the first row, the control, is grey as on the page of compare.py.
COLOURS = ("#555555", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00")
DASHES = ("-", (0, (7, 3)), (0, (2, 2)), (0, (7, 2, 2, 2)), (0, (12, 4)), (0, (4, 4)))
MARKERS = "osD^vP"
SCALES = {  # metrics that begin so make a line
    "swd_": {
        "title": "sliced Wasserstein distance per pyramid level",
        "xlabel": "pixels of the level: fine to coarse",
        "ylim": (0, None),
    },
    "spectrum_db_": {
        "title": "energy against real images",
        "xlabel": "cycles per image, from: coarse to fine",
        "ylabel": "dB",
    },
}


def plot_report(path: Path, results: list[Result], settings: dict[str, Any]) -> bool:
    """Draw the picture. False if matplotlib is missing."""
    if not installed("matplotlib"):
        return False
    from matplotlib.figure import Figure

    models = [each for each in results if each.about.get("kind") != "real"]
    metrics = [name for name, metric in SHOWN.items() if metric.label and name in models[0].metrics]
    names = [name for each in results for name in each.metrics]
    scales = [prefix for prefix in SCALES if any(name.startswith(prefix) for name in names)]
    curves = [partial(_points, results=results, prefix=prefix) for prefix in scales]
    asked = [(index, each) for index, each in enumerate(results) if each.about.get("terms")]
    curves += [partial(_losses, asked=asked)] if len(asked) > 1 else []
    compared = len(models) > 1 and metrics
    heights = [1.6 + 0.32 * len(models)] * bool(compared) + [3.8] * bool(curves)
    figure = Figure(figsize=(13, sum(heights) or 0.5), dpi=110, layout="constrained")
    parts = figure.subfigures(max(1, len(heights)), 1, height_ratios=heights or None, squeeze=False)[:, 0]
    if compared:
        _differences(parts[0], models, metrics)
    if curves:
        panels = parts[-1].subplots(1, len(curves), squeeze=False)[0]
        for axes, draw in zip(panels, curves, strict=True):
            draw(axes)
            axes.title.set_fontsize(9)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].legend(fontsize=8, frameon=False)
    by_status: dict[str, list[str]] = {}
    for each in models:
        by_status.setdefault(each.about.get("reference", "-"), []).append(each.name)
    words = "; ".join(f"{status}: {', '.join(names)}" for status, names in by_status.items())
    figure.suptitle(f"real images were {words}\n{heading(results, settings)}", fontsize=10)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))
    return True


def _differences(part: Any, models: list[Result], metrics: list[str]) -> None:
    """A panel per metric: each row's difference to the first one."""
    first, *others = models
    panels = part.subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for place, other in enumerate(others):
            if metric not in other.metrics:
                continue
            ours, base = other.metrics[metric], first.metrics[metric]
            half = math.hypot(ours.half, base.half)  # of two independent estimates
            style = {**_style(place + 1, other), "ls": ""}
            axes.errorbar(ours.value - base.value, place, xerr=None if math.isnan(half) else half, capsize=3, **style)
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


def _points(axes: Any, results: list[Result], prefix: str) -> None:
    """A line per row over the metrics that begin so, each a little to the side: equal ones can be told apart."""
    for index, result in enumerate(results):
        names = [name for name in result.metrics if name.startswith(prefix)]
        if not names:
            continue
        x = [place + 0.09 * (index - (len(results) - 1) / 2) for place in range(len(names))]
        estimates = [result.metrics[name] for name in names]
        halves = [0 if math.isnan(each.half) else each.half for each in estimates]
        axes.errorbar(x, [each.value for each in estimates], halves,
                      label=result.name, capsize=2, ms=5, **_style(index, result))  # fmt: skip
        axes.set_xticks(range(len(names)), [name.removeprefix(prefix) for name in names])
    axes.axhline(0, color="#999999", lw=0.8)
    axes.set(**SCALES[prefix])


def _losses(axes: Any, asked: list[tuple[int, Result]]) -> None:
    """The loss per timestep as a ratio to the first row's: the losses themselves span decades and coincide."""
    first = asked[0][1]
    for index, result in asked:
        terms, base = result.about["terms"], first.about["terms"]
        if len(terms) == len(base):  # those of another n_T have other timesteps
            middle = [(term["t_first"] + term["t_last"]) / 2 for term in terms]
            ratio = [term["loss"] / of_first["loss"] for term, of_first in zip(terms, base, strict=True)]
            axes.plot(middle, ratio, label=result.name, lw=1.8, **{**_style(index, result), "marker": ""})
    axes.set(title=f"denoising loss, relative to {first.name}", xlabel="timestep t", xscale="log")


def _style(index: int, result: Result) -> dict[str, Any]:
    if result.about.get("kind") == "real":
        return {"color": "#999999", "ls": ":", "marker": "x"}
    return {"color": COLOURS[index % 6], "ls": DASHES[index % 6], "marker": MARKERS[index % 6]}
