"""The page of compare.py: what runs left in their contents folders, as one HTML file without outside references.

The page's own files lie beside this one: compare_page.html, .css and .js. The script finds its data, grids included, as
JSON in the page.
"""

import json
import math
from html import escape
from pathlib import Path
from typing import Any

from mindiffusion.config import identity_fields
from mindiffusion.reports.bands import band_names
from mindiffusion.reports.run_record import RunRecord
from mindiffusion.sharing.evaluation_html import evaluation_section
from mindiffusion.sharing.page_pictures import Pictures
from mindiffusion.sharing.recovery_section import recovery_section

MOST_POINTS = 1500  # of a curve; more cannot be seen
CURVES = (  # key, label, logarithmic, what to know about it
    (
        "band_mse",
        "loss over all timesteps",
        True,
        "Fixed batch, averaged weights: can be compared at any time.",
    ),
    ("mse", "training mse", True, "Over the timesteps of each run's own stage: compare runs of the same range only."),
    ("loss", "training loss", True, "mse and penalty, over the timesteps of each run's own stage."),
    ("penalty", "penalty", True, "The Group L1 part of the loss."),
    ("grad_norm", "gradient norm", True, "L2 norm of the whole gradient, mean over the logging interval."),
    ("images_per_s", "images per second", False, "Without grids and checkpoints."),
    ("active_channels", "active channels", False, "Bottleneck channels that are not masked."),
)
NOISE_FIELDS = (  # what decides how a grid is drawn
    *("seed", "num_samples", "image_size", "n_T", "betas"),
    *("sampler", "sample_steps", "sample_eta", "ema_decay"),
)
SCIENCE = identity_fields()  # what decides what is learned, with the data; the rest is place and machine


def build_page(records: list[RunRecord], evaluations: list[Path], pictures: Pictures | None = None) -> str:
    """The page as text. ``pictures``: how the grids are embedded, by default in few bytes, see page_pictures.py."""
    here = Path(__file__).parent
    named = list(zip(records, titles(records), strict=True))
    pictures = (pictures or Pictures()).fit([path for record in records for *_, path in record.grids()])
    data = {
        "runs": [_run_data(record, title, pictures) for record, title in named],
        "real": pictures.real([path for record in records for *_, path in record.grids()]),
        "curves": [dict(zip(("key", "label", "log", "note"), curve, strict=True)) for curve in CURVES],
        "bands": len(band_names()),
    }
    parts = {
        "STYLE": (here / "compare_page.css").read_text(encoding="utf-8"),
        "SCRIPT": (here / "compare_page.js").read_text(encoding="utf-8"),
        "TITLE": escape(" · ".join(titles(records))),
        "NOTES": "".join(f'<p class="note">{escape(note)}</p>' for note in notes(records)),
        "RECOVERY": "".join(recovery_section(record, title) for record, title in named),
        "CONFIG": config_table(records),
        "EVALUATION": "".join(evaluation_section(path) for path in evaluations),
        "DATA": json.dumps(data, allow_nan=False).replace("</", "<\\/"),  # no end tag may lie within a script
    }
    page = (here / "compare_page.html").read_text(encoding="utf-8")
    for name, text in parts.items():
        page = page.replace(f"<!--{name}-->", text)
    return page


def notes(records: list[RunRecord]) -> list[str]:
    """What makes a comparison of these grids unfair."""
    found = []
    for field in NOISE_FIELDS:
        values = [json.dumps(record.config.get(field)) for record in records]
        if len(set(values)) > 1:
            found.append(f"The grids are not drawn alike: {field} is {', '.join(values)}.")
    if len({json.dumps(record.config["data"], sort_keys=True) for record in records}) > 1:
        found.append("The runs are not of the same data.")
    return found


def config_table(records: list[RunRecord]) -> str:
    """All fields, a column per run: those that differ first, and highlighted where they decide what is learned."""
    flat = [_flatten(record.config) for record in records]
    names = list(dict.fromkeys(name for config in flat for name in config))
    differing = [name for name in names if len({json.dumps(config.get(name)) for config in flat}) > 1]
    differing.sort(key=lambda name: not _is_science(name))
    head = "".join(f"<th>{escape(title)}</th>" for title in titles(records))
    rows = []
    for name in [*differing, *(name for name in names if name not in differing)]:
        kind = "same" if name not in differing else "science" if _is_science(name) else "place"
        cells = "".join(f"<td>{escape(_cell(config.get(name)))}</td>" for config in flat)
        rows.append(f'<tr class="{kind}"><th>{escape(name)}</th>{cells}</tr>')
    return f"<table><thead><tr><th>field</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def titles(records: list[RunRecord]) -> list[str]:
    """The variants' names; with the folder around them where two runs are of one variant (two seeds, say)."""
    plain = [record.title for record in records]
    return [
        f"{title} in {record.folder.resolve().parent.name}" if plain.count(title) > 1 else title
        for title, record in zip(plain, records, strict=True)
    ]


def _run_data(record: RunRecord, title: str, pictures: Pictures) -> dict[str, Any]:
    stages, epoch_images = record.config["stages"], record.images_per_epoch
    grids = [
        {
            "epoch": epoch,
            "stage": stages[stage - 1]["name"],
            "images": epoch * epoch_images,
            "src": pictures.embed(path),
        }
        for stage, epoch, path in record.grids()
    ]
    columns = {**record.metrics, "band_mse": record.band_loss()}
    x = {"band_mse": record.bands.get("images", [])}
    curves = {}
    for key, *_ in CURVES:
        pairs = zip(x.get(key, record.metrics.get("images", [])), columns.get(key, []), strict=True)
        points = [pair for pair in pairs if math.isfinite(pair[1])]
        if any(value for _, value in points):
            curves[key] = thin(points)
    bands = [
        {"images": images, "loss": [_finite(record.bands[name][i]) for name in band_names()]}
        for i, images in enumerate(record.bands.get("images", []))
    ]
    return {
        "name": str(record.folder),
        "title": title,
        "epochs": sum(stage["epochs"] for stage in record.config["stages"]),
        "borders": record.stage_borders,
        "grids": grids,
        "curves": curves,
        "bands": bands,
    }


def thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MOST_POINTS points: the means of equal groups of neighbours, six digits each."""
    size = -(-len(points) // MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), max(size, 1))]
    return [tuple(float(f"{sum(axis) / len(axis):.6g}") for axis in zip(*group, strict=True)) for group in groups]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no other numbers


def _flatten(config: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if name == "data":
            flat |= {f"data.{key}": item for key, item in value.items()}
        else:
            flat[name] = value
    return flat


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list) and value and isinstance(value[0], dict):  # stages
        return "; ".join(f"{s['name']}: t {s['t_min']:g} to {s['t_max']:g}, {s['epochs']} epochs" for s in value)
    if isinstance(value, list):
        return ", ".join(_cell(item) for item in value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value) or "none"


def _is_science(name: str) -> bool:
    return name in SCIENCE or name.startswith("data.")
