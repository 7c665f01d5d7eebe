"""python -m experiments.time_embedding CHECKPOINT --data-path CELEBA --eval-images 8001-9000: does bf16 cost timesteps?

The time embedding computed in fp32, as it is, against bf16, as autocast would: how many of the timesteps 1..T still
have an embedding of their own, the held-out loss per band of timesteps, and samples of the same weights and the same
noise with either. Everything else is in fp32, or in --precision bf16. Writes time_embedding.csv, a row per quantity,
and time_embedding.png. The weights have been trained with one of the two: with which, their run decides.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.networks import Network, held_out, load_network, network_flags, sample_measures
from experiments.tables import write_csv
from mindiffusion.evaluation.likelihood import held_out_errors
from mindiffusion.evaluation.settings import to_float
from mindiffusion.runtime.errors import run_script
from mindiffusion.runtime.optional import require
from mindiffusion.sampling import Sampler
from mindiffusion.unet import TimeSiren

COLUMNS = ("quantity", "fp32", "bf16", "change_percent")


class RoundedTime(nn.Module):
    """A TimeSiren whose matrix products are in bf16, whatever surrounds it: times (B,) in [0, 1] -> (B, D)."""

    def __init__(self, exact: TimeSiren):
        super().__init__()
        self.exact = exact

    def forward(self, t: Tensor) -> Tensor:
        """What autocast would compute: weights, times and outputs rounded to bf16, the sine of rounded numbers."""
        with torch.autocast(t.device.type, torch.bfloat16):
            return self.exact.lin2(torch.sin(self.exact.lin1(t.reshape(-1, 1))))


def set_rounding(net: nn.Module, rounded: bool) -> None:
    """Let every time embedding in ``net`` be rounded to bf16, or exact again."""
    for module in list(net.modules()):
        embedding = getattr(module, "timeembed", None)
        if isinstance(embedding, TimeSiren) and rounded:
            module.timeembed = RoundedTime(embedding)
        elif isinstance(embedding, RoundedTime) and not rounded:
            module.timeembed = embedding.exact


@torch.no_grad()
def distinct_embeddings(net: nn.Module, n_T: int) -> int:
    """How many of the embeddings of t = 1..n_T are different; the fewest, of several embeddings."""
    device = next(net.parameters()).device
    t = torch.arange(1, n_T + 1, device=device) / n_T
    found = [module.timeembed for module in net.modules() if hasattr(module, "timeembed")]
    return min(len(embedding(t).float().unique(dim=0)) for embedding in found)


def quantities(network: Network, reference: Tensor, n_loss: int, n_samples: int, steps: int, seed: int) -> dict:
    """{name: number} of the network as its embedding is now; ``reference`` uint8 (M, 3, S, S)."""
    errors = held_out_errors(network.process(Sampler()), to_float(reference[:n_loss]), seed)
    loss = errors.band_losses(errors.noise).mean(0).tolist()
    values: dict[str, float] = {"distinct_embeddings": distinct_embeddings(network.net, network.n_T)}
    values |= {f"loss_band{k + 1}": value for k, value in enumerate(loss)}
    return values | sample_measures(network.draw(Sampler(steps=steps), n_samples, seed), reference, seed)


def main(argv: list[str] | None = None) -> None:
    """Measure both, write, draw."""
    parser = network_flags(__doc__, samples=500)
    parser.add_argument("--n-loss-images", type=int, default=200, help="held-out images for the loss (default: 200)")
    parser.add_argument("--steps", type=int, default=50, help="of DDIM with eta 1 (default: 50)")
    args = parser.parse_args(argv)
    require("matplotlib", "a figure")
    network = load_network(args.checkpoint, args.precision, args.compile)
    reference = held_out(args, network).images
    sizes = args.n_loss_images, args.n_samples, args.steps, args.seed
    both = {}
    for name, rounded in (("fp32", False), ("bf16", True)):
        set_rounding(network.net, rounded)
        both[name] = quantities(network, reference, *sizes)
    rows = []
    for name, exact in both["fp32"].items():
        rounded = both["bf16"][name]
        change = 100 * (rounded / exact - 1) if exact else float("nan")
        rows.append({"quantity": name, "fp32": exact, "bf16": rounded, "change_percent": change})
        print(f"{name:<24}{exact:10.4g}{rounded:10.4g}{change:+8.2f} %")
    write_csv(args.output / "time_embedding.csv", COLUMNS, rows)
    plot(args.output / "time_embedding.png", rows, network.n_T)
    print(f"time_embedding.csv and time_embedding.png in {args.output}/")


def plot(path: Path, rows: list[dict], n_T: int) -> None:
    """The change of the loss per band."""
    from mindiffusion.reports.figure_style import BLUE, GREY, new_figure, save_figure

    bands = [row["change_percent"] for row in rows if row["quantity"].startswith("loss_band")]
    distinct = next(row["bf16"] for row in rows if row["quantity"] == "distinct_embeddings")
    swd = next(row for row in rows if row["quantity"] == "swd")
    figure = new_figure(3.2)
    axes = figure.subplots()
    axes.bar(range(1, len(bands) + 1), bands, color=BLUE)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_xticks(range(1, len(bands) + 1))
    axes.set(xlabel="band of timesteps, low noise to high", ylabel="change of the held-out loss by bf16 (%)")
    axes.set_title(
        f"In bf16 {distinct:,} of {n_T:,} timesteps keep an embedding of their own; "
        f"swd goes from {swd['fp32']:.1f} to {swd['bf16']:.1f}",
        fontsize=10,
    )
    save_figure(figure, path)


if __name__ == "__main__":
    run_script(main)
