"""Rows of images, each with its name on the left: the same noise down a column, another network or sampler per row."""

from pathlib import Path

from torch import Tensor

from mindiffusion.runtime.files import write_atomically

PIXELS = 2  # of the figure per pixel of an image
GAP = 2  # pixels of an image between two rows
LABEL = 1.8  # inches
TITLE = 0.35  # inches
DPI = 100


def save_strips(path: Path, rows: dict[str, Tensor], title: str = "") -> None:
    """{name: uint8 images (N, 3, S, S)} as one PNG, a row per name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    strips = {name: images.permute(1, 2, 0, 3).flatten(2).permute(1, 2, 0).numpy() for name, images in rows.items()}
    height, width, _ = next(iter(strips.values())).shape
    top = TITLE if title else 0.0
    body = PIXELS * (height + GAP) * len(strips) / DPI
    figure = Figure(figsize=(LABEL + PIXELS * width / DPI, top + body), dpi=DPI)
    FigureCanvasAgg(figure)
    left = LABEL / figure.get_figwidth()
    share = body / (top + body) / len(strips)
    for index, (name, strip) in enumerate(strips.items()):
        bottom = body / (top + body) - (index + 1) * share
        axes = figure.add_axes((left, bottom, 1 - left, share * height / (height + GAP)))
        axes.imshow(strip, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        figure.text(0.95 * left, bottom + share / 2, name, ha="right", va="center", fontsize=9)
    if title:
        figure.text(0.01, 1 - top / (top + body) / 2, title, ha="left", va="center", fontsize=10)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))
