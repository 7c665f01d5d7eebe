"""python -m experiments.join_experts checkpoints_c_32/latest.pt checkpoints_c_32/stage4.pt --above 0.4 -o experts.pt

Make one checkpoint of two of the same run: the second answers for timesteps from --above * n_T on, the first below.
sample.py and evaluate.py take it like any other; it cannot be resumed.
"""

import argparse
from pathlib import Path

from mindiffusion.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from mindiffusion.experts import join
from mindiffusion.runtime.errors import UserError, run_script


def main(argv: list[str] | None = None) -> None:
    """Read, join, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("low", type=Path, help="checkpoint for low noise")
    parser.add_argument("high", type=Path, help="checkpoint for high noise")
    parser.add_argument("--above", type=float, required=True, help="fraction of n_T where the second takes over")
    parser.add_argument("-o", "--output", type=Path, default=Path("experts.pt"), help="default: experts.pt")
    args = parser.parse_args(argv)
    if args.output.exists():
        raise UserError(f"{args.output} is there already: choose another --output.")
    join_files(args.output, args.low, args.high, args.above)
    print(f"experts in {args.output}")


def join_files(output: Path, low: Path, high: Path, border: float) -> Path:
    """Write the joined checkpoint to ``output``, which is returned."""
    save_checkpoint(output, join(load_checkpoint(low), load_checkpoint(high), border))
    return output


if __name__ == "__main__":
    run_script(main)
