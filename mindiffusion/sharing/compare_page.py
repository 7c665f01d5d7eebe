"""The page of compare.py: what runs left in their contents folders, as one HTML file without outside references.

The page's own files lie beside this one: compare_page.html, .css and .js. The script finds its data, grids included, as
JSON in the page.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

from mindiffusion.checkpoints.models import told_apart
from mindiffusion.reports.row_file import BANDS, METRICS
from mindiffusion.reports.run_record import RunRecord
from mindiffusion.runtime.plain_text import for_html, plain
from mindiffusion.sharing.page_pictures import real_url, recovery_section, samples_url
from mindiffusion.sharing.page_tables import config_section, evaluation_section

CURVES = (  # key, label, logarithmic, what to know about it
    ("band_mse", "loss over all timesteps", True, "Fixed batch, averaged weights: can be compared at any time."),
    ("mse", "training mse", True, "Over the timesteps of each run's own stage: compare runs of the same range only."),
    ("loss", "training loss", True, "What is trained, over the timesteps of each run's own stage."),
    ("penalty", "penalty", True, "The part of the loss that is of the weights alone."),
    ("grad_norm", "gradient norm", True, "L2 norm of the whole gradient, mean over the logging interval."),
    ("images_per_s", "images per second", False, "Without grids and checkpoints."),
)
NOISE_FIELDS = (  # what decides how a grid is drawn
    *("seed", "num_samples", "image_size", "n_T", "betas"),
    *("sampler", "sample_steps", "sample_eta", "ema_decay"),
)


def build_page(records: list[RunRecord], evaluations: list[Path], opening: str = "") -> str:
    """The page as text, with what the files of ``evaluations`` say of the runs. ``opening``: HTML that comes first."""
    here = Path(__file__).parent
    names = titles(records)
    paths = [path for record in records for *_, path in record.grids()]
    data = {
        "runs": [_run_data(record, title) for record, title in zip(records, names, strict=True)],
        "real": real_url(paths),
        "curves": [dict(zip(("key", "label", "log", "note"), curve, strict=True)) for curve in curves_of(records)],
        "bands": len(BANDS),
    }
    several = f"{len(names)} training runs compared: {', '.join(names)}"
    text = json.dumps(data, allow_nan=False)  # within a script: no tag, no comment may begin there
    parts = {
        "STYLE": (here / "compare_page.css").read_text(encoding="utf-8"),
        "SCRIPT": (here / "compare_page.js").read_text(encoding="utf-8"),
        "TITLE": for_html(several if len(names) > 1 else f"A training run: {names[0]}", 1000),
        "NOTES": "".join(f'<p class="note">{for_html(note, 1000)}</p>' for note in notes(records)),
        "OPENING": opening,
        "RECOVERY": "".join(recovery_section(record, title) for record, title in zip(records, names, strict=True)),
        "CONFIG": config_section(records, names),
        "EVALUATION": evaluation_section(records, names, evaluations),
        "DATA": text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"),
    }
    page = (here / "compare_page.html").read_text(encoding="utf-8")
    return re.sub(r"<!--([A-Z]+)-->", lambda match: parts[match[1]], page)


def notes(records: list[RunRecord]) -> list[str]:
    """What makes a comparison of these grids unfair, and what is wrong with the runs' files."""
    found = [f"{record.folder.name}: {note}" for record in records for note in record.notes]
    for field in NOISE_FIELDS:
        values = [json.dumps(record.config.get(field)) for record in records]
        if len(set(values)) > 1:
            found.append(f"The grids are not drawn alike: {field} is {', '.join(values)}.")
    if len({json.dumps(record.config["data"], sort_keys=True) for record in records}) > 1:
        found.append("The runs are not of the same data.")
    return found


def titles(records: list[RunRecord]) -> list[str]:
    """The variants' names; where two runs are of one variant (two seeds, say), with a folder, the only part of a path
    on the page."""
    return told_apart([plain(record.title, 40) for record in records], [record.folder for record in records])


def _run_data(record: RunRecord, title: str) -> dict[str, Any]:
    stages, epoch_images = record.config["stages"], record.images_per_epoch
    grids = [
        {"epoch": epoch, "stage": stages[stage - 1]["name"], "images": epoch * epoch_images, "src": samples_url(path)}
        for stage, epoch, path in record.grids()
    ]
    columns, curves = {**record.metrics, "band_mse": record.band_loss()}, {}
    for key, *_ in curves_of([record]):
        images = (record.bands if key == "band_mse" else record.metrics)["images"]
        points = [pair for pair in zip(images, columns[key], strict=True) if math.isfinite(pair[1])]
        if any(value for _, value in points):
            curves[key] = points
    bands = []
    for images, *losses in zip(*(record.bands[name] for name in ("images", *BANDS)), strict=True):
        bands.append({"images": images, "loss": [loss if math.isfinite(loss) else None for loss in losses]})
    return {
        "name": plain(record.folder.resolve().name, 60),
        "title": title,
        "epochs": sum(stage["epochs"] for stage in record.config["stages"]),
        "borders": record.stage_borders,
        "grids": grids,
        "curves": curves,
        "bands": bands,
    }


def curves_of(records: list[RunRecord]) -> list[tuple[str, str, bool, str]]:
    """CURVES, and what else the runs have columns of in metrics.csv."""
    known = {*METRICS, *(key for key, *_ in CURVES)}
    more = dict.fromkeys(name for record in records for name in record.metrics if name not in known)
    return [*CURVES, *((name, plain(name.replace("_", " "), 40), False, "") for name in more)]
