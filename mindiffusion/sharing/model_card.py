"""The README.md of an exported model: what it is, what it was trained on, how it did, and what may be done with it."""

import re
from contextlib import suppress
from typing import Any

from mindiffusion.checkpoints.checkpoint import LATEST
from mindiffusion.checkpoints.models import model_name
from mindiffusion.checkpoints.weights import AVERAGED, RAW, Weights, weights_digest
from mindiffusion.data.synthetic import SYNTHETIC
from mindiffusion.evaluation.measures import SHOWN
from mindiffusion.evaluation.results import rounded
from mindiffusion.reports.run_record import RunRecord, find_contents, read_record
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.plain_text import for_markdown, plain
from mindiffusion.sharing.evaluations import DOUBT, find_evaluations, how_measured, of_weights, read_evaluation
from mindiffusion.unet import NaiveUnet

LICENCE = """The code is MIT. The licence of the images decides about the weights, and this program does not know it.
CelebA, which the experiments of this repository use, is for non-commercial research only
(https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html), and so are models trained on it; its faces are of real people who
were not asked: do not use samples to identify or to deceive anybody."""
SYNTHETIC_LICENCE = "MIT, like the code: no photographs were used."
KINDS = {AVERAGED: "the moving average of training", RAW: "those of the last step, not averaged"}


def model_card(weights: Weights, about: dict[str, Any], net: NaiveUnet, licence: str = "") -> str:
    """Markdown, with the header that model hubs read. ``licence``: what the user says of it."""
    config = about["config"]
    parameters = sum(p.numel() for p in net.parameters())
    variant = for_markdown(config.get("title") or config.get("variant", "").upper() or "control")
    title = variant if config else "original minDiffusion checkpoint"
    synthetic = about["data"].get("kind") == SYNTHETIC
    known = re.sub(r"[^\w.-]+", "-", plain(licence).lower()) or ("mit" if synthetic else "unknown")
    if " " in licence:  # a sentence is the name of no licence that hubs know
        known = f"other\nlicense_name: {known}"
    size = config.get("image_size", 32)
    weights_text = KINDS.get(about["weights"], "those of the file that was imported")
    kind = f"{type(net).__name__} with {parameters:,} parameters, n_feat {net.n_feat}"
    words = f"Of the weights: {for_markdown(licence)}." if licence else SYNTHETIC_LICENCE if synthetic else LICENCE
    sections = [
        f"---\nlicense: {known}\ntags: [diffusion, ddpm]\n---\n\n# DDPM: {title}",
        f"A DDPM of {size}x{size} images, {title}. {kind}. The weights are {weights_text}.",
        "```bash\npython sample.py THIS_FOLDER -o samples.png\n```",
        "## Data\n\n" + _data_text(about["data"], config),
        *(["## Schedule\n\n" + _schedule_text(about, config)] if config else []),
        *([f"## Network\n\n{net.describe()}"] if net.describe() else []),
        "## Metrics\n\n" + _metrics_text(weights, about),
        "## Licence\n\n" + words,
    ]
    return "\n\n".join(sections) + "\n"


def _data_text(data: dict[str, Any], config: dict[str, Any]) -> str:
    if not data:
        return "Not known: the imported file says nothing about it. The original minDiffusion publishes CelebA models."
    if data["kind"] == SYNTHETIC:
        return f"{data['images']:,} synthetic two-feature images, drawn with seed {data['seed']}."
    crop, files = for_markdown(config["crop"]), for_markdown(data.get("files"))
    return f"{data['images']:,} images from a folder, crop {crop}, fingerprint {files}."


def _schedule_text(about: dict[str, Any], config: dict[str, Any]) -> str:
    """A row per stage, a column per value that stages have; then how far the training went."""
    stages = config["stages"]
    names = list(dict.fromkeys(name for stage in stages for name in stage))
    rows = [names, ["---"] * len(names)]
    rows += [[_cell(stage.get(name)) for name in names] for stage in stages]
    images = about["next_step"] * config["global_batch_size"]
    total = sum(stage["epochs"] for stage in stages)
    rest = (
        f"Trained for {about['next_epoch']} of {total} epochs, {images:,} images, in "
        f"{for_markdown(config['precision'])}. lr {config['lr']:g}, global batch {config['global_batch_size']}, "
        f"EMA decay {config['ema_decay']:g}, seed {config['seed']}; T = {config['n_T']}, betas "
        f"{config['betas'][0]:g} to {config['betas'][1]:g}."
    )
    return _table(rows) + "\n\n" + rest


def _metrics_text(weights: Weights, about: dict[str, Any]) -> str:
    """What metrics.csv, bands.csv and evaluations say of these very weights, if they are where runs put them."""
    record, parts = None, []
    with suppress(UserError):  # the run may have been moved away
        record = read_record(find_contents(weights.path))
        parts.append(_training_text(record, about["next_step"]))
    parts += _evaluation_text(weights, record)
    return "\n\n".join(filter(None, parts)) or "None are on record beside the weights."


def _training_text(record: RunRecord, step: int) -> str:
    """The losses of the run up to this step."""
    rows = [index for index, each in enumerate(record.metrics["step"]) if each <= step]
    if not rows:
        return ""
    at = {name: values[rows[-1]] for name, values in record.metrics.items()}
    text = f"Training mse at step {at['step']:,.0f}: {at['mse']:.4g}, over the timesteps of stage {at['stage']:.0f}."
    text += f" What is trained, a weighted loss: {at['loss']:.4g}." if record.is_weighted else ""
    bands = [loss for each, loss in zip(record.bands["step"], record.band_loss(), strict=True) if each <= step]
    return text + (f" Over all timesteps, on a fixed batch of training images: {bands[-1]:.4g}." if bands else "")


def _evaluation_text(weights: Weights, record: RunRecord | None) -> list[str]:
    """The table of what was measured on these weights, with what must be known about it; empty if there is none. What
    has no digest counts as theirs if these are the newest weights of the run."""
    files, results = [], []
    folder = record.folder if record else weights.path.resolve().parent
    with suppress(UserError):
        files = find_evaluations([folder])
    for path in files:
        with suppress(UserError):  # a file that is none
            results += read_evaluation(path)
    newest = record is not None and weights.path.name == LATEST
    names = {model_name(weights), record.title} if newest else set()
    answer = of_weights(results, {weights_digest(weights.state)}, names, folder)
    if not answer.result:
        return []
    metrics = answer.result.metrics
    columns = [name for name in SHOWN if name in metrics and SHOWN[name].label] or list(metrics)
    cells = [rounded(metrics[name]) for name in columns]
    reference = answer.result.about.get("reference")
    words = f"Measured on {answer.words}" if answer.words != DOUBT else f"An evaluation: {DOUBT}"
    words += f"; samples drawn by {for_markdown(how)}" if (how := how_measured(answer.result)) else ""
    words += f"; the real images were {for_markdown(reference)}." if reference else "."
    return [words, _table([list(map(for_markdown, columns)), ["---"] * len(columns), cells])]


def _table(lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else for_markdown(value)
