"""Held-out denoising loss per noise level, and the variational bound on the likelihood of held-out images.

The bound is eq. 5 of Ho et al. 2020 (arXiv 2006.11239) for the chain x_0 -> x_1 -> ... -> x_T in which x_0 is the image
and the first step has variance 1 - alphabar_1: alphabar_1 is alpha_0 * alpha_1 here, so that is two betas at once.
The variances of the reverse process are those the sampler draws with: beta_t, and 1 - alphabar_1 for the decoder.

Timesteps are stratified: each image meets one timestep of every stratum, so that both sums over t are unbiased, and the
draws depend on the seed and the image's place alone: all networks are asked the same questions.
"""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mindiffusion.ddpm import DDPM, eval_mode
from mindiffusion.evaluation.bootstrap import Row, bootstrap
from mindiffusion.evaluation.settings import Settings, to_float
from mindiffusion.runtime.precision import widest
from mindiffusion.runtime.rng import make_generator

NUM_BANDS = 10  # of equal width in t
STRATA_PER_BAND = 2  # 4 made the error of bpd 0.04 % smaller (two networks, 80 faces): that of images is all of it
LOW_STRATA = 12  # of the lowest band, growing geometrically: there the bound's terms change fast
BIN = 1.0 / 255.0  # half the distance of two 8-bit values in [-1, 1]


def network_row(process: DDPM, images: Tensor, settings: Settings) -> tuple[Row, list[dict[str, float]]]:
    """Held-out loss and bound of the network in ``process`` on uint8 images (N, 3, S, S), and the terms per stratum."""
    errors = held_out_errors(process, to_float(images), settings.seed, settings.sampler.clip_x0, settings.batch_size)
    columns: dict[str, Tensor] = {}
    if settings.wanted(("loss",)):
        for name, values in (("loss", errors.noise), ("loss_dc", errors.dc), ("loss_rest", errors.noise - errors.dc)):
            columns[name] = errors.mean_loss(values)
            columns |= {f"{name}_band{k + 1}": band for k, band in enumerate(errors.band_losses(values).T)}
    if settings.wanted(("bpd",)):
        columns["bpd"] = errors.bits_per_dim()
        columns |= {"bpd_L0": errors.nats[:, 0] / math.log(2), "bpd_LT": errors.prior_nats / math.log(2)}
    values = torch.stack(list(columns.values()), 1)
    return bootstrap(columns, lambda rows: rows.mean(0), values, settings=settings), errors.terms()


def bands(n_T: int) -> list[tuple[int, int]]:
    """The timesteps (first, last) of loss_band1 ... loss_band10."""
    return [(1 + n_T * k // NUM_BANDS, n_T * (k + 1) // NUM_BANDS) for k in range(NUM_BANDS)]


def timestep_strata(n_T: int) -> list[tuple[int, int]]:
    """(first, last) timestep of each stratum, from 1 to n_T. Stratum 0 is t = 1; none crosses a border of bands."""
    low_end = 1 + n_T // NUM_BANDS
    parts = NUM_BANDS * STRATA_PER_BAND
    starts = {1, 2} | {1 + n_T * k // parts for k in range(STRATA_PER_BAND, parts)}
    starts |= {round(2 * (low_end / 2) ** (k / LOW_STRATA)) for k in range(LOW_STRATA)}
    borders = [*sorted(start for start in starts if start <= n_T), n_T + 1]
    return [(first, after - 1) for first, after in itertools.pairwise(borders)]


def band_of(t: int, n_T: int) -> int:
    """The band (from 0) of timestep t: band k holds t with k * n_T / 10 < t <= (k + 1) * n_T / 10."""
    return (t - 1) * NUM_BANDS // n_T


@dataclass(frozen=True)
class HeldOutErrors:
    """What one network answered, per image and stratum, (N, K) float64 on the CPU, each a mean over pixels and colours.

    ``noise``: squared error of the noise, the training loss; ``dc``: its part in the mean of each colour channel, the
    rest being ``noise - dc``; ``nats``: the bound's term, one timestep's worth. ``prior_nats`` (N,) is L_T.
    """

    strata: list[tuple[int, int]]
    n_T: int
    noise: Tensor
    dc: Tensor
    nats: Tensor
    prior_nats: Tensor

    def widths(self) -> Tensor:
        """Timesteps per stratum (K,)."""
        return torch.tensor([last - first + 1 for first, last in self.strata], dtype=torch.float64)

    def band_losses(self, errors: Tensor) -> Tensor:
        """Mean over timesteps (N, 10) per image and band of ``noise`` or ``dc`` (N, K)."""
        bands = torch.tensor([band_of(first, self.n_T) for first, _ in self.strata])
        shares = torch.nn.functional.one_hot(bands, NUM_BANDS).double() * self.widths()[:, None]
        return errors @ (shares / shares.sum(0).clamp(min=1.0))

    def mean_loss(self, errors: Tensor) -> Tensor:
        """Mean over all timesteps (N,) per image of ``noise`` or ``dc``."""
        return errors @ (self.widths() / self.n_T)

    def bits_per_dim(self) -> Tensor:
        """The variational bound (N,) per image: L_0 + sum over t > 1 of L_{t-1} + L_T, in bits per value."""
        return (self.nats @ self.widths() + self.prior_nats) / math.log(2)

    def terms(self) -> list[dict[str, float]]:
        """Per stratum: its timesteps, the mean losses, and the mean term of the bound of one timestep, in bits/dim."""
        means = (each.mean(0).tolist() for each in (self.noise, self.dc, self.nats / math.log(2)))
        names = ("loss", "loss_dc", "bits_per_dim")
        return [
            {"t_first": first, "t_last": last, **dict(zip(names, values, strict=True))}
            for (first, last), *values in zip(self.strata, *means, strict=True)
        ]


@torch.no_grad()
def held_out_errors(
    process: DDPM, images: Tensor, seed: int = 0, clip_x0: bool = True, batch_size: int = 500
) -> HeldOutErrors:
    """Ask the network of ``process`` about images (N, C, S, S) in [-1, 1], of 8-bit values, on the CPU.

    ``clip_x0`` clips the estimate of the image in the bound, as the sampler does by default; the loss is never clipped.
    """
    strata, answers = timestep_strata(process.n_T), []
    with eval_mode(process):
        for index, (first, last) in enumerate(strata):
            t = torch.randint(first, last + 1, (len(images),), generator=make_generator(seed, "held-out t", index))
            eps = torch.randn(images.shape, generator=make_generator(seed, "held-out noise", index))
            batches = zip(*(each.split(batch_size) for each in (images, t, eps)), strict=True)
            answers.append(torch.cat([_ask(process, *batch, clip_x0) for batch in batches], 1))
    prior = prior_nats(images, float(_chain(process)[1][-1]))
    return HeldOutErrors(strata, process.n_T, *torch.stack(answers, 2), prior)


def _chain(process: DDPM) -> tuple[Tensor, Tensor]:
    """beta and alphabar of each timestep, (T + 1,) float64 on the CPU."""
    betas = process.sqrt_beta_t.cpu().double() ** 2
    return betas, (1.0 - betas).cumprod(0)


def _ask(process: DDPM, x: Tensor, t: Tensor, eps: Tensor, clip_x0: bool) -> Tensor:
    """noise, dc and nats, (3, B) float64 on the CPU, of a batch whose timesteps are all 1 or all larger."""
    betas, alphabar = _chain(process)
    x, steps, eps = (each.to(process.sqrtab.device) for each in (x, t, eps))
    x_t = process.q_sample(x, steps, eps)
    guess = process.eps_model(x_t, steps / process.n_T).float()
    wide = widest(guess.device)
    error = (guess - eps).to(wide)
    noise, dc = error.square().mean((1, 2, 3)), error.mean((2, 3)).square().mean(1)
    x0_hat = (x_t - process.sqrtmab[steps, None, None, None] * guess) / process.sqrtab[steps, None, None, None]
    if clip_x0:
        x0_hat = x0_hat.clamp(-1.0, 1.0)
    if int(t[0]) == 1:
        nats = decoder_nats(x, x0_hat, math.sqrt(1.0 - float(alphabar[1]))).mean((1, 2, 3))
    else:
        distance = (x0_hat.to(wide) - x.to(wide)).square().mean((1, 2, 3)).cpu().double()
        nats = step_nats(distance, t, betas, alphabar)
    return torch.stack([each.cpu().double() for each in (noise, dc, nats)])


def step_nats(x0_distance: Tensor, t: Tensor, betas: Tensor, alphabar: Tensor) -> Tensor:
    """L_{t-1} = KL(q(x_{t-1} | x_t, x_0) || N(mu(x_t, x0_hat), beta_t I)) per value in nats, for t >= 2 (B,).

    ``x0_distance`` (B,) is the mean squared error of x0_hat; ``betas`` and ``alphabar`` (T + 1,) float64 (eq. 7, 8).
    """
    ratio = (1.0 - alphabar[t - 1]) / (1.0 - alphabar[t])  # posterior variance over beta_t
    means_apart = alphabar[t - 1] * betas[t] ** 2 / (1.0 - alphabar[t]) ** 2 * x0_distance
    return 0.5 * (ratio - 1.0 - ratio.log() + means_apart / betas[t])


def prior_nats(images: Tensor, alphabar_T: float) -> Tensor:
    """L_T = KL(q(x_T | x_0) || N(0, I)) per value in nats, (N,) float64 on the CPU."""
    energy = images.double().square().mean((1, 2, 3)).cpu()
    return 0.5 * (alphabar_T * energy - alphabar_T - math.log(1.0 - alphabar_T))


def decoder_nats(x: Tensor, mean: Tensor, deviation: float) -> Tensor:
    """L_0 per value in nats, like x: -log of the mass that N(mean, deviation^2) gives to the 8-bit bin of x (eq. 13).

    The bins of black and full extend to infinity. Computed by logarithms of tails: no mass underflows to log 0.
    """
    wide = widest(x.device)
    c, h = (x.to(wide) - mean.to(wide)) / deviation, BIN / deviation
    near, far = torch.special.log_ndtr(h - c.abs()), torch.special.log_ndtr(-h - c.abs())
    inside = near + torch.log1p(-torch.exp(far - near))
    black, full = torch.special.log_ndtr(c + h), torch.special.log_ndtr(h - c)
    return -torch.where(x < -1.0 + BIN, black, torch.where(x > 1.0 - BIN, full, inside))
