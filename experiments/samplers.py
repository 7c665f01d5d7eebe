"""python -m experiments.samplers pretrained/p_1m_32 pretrained/c_32 --data-path CELEBA --eval-images 8001-9000 \\
    --samplers "ddim eta=1" "dpm eta=0 spacing=lambda" "dpm eta=1 spacing=t" --steps 10 20 50

What does the sampler do? Networks x samplers x numbers of evaluations, all from the same noise, in samplers.csv: a row
as soon as it is measured. A second call skips the rows that are there, and draws samplers.png anew: evaluations
against swd, a panel per network, a line per sampler; grey: real images that are not the reference, as far as there are
such. With no network named it only draws.

A sampler is written as its name and its settings, those of mindiffusion.sampling.Sampler. Each setting is drawn once:
- swd and swd_own: mean over levels, with the reference's scaling and with each set's own;
- color_error of the mean colour; contrast: the deviation of all pixels of [-1, 1]; contrast_real: the reference's;
- spectrum_db_1 ...: decibels by which an octave of spatial frequency is too strong (grain) or too weak (blur);
- face_rate: the share of samples in which a detector finds a face, where OpenCV is installed.
"""

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from experiments.networks import load_network, real_images
from experiments.tables import read_csv
from mindiffusion.checkpoints.weights import weights_digest
from mindiffusion.evaluation.measure import sample_row
from mindiffusion.evaluation.settings import Settings, to_float
from mindiffusion.runtime.command_line import CommandLine, run_script
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.packages import installed, require
from mindiffusion.sampling import Sampler, num_evaluations

WHAT = ("network", "weights", "sampler", "evaluations", "samples", "seed", "precision", "reference")  # names a row
MEASURES = ("swd", "swd_own", "color_error", "contrast", "contrast_real", "face_rate")
REAL = "real images"  # the row of those that are not the reference
MARKERS = "os^Dv*"
SAMPLERS = ("ddim eta=0", "ddim eta=1", "dpm eta=0", "dpm eta=1")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine(__doc__)
    parser.add_argument("networks", type=Path, nargs="*", help="exports, or the last checkpoints of finished runs")
    parser.add_argument("--names", nargs="+", help="of the networks, for table and figure (default: their files')")
    parser.add_argument("-o", "--output", type=Path, default=Path("studies/samplers"), help="default: studies/samplers")
    parser.add_argument("--data-path", help="default: CELEBA_PATH (.env or environment); 'synthetic' for that data")
    parser.add_argument("--eval-images", metavar="A-B", help="the reference, held out of training, e.g. 8001-9000")
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), help=f"default: {', '.join(SAMPLERS)}")
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 20, 50, 100], help="default: 10 20 50 100")
    parser.add_argument("--num-samples", type=int, default=500, help="default: 500")
    parser.add_argument("--batch-size", type=int, default=250, help="default: 250")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="default: fp32")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=False, help="each network, once")
    args = parser.parse_args(argv)
    args.names = args.names or [path.name for path in args.networks]
    if len(args.names) != len(args.networks) or len(set(args.names)) < len(args.names):
        parser.error("give each network a name of its own, with --names.")
    return args


def main(argv: list[str] | None = None) -> None:
    """Check everything, draw and measure what is missing, plot."""
    args = parse_args(argv)
    require("matplotlib", "a figure")
    args.output.mkdir(parents=True, exist_ok=True)
    table = args.output / "samplers.csv"
    if args.networks:
        measure_all(args, {text: [parse_sampler(text, n) for n in args.steps] for text in args.samplers}, table)
    plot(args.output / "samplers.png", read_csv(table))
    print(f"samplers.csv and samplers.png in {args.output}/")


def parse_sampler(text: str, steps: int) -> Sampler:
    """ "dpm eta=1 spacing=t" with so many steps. UserError for what is no sampler or none of its settings."""
    name, *settings = text.split()
    values = dict(setting.partition("=")[::2] for setting in settings)
    try:
        return Sampler(name, steps, **{key: _value(value) for key, value in values.items()})
    except TypeError:
        raise UserError(f"{text!r}: write a sampler's name and its settings, like 'ddim eta=1'.") from None


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def measure_all(args: argparse.Namespace, samplers: dict[str, list[Sampler]], table: Path) -> None:
    """A row of the table for each setting that it does not have."""
    size, real = 0, torch.empty(0)
    facts = (args.num_samples, args.seed, args.precision, args.eval_images or "all")
    for name, path in zip(args.names, args.networks, strict=True):
        network = load_network(path, args.precision, args.compile)
        if network.model.image_size != size:
            size = network.model.image_size
            images = real_images(args.data_path, args.eval_images, size, args.num_samples)
            real = images.images
            if images.num_others > 1:
                measure(table, (REAL, "", "", 0, *facts), real, partial(images.floor, args.num_samples))
        for text, each in samplers.items():
            for sampler in each[:1] if text.startswith("ddpm") else each:
                evaluations = num_evaluations(network.model, sampler)
                names = (name, weights_digest(network.model.weights.state)[:12], text, evaluations, *facts)
                draw = partial(network.draw, sampler, args.num_samples, args.seed, batch_size=args.batch_size)
                measure(table, names, real, draw)
        torch._dynamo.reset()  # it keeps 8 variants of one piece of code, and runs the ninth uncompiled


def measure(table: Path, names: tuple, real: Tensor, draw: Callable[[], Tensor]) -> None:
    """Add the row that WHAT's values ``names`` name, of the samples that ``draw`` gives, unless the table has it."""
    row = dict(zip(WHAT, names, strict=True))
    if any(all(old[key] == str(row[key]) for key in WHAT) for old in read_csv(table)):
        return
    row |= measures(draw(), real)
    append(table, row)
    numbers = "  ".join(f"{name} {row[name]:.3f}" for name in MEASURES if name in row)
    print(f"{row['network']}  {row['sampler']}, {row['evaluations']} evaluations: {numbers}", flush=True)


def measures(samples: Tensor, real: Tensor) -> dict[str, float]:
    """All measures of uint8 samples (N, 3, S, S) against uint8 real images (M, 3, S, S)."""
    names = ("swd", "color", "spectrum", *(["face_rate"] if installed("cv2") else []))
    settings = Settings(names, image_size=samples.shape[-1], resamples=0)
    own = replace(settings, measures=("swd",), swd_normalization="own")
    row = {name: estimate.value for name, estimate in sample_row(samples, real, settings).items()}
    row |= {"swd_own": sample_row(samples, real, own)["swd"].value}
    row |= {"contrast": float(to_float(samples).std()), "contrast_real": float(to_float(real).std())}
    return {name: value for name, value in row.items() if name in MEASURES or name.startswith("spectrum_db_")}


def append(table: Path, row: dict) -> None:
    """Add a row; what is in the file stays, so that two calls may write at a time and none is lost to a stop."""
    octaves = [name for name in row if name.startswith("spectrum_db_")]
    new = not table.exists()
    with open(table, "a", newline="") as file:
        writer = csv.DictWriter(file, (*WHAT, *MEASURES, *octaves), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})


def plot(path: Path, rows: list[dict[str, str]]) -> None:
    """Evaluations against swd: a panel per network, a line per sampler."""
    from matplotlib.ticker import NullLocator

    from mindiffusion.reports.figure_plots import GREY, log_ticks, new_figure, save_figure

    floor = next((float(row["swd"]) for row in rows if row["network"] == REAL), None)
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in rows:
        if row["network"] != REAL:
            lines = found.setdefault(row["network"], {})
            lines.setdefault(row["sampler"], []).append((int(row["evaluations"]), float(row["swd"])))
    if not found:
        raise UserError("there is nothing to draw yet: name networks.")
    samplers = list(dict.fromkeys(sampler for lines in found.values() for sampler in lines))
    evaluations = sorted({x for lines in found.values() for points in lines.values() for x, _ in points})
    columns = min(3, len(found))
    figure = new_figure(0.6 + 2.6 * -(-len(found) // columns))
    panels = figure.subplots(-(-len(found) // columns), columns, squeeze=False, sharex=True).flatten()
    for axes, (network, lines) in zip(panels, found.items(), strict=False):
        for index, sampler in enumerate(samplers):
            x, y = zip(*sorted(lines[sampler]), strict=True) if sampler in lines else ((), ())
            axes.plot(x, y, MARKERS[index % len(MARKERS)] + "-", color=f"C{index % 10}", label=sampler, markersize=4)
        if floor:
            axes.axhline(floor, color=GREY, linewidth=0.8)
        axes.set(xscale="log", yscale="log", title=network)
        axes.set_xticks(evaluations, evaluations, fontsize=7)
        axes.xaxis.set_minor_locator(NullLocator())
        log_ticks(axes.yaxis)
    for axes in panels[len(found) :]:
        axes.set_axis_off()
    figure.supxlabel("network evaluations per image", fontsize=10)
    figure.supylabel("swd: lower is better", fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    run_script(main)
