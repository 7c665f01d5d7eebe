"""evaluation.png: how each row differs from the first, and where along scales and timesteps. matplotlib is optional."""

import math
from pathlib import Path
from typing import Any

from mindiffusion.evaluation.bootstrap import Estimate
from mindiffusion.evaluation.held_out import summary
from mindiffusion.runtime.files import write_atomically
from mindiffusion.runtime.optional import installed

# Okabe and Ito's, safe for the colour-blind; the first row, the control, is grey as on the page of compare.py.
COLOURS = ("#555555", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00")
DASHES = ("-", (0, (7, 3)), (0, (2, 2)), (0, (7, 2, 2, 2)), (0, (12, 4)), (0, (4, 4)))
MARKERS = "osD^vP"
DIFFERENCES = (  # metric, what its axis says: all of them lower is better, but for the last
    ("swd", "swd (x 1000), lower is better"),
    ("color_error", "error of the mean colour, lower is better"),
    ("loss", "denoising loss, lower is better"),
    ("bpd", "bits/dim, lower is better"),
    ("face_rate", "share with a face, higher is better"),
)
Rows = dict[str, dict[str, Estimate]]


def plot_report(path: Path, rows: Rows, settings: dict[str, Any], details: dict[str, dict[str, Any]]) -> bool:
    """Draw the picture. False if matplotlib is missing."""
    if not installed("matplotlib"):
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    models = {name: row for name, row in rows.items() if details.get(name, {}).get("kind") != "real"}
    first = next(iter(models))
    metrics = [(name, text) for name, text in DIFFERENCES if name in models[first]]
    curves = [draw for draw in (_levels, _spectrum, _loss) if draw(None, rows, details)]
    columns = max(len(metrics), 1)
    height = 1.6 + 0.32 * len(models) if len(models) > 1 and metrics else 0
    figure = Figure(figsize=(13, height + (3.8 if curves else 0.5)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.subfigures(
        2 if height and curves else 1, 1, height_ratios=[height, 3.8] if height and curves else None
    )
    parts = list(parts) if height and curves else [parts]
    if height:
        _differences(parts[0], models, metrics, columns)
    if curves:
        panels = parts[-1].subplots(1, len(curves), squeeze=False)[0]
        for axes, draw in zip(panels, curves, strict=True):
            draw(axes, rows, details)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].legend(fontsize=8, frameon=False)
    statuses = {name: details.get(name, {}).get("reference", "") for name in models}
    figure.suptitle(
        f"{summary(statuses)}\n{settings['n_samples']:,} samples, {settings['sampler']}, "
        f"{settings['reference_images']:,} real images",
        fontsize=10,
    )
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))
    return True


def difference(ours: Estimate, base: Estimate) -> Estimate:
    """``ours - base`` with the interval of two independent estimates: half-widths add as squares."""
    value = ours.value - base.value
    half = math.hypot((ours.high - ours.low) / 2, (base.high - base.low) / 2)
    return Estimate(value, value - half, value + half)


def _differences(part: Any, models: Rows, metrics: list[tuple[str, str]], columns: int) -> None:
    """A panel per metric: each row's difference to the first one."""
    first, *others = models
    panels = part.subplots(1, columns, squeeze=False)[0]
    for axes, (metric, text) in zip(panels, metrics, strict=True):
        for place, name in enumerate(others):
            if metric not in models[name]:
                continue
            gap = difference(models[name][metric], models[first][metric])
            colour, marker = COLOURS[(place + 1) % len(COLOURS)], MARKERS[(place + 1) % len(MARKERS)]
            half = gap.high - gap.value
            bars = None if math.isnan(half) else half
            axes.errorbar(gap.value, place, xerr=bars, fmt=marker, color=colour, capsize=3)
        axes.axvline(0, color=COLOURS[0], lw=1)
        labelled = axes is panels[0]
        axes.set_yticks(range(len(others)), others if labelled else [""] * len(others), fontsize=9)
        axes.set_ylim(len(others) - 0.5, -0.5)
        axes.locator_params(axis="x", nbins=4)
        axes.set_title(text, fontsize=8)
        axes.set_xlabel(f"{first}: {models[first][metric].value:.3g}", fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    part.suptitle(f"difference to {first} (0), with 95 % intervals over images, not over seeds", fontsize=9)


def _levels(axes: Any, rows: Rows, details: dict[str, Any]) -> bool:
    if axes is None:
        return any("swd_32" in row or "swd_8" in row for row in rows.values())
    _points(axes, rows, "swd_")
    axes.set_title("sliced Wasserstein distance per pyramid level", fontsize=9)
    axes.set(xlabel="pixels of the level: fine to coarse", ylim=(0, None))
    return True


def _spectrum(axes: Any, rows: Rows, details: dict[str, Any]) -> bool:
    if axes is None:
        return any("spectrum_db_1" in row for row in rows.values())
    axes.axhline(0, color="#999999", lw=0.8)
    _points(axes, rows, "spectrum_db_")
    axes.set_title("energy against real images", fontsize=9)
    axes.set(xlabel="cycles per image, from: coarse to fine", ylabel="dB")
    return True


def _points(axes: Any, rows: Rows, prefix: str) -> None:
    """A line per row over the metrics that begin so, each a little to the side: equal ones can be told apart."""
    for index, (label, row) in enumerate(rows.items()):
        names = [name for name in row if name.startswith(prefix)]
        if not names:
            continue
        x = [place + 0.09 * (index - (len(rows) - 1) / 2) for place in range(len(names))]
        halves = [(row[name].high - row[name].low) / 2 for name in names]
        axes.errorbar(x, [row[name].value for name in names], [0 if math.isnan(h) else h for h in halves],
                      label=label, capsize=2, ms=5, **_style(index, label))  # fmt: skip
        axes.set_xticks(range(len(names)), [name.removeprefix(prefix) for name in names])


def _loss(axes: Any, rows: Rows, details: dict[str, Any]) -> bool:
    """The loss per timestep as a ratio to the first row's: the losses themselves span decades and coincide."""
    terms = {name: _terms(details.get(name, {})) for name in rows}
    terms = {name: each for name, each in terms.items() if each}
    if axes is None:
        return bool(terms)
    first = next(iter(terms))
    for index, name in enumerate(rows):
        if name not in terms or len(terms[name]) != len(terms[first]):
            continue
        middle = [(term["t_first"] + term["t_last"]) / 2 for term in terms[name]]
        ratio = [term["loss"] / base["loss"] for term, base in zip(terms[name], terms[first], strict=True)]
        style = _style(index, name)
        axes.plot(middle, ratio, color=style["color"], ls=style["ls"], lw=1.8)
    axes.set_title(f"denoising loss, relative to {first}", fontsize=9)
    axes.set(xlabel="timestep t", xscale="log")
    return True


def _terms(about: dict[str, Any]) -> list[dict[str, float]]:
    terms = about.get("terms", {})
    return terms.get("ema") or terms.get("raw") or []


def _style(index: int, label: str) -> dict[str, Any]:
    if label == "real":
        return {"color": "#999999", "ls": ":", "marker": "x"}
    return {"color": COLOURS[index % 6], "ls": DASHES[index % 6], "marker": MARKERS[index % 6]}
