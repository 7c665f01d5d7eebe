"""python -m experiments.samplers CHECKPOINT --data-path CELEBA --eval-images 8001-9000: what does the sampler do?

The same weights and the same noise x_T under every sampler: DDIM with eta 0, 0.5 and 1 and 50, 100 and 250 steps, and
DDPM with all steps. Writes samplers.csv, a row per sampler, and samplers.png: a row of images per sampler, where each
column starts from the same x_T. Best with --precision bf16 --compile: 500 samples are 1.1 million network evaluations.

swd: mean over levels; color_error: of the mean colour; saturated: values that are black or full, in percent; face_rate:
share of samples in which a detector finds a face, where OpenCV is installed. The row "real": other real images.
"""

import torch
from torch import Tensor

from experiments.networks import MEASURES, held_out, load_network, network_flags, sample_measures
from experiments.strips import save_strips
from experiments.tables import write_csv
from mindiffusion.runtime.errors import run_script
from mindiffusion.runtime.optional import require
from mindiffusion.sampling import Sampler

COLUMNS = ("sampler", "eta", "steps", "samples", *MEASURES)


def main(argv: list[str] | None = None) -> None:
    """Draw and measure sampler by sampler; the files grow as it goes."""
    parser = network_flags(__doc__, samples=500)
    parser.add_argument("--etas", type=float, nargs="+", default=[0.0, 0.5, 1.0], help="of DDIM (default: 0 0.5 1)")
    parser.add_argument("--steps", type=int, nargs="+", default=[50, 100, 250], help="of DDIM (default: 50 100 250)")
    parser.add_argument("--no-ddpm", action="store_true", help="leave out DDPM with all its steps")
    parser.add_argument("--columns", type=int, default=16, help="of the picture (default: 16)")
    args = parser.parse_args(argv)
    require("matplotlib", "a figure")
    network = load_network(args.checkpoint, args.precision, args.compile)
    real = held_out(args, network)
    rows = [real_row(real.others, real.held_out, args.n_samples)] if len(real.others) > 1 else []
    strips: dict[str, Tensor] = {}
    samplers = [Sampler("ddim", steps, eta) for eta in args.etas for steps in args.steps]
    for sampler in samplers + [Sampler("ddpm")] * (not args.no_ddpm):
        images = network.draw(sampler, args.n_samples, args.seed)
        ddim = sampler.name == "ddim"
        about = {"sampler": sampler.name, "eta": sampler.eta if ddim else "", "samples": len(images)}
        about["steps"] = sampler.steps if ddim else network.n_T
        rows.append({**about, **sample_measures(images, real.held_out)})
        print(
            f"{sampler.describe()}: "
            + "  ".join(f"{name} {rows[-1][name]:.3f}" for name in MEASURES if name in rows[-1]),
            flush=True,
        )
        strips[label(sampler, rows[-1])] = images[: args.columns]
        write_csv(args.output / "samplers.csv", COLUMNS, rows)
        save_strips(args.output / "samplers.png", strips, title(rows))
    print(f"samplers.csv and samplers.png in {args.output}/")


def real_row(others: Tensor, reference: Tensor, count: int) -> dict:
    """What perfect samples would get: real images, evenly from those that are not the reference."""
    places = torch.linspace(0, len(others) - 1, min(count, len(others))).round().long()
    return {"sampler": "real", "samples": len(places), **sample_measures(others[places], reference)}


def label(sampler: Sampler, row: dict) -> str:
    """The name of a row of the picture."""
    name = f"eta {sampler.eta:g}, {sampler.steps} steps" if sampler.name == "ddim" else "DDPM, all steps"
    return f"{name}\nswd {row['swd']:.0f}"


def title(rows: list[dict]) -> str:
    """What was found: the best sampler."""
    best = min((row for row in rows if row["sampler"] != "real"), key=lambda row: row["swd"])
    name = f"DDIM, eta {best['eta']:g}, {best['steps']} steps" if best["sampler"] == "ddim" else "DDPM, all steps"
    return f"Same weights, same noise down a column. Lowest swd: {name} ({best['swd']:.0f})"


if __name__ == "__main__":
    run_script(main)
