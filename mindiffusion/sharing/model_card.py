"""The README.md of an exported model: what it is, what it was trained on, how it did, and what may be done with it."""

from pathlib import Path
from typing import Any

from torch import nn

from mindiffusion.checkpoints.weights import Weights
from mindiffusion.data.synthetic import SYNTHETIC
from mindiffusion.reports.run_record import RunRecord, evaluation_file, read_evaluation, read_record
from mindiffusion.runtime.errors import UserError

CELEBA_LICENCE = """The code is MIT. CelebA is for non-commercial research only (https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html),
and so are models trained on it. The faces are of real people who were not asked: do not use samples to identify or to
deceive anybody."""
SYNTHETIC_LICENCE = "MIT, like the code: no photographs were used."
VARIANTS = {
    "": "uniform timesteps (the control)",
    "c": "C: timestep curriculum",
    "p": "P: uniform timesteps and a preconditioned network",
    "cp": "CP: timestep curriculum and a preconditioned network",
    "s": "S: soft curriculum (weights of the loss) and a preconditioned network",
    "cs": "CS: timestep curriculum and channel sparsity with regrowth",
    "cr": "CR: timestep curriculum and Group L1",
}

# Of an evaluation, which has some sixty columns, what a reader of a card wants to know.
MAIN = ("name", "reference", "swd", "bpd", "face_rate", "color_error", "loss", "fid", "kid")


def model_card(weights: Weights, about: dict[str, Any], net: nn.Module) -> str:
    """Markdown, with the header that model hubs read."""
    config = about["config"]
    parameters = sum(p.numel() for p in net.parameters())
    title = VARIANTS.get(config.get("variant"), config.get("variant")) if config else "original minDiffusion checkpoint"
    synthetic = about["data"].get("kind") == SYNTHETIC
    licence = "mit" if synthetic else "other\nlicense_name: celeba-non-commercial-research"
    header = f"---\nlicense: {licence}\ntags: [diffusion, ddpm]\n---\n"
    size = config.get("image_size", 32)
    kind = f"{type(net).__name__} with {parameters:,} parameters, n_feat {net.n_feat}"
    intro = f"A DDPM of {size}x{size} images, {title}. {kind}."
    sections = [
        f"{header}\n# DDPM: {title}",
        intro + f" The weights are {_weights_text(about['weights'])}.",
        "```bash\npython sample.py THIS_FOLDER -o samples.png\n```",
        "## Data\n\n" + _data_text(about["data"], config),
        *(["## Schedule\n\n" + _schedule_text(about)] if config else []),
        *([f"## Channels\n\n{_births_text(net)}"] if hasattr(net, "channel_birth_stage") else []),
        "## Metrics\n\n" + _metrics_text(weights, about),
        "## Licence\n\n" + (SYNTHETIC_LICENCE if synthetic else CELEBA_LICENCE),
    ]
    return "\n\n".join(sections) + "\n"


def _weights_text(kind: str) -> str:
    known = {"averaged": "the moving average of training", "raw": "those of the last step, not averaged"}
    return known.get(kind, "those of the file that was imported")


def _data_text(data: dict[str, Any], config: dict[str, Any]) -> str:
    if not data:
        return "Not known: the imported file says nothing about it. The original minDiffusion publishes CelebA models."
    if data["kind"] == SYNTHETIC:
        return f"{data['images']:,} synthetic two-feature images, drawn with seed {data['seed']}."
    return (
        f"{data['images']:,} images from a folder, crop `{config['crop']}`, fingerprint `{data['files']}`. "
        "The experiments of this repository use CelebA."
    )


def _schedule_text(about: dict[str, Any]) -> str:
    config = about["config"]
    total = sum(stage["epochs"] for stage in config["stages"])
    lines = ["| stage | t/T | epochs | masked channels | lambda | power of the weight |", "|---|---|---|---|---|---|"]
    powers = config.get("weight_schedule")  # checkpoints from before it have none
    for index, stage in enumerate(config["stages"]):
        sparsity = f"{config['sparsity_schedule'][index]:.0%}" if config["sparsity_schedule"] else "-"
        lam = f"{config['lambda_schedule'][index]:.3g}" if config["lambda_schedule"] else "-"
        power = f"{powers[index]:g}" if powers else "-"
        times = f"{stage['t_min']:g} to {stage['t_max']:g}"
        lines.append(f"| {stage['name']} | {times} | {stage['epochs']} | {sparsity} | {lam} | {power} |")
    images = about["next_step"] * config["global_batch_size"]
    rest = (
        f"Trained for {about['next_epoch']} of {total} epochs, {images:,} images, in {config['precision']}. "
        f"Adam, lr {config['lr']:g}, global batch {config['global_batch_size']}, EMA decay {config['ema_decay']:g}, "
        f"seed {config['seed']}; T = {config['n_T']}, betas {config['betas'][0]:g} to {config['betas'][1]:g}."
    )
    return "\n".join(lines) + "\n\n" + rest


def _births_text(net: nn.Module) -> str:
    births = net.channel_birth_stage.tolist()
    counts = ", ".join(f"{births.count(stage)} in stage {stage}" for stage in sorted(set(births)) if stage > 0)
    return (
        f"{net.num_active} of {len(births)} bottleneck channels are active: {births.count(0)} from the start"
        + (f", then born {counts}" if counts else "")
        + ". The mask and the births are `channel_mask` and `channel_birth_stage` in model.safetensors."
    )


def _metrics_text(weights: Weights, about: dict[str, Any]) -> str:
    """What metrics.csv, bands.csv and an evaluation table say of this checkpoint, if they are where runs put them."""
    record = _record_of(weights.path)
    steps = record.metrics.get("step", []) if record else []
    rows = [index for index, step in enumerate(steps) if step <= about["next_step"]]
    if record is None or not rows:
        return "None are on record beside the weights."
    last = rows[-1]
    text = (
        f"Training mse at step {steps[last]:,.0f}: {record.metrics['mse'][last]:.4g}, over the timesteps of stage "
        f"{record.metrics['stage'][last]:.0f}."
    )
    measured = zip(record.bands["step"], record.band_loss(), strict=True)
    bands = [loss for step, loss in measured if step <= about["next_step"]]
    if bands:
        text += f" Over all timesteps, on a fixed batch of training images: {bands[-1]:.4g}."
    table = evaluation_file(record.folder)
    return "\n\n".join([text, *([_table(read_evaluation(table))] if table else [])])


def _record_of(checkpoint: Path) -> RunRecord | None:
    folder = checkpoint.resolve().parent
    contents = folder.with_name(folder.name.replace("checkpoints", "contents", 1))
    try:
        return read_record(contents) if contents != folder else None
    except UserError:  # a checkpoint that was moved away from its run
        return None


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(rows[0]) if rows else []
    if len(columns) > len(MAIN):
        columns = [column for column in MAIN if column in columns]
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, dict):  # with its interval
        value = value["value"]
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
