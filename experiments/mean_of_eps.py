"""python -m experiments.mean_of_eps CHECKPOINT --data-path CELEBA --eval-images 8001-9000: why does eta 0 fail?

First, on held-out images: how the mean of the predicted noise in a colour channel follows that of the true noise, per
timestep (mean_of_eps.csv): slope and correlation over images and channels (1 and 1 for a network that sees it, 0 for
one that is blind), and the error's deviation over that of the true mean.

Then what sampling makes of it (mean_of_eps_chain.csv): the mean colour of x0_hat along chains of eta 0, 0.5 and 1 from
the same x_T: its deviation over images, in that of real images (spread, 1 is right); the error of its mean over images;
and its correlation with the mean colour of x_T, which tells how much of the chance colour of the noise has become the
colour of the image. Both are drawn in mean_of_eps.png.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from experiments.networks import Network, held_out, load_network, network_flags
from experiments.tables import write_csv
from mindiffusion.ddim import DDIM
from mindiffusion.evaluation.settings import to_float
from mindiffusion.runtime.errors import run_script
from mindiffusion.runtime.optional import require
from mindiffusion.runtime.rng import BlockNoise, make_generator
from mindiffusion.sampling import Sampler, draw_images

COLUMNS = ("t", "slope", "correlation", "error")
CHAIN_COLUMNS = ("eta", "t", "spread", "color_error", "correlation_with_x_T")
ETAS = (0.0, 0.5, 1.0)
TIMES = 40  # timesteps looked at, evenly spaced
BATCH = 250


def line_fit(x: Tensor, y: Tensor) -> tuple[float, float]:
    """(slope of y on x, correlation) of numbers (N,)."""
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    product = (x * y).sum()
    return float(product / (x * x).sum()), float(product / ((x * x).sum() * (y * y).sum()).sqrt().clamp(min=1e-30))


@torch.no_grad()
def means_of_noise(network: Network, images: Tensor, seed: int) -> list[dict]:
    """A row per timestep, from images (N, 3, S, S) in [-1, 1]."""
    process = network.process(Sampler())
    rows = []
    for t in torch.linspace(1, network.n_T, TIMES).round().long().tolist():
        eps = torch.randn(images.shape, generator=make_generator(seed, "mean of eps", t))
        answers = []
        for x, noise in zip(images.split(BATCH), eps.split(BATCH), strict=True):
            steps = torch.full((len(x),), t)
            x_t = process.q_sample(x.to(network.device), steps.to(network.device), noise.to(network.device))
            answers.append(process.eps_model(x_t, steps.to(network.device) / network.n_T).float().mean((2, 3)).cpu())
        truth, guess = eps.mean((2, 3)).flatten(), torch.cat(answers).flatten()
        slope, correlation = line_fit(truth, guess)
        error = float((guess - truth).std() / truth.std())
        rows.append({"t": t, "slope": slope, "correlation": correlation, "error": error})
    return rows


class WatchedDDIM(DDIM):
    """A DDIM that hands the channel means (B, 3) of every x0_hat to ``watch``, with the timestep."""

    watch: Callable[[int, Tensor], None]

    def predict(self, x: Tensor, step: int, clip_x0: bool) -> tuple[Tensor, Tensor]:
        """As DDIM's."""
        x0, eps = super().predict(x, step, clip_x0)
        self.watch(step, x0.mean((2, 3)).cpu())
        return x0, eps


def colours_of_chains(network: Network, reference: Tensor, eta: float, steps: int, count: int, seed: int) -> list[dict]:
    """A row per timestep of the chains of one eta; ``reference`` (M, 3, S, S) in [-1, 1]."""
    seen: dict[int, list[Tensor]] = {}
    plain = network.process(Sampler(steps=steps, eta=eta))
    process = WatchedDDIM(plain.eps_model, network.betas, network.n_T, steps=steps, eta=eta).to(network.device)
    process.watch = lambda t, means: seen.setdefault(t, []).append(means)
    start = BlockNoise(seed, "sample", 0, count).draw(network.shape).mean((2, 3))  # of the x_T that draw_images uses
    draw_images(process, network.shape, count, seed=seed, batch_size=BATCH)
    real = reference.mean((2, 3))
    rows = []
    for t, parts in seen.items():
        means = torch.cat(parts)
        rows.append(
            {
                "eta": eta,
                "t": t,
                "spread": float((means.std(0) / real.std(0)).mean()),
                "color_error": float((means.mean(0) - real.mean(0)).abs().mean()),
                "correlation_with_x_T": line_fit(start.flatten(), (means - means.mean(0)).flatten())[1],
            }
        )
    return rows


def main(argv: list[str] | None = None) -> None:
    """Measure both, write, draw."""
    parser = network_flags(__doc__, samples=500)
    parser.add_argument("--steps", type=int, default=50, help="of DDIM (default: 50)")
    args = parser.parse_args(argv)
    require("matplotlib", "a figure")
    network = load_network(args.checkpoint, args.precision, args.compile)
    reference = to_float(held_out(args, network).images)
    rows = means_of_noise(network, reference[: args.n_samples], args.seed)
    for row in rows:
        print("  ".join(f"{name} {row[name]:.3g}" for name in COLUMNS), flush=True)
    chains = []
    for eta in ETAS:
        chains += colours_of_chains(network, reference, eta, args.steps, args.n_samples, args.seed)
        print("at the end: " + "  ".join(f"{name} {chains[-1][name]:.3g}" for name in CHAIN_COLUMNS), flush=True)
    write_csv(args.output / "mean_of_eps.csv", COLUMNS, rows)
    write_csv(args.output / "mean_of_eps_chain.csv", CHAIN_COLUMNS, chains)
    plot(args.output / "mean_of_eps.png", rows, chains)
    print(f"mean_of_eps.csv, mean_of_eps_chain.csv and mean_of_eps.png in {args.output}/")


def plot(path: Path, rows: list[dict], chains: list[dict]) -> None:
    """Left what the network sees, right what the chains make of it."""
    from mindiffusion.reports.figure_style import BLUE, GREEN, GREY, ORANGE, new_figure, save_figure

    figure = new_figure(3.8)
    sees, makes = figure.subplots(1, 2)
    t = [row["t"] for row in rows]
    for name, color in (("slope", BLUE), ("correlation", ORANGE), ("error", GREY)):
        sees.plot(t, [row[name] for row in rows], color=color, label=name)
    high = [row["slope"] for row in rows if row["t"] > 0.7 * t[-1]]
    sees.set(xlabel="timestep t", ylim=(-0.05, max(1.1, *(row["error"] for row in rows))))
    sees.set_title(f"Mean of the noise per channel, predicted against true:\nslope {min(high):.2f} to {max(high):.2f} "
                   "at t > 0.7 T", fontsize=9)  # fmt: skip
    last = {}
    for eta, color in zip(ETAS, (ORANGE, GREEN, BLUE), strict=True):
        mine = [row for row in chains if row["eta"] == eta]
        makes.plot([row["t"] for row in mine], [row["spread"] for row in mine], color=color, label=f"eta {eta:g}")
        last[eta] = mine[-1]["spread"]
    makes.axhline(1, color=GREY, linewidth=0.8)
    makes.set(xlabel="timestep t (sampling goes to the left)", ylabel="spread of mean colours (real = 1)")
    ends = ", ".join(f"{spread:.2f} with eta {eta:g}" for eta, spread in last.items())
    makes.set_title(f"Mean colour of x0_hat along the chain:\nends at {ends}", fontsize=9)
    for axes in (sees, makes):
        axes.legend(fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    run_script(main)
