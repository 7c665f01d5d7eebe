"""python -m experiments.budget checkpoints_p_32 --data-path CELEBA --eval-images 8001-9000: what does a budget buy?

The networks at the ends of a run's stages, each sampled from the same noise. Writes budget.csv, a row per stage with
the images seen and the measures of samplers.py, and budget.png: a row of samples per stage. For runs that train on all
timesteps throughout. The learning rate has fallen to its end in the last row only: a run planned for fewer images ends
otherwise than the rows before. Best with --precision bf16 --compile.
"""

from pathlib import Path

from experiments.networks import MEASURES, held_out, load_network, network_flags, sample_measures
from experiments.strips import save_strips
from experiments.tables import write_csv
from mindiffusion.checkpoints.weights import read_weights
from mindiffusion.runtime.errors import UserError, run_script
from mindiffusion.runtime.optional import require
from mindiffusion.sampling import Sampler

COLUMNS = ("checkpoint", "images", "samples", *MEASURES)


def main(argv: list[str] | None = None) -> None:
    """Draw and measure stage by stage; the files grow as it goes."""
    parser = network_flags(__doc__, samples=500)
    parser.add_argument("--steps", type=int, default=50, help="of DDIM with eta 1 (default: 50)")
    parser.add_argument("--columns", type=int, default=16, help="of the picture (default: 16)")
    args = parser.parse_args(argv)
    require("matplotlib", "a figure")
    paths = sorted(args.checkpoint.glob("stage*.pt"), key=images_seen)
    if not paths:
        raise UserError(f"{args.checkpoint} holds no stage*.pt: name the folder checkpoints_*_32 of a run.")
    rows, strips = [], {}
    for path in paths:
        network = load_network(path, args.precision, args.compile)
        reference = held_out(args, network).images
        images = network.draw(Sampler(steps=args.steps), args.n_samples, args.seed)
        about = {"checkpoint": path.stem, "images": images_seen(path), "samples": len(images)}
        rows.append({**about, **sample_measures(images, reference)})
        strips[label(rows[-1])] = images[: args.columns]
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
        write_csv(args.output / "budget.csv", COLUMNS, rows)
        save_strips(args.output / "budget.png", strips)
    print(f"budget.csv and budget.png in {args.output}/")


def images_seen(path: Path) -> int:
    """How many images the network of a checkpoint was trained on, repetitions counted."""
    checkpoint = read_weights(path).checkpoint
    return checkpoint["next_step"] * checkpoint["config"]["global_batch_size"]


def label(row: dict) -> str:
    """The name of a row of the picture."""
    faces = f", faces in {row['face_rate']:.0%}" if "face_rate" in row else ""
    return f"{row['images']:,} images\nswd {row['swd']:.0f}{faces}"


if __name__ == "__main__":
    run_script(main)
