"""How many bits a model needs for a pixel: the variational bound, frequency by frequency.

    -log p(x) <= KL(q(u_1 | x) || p(u_1)) + sum over steps of 1/2 (SNR_s - SNR_t) (u_x - u_x_hat)^2 + E -log p(x | z_0)

The middle term is the divergence of the posterior from the sampler's step (Kingma et al. 2021, HS Eq. 7), which is a
sum over frequencies since both are diagonal there and `samplers.ancestral` has the posterior's variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bdbook.denoiser import Denoiser
from bdbook.pixels import ROUNDING, quantise
from bdbook.processes import Process
from bdbook.shapes import Images, PerImage
from bdbook.times import Time

# A signal-to-noise ratio that cannot matter to the bound.
NEGLIGIBLE_SNR = 1e-12


@dataclass(frozen=True)
class Bound:
    """Nats for each image: three tensors (B,), float64. total_bits: bits per dimension (B,)."""

    prior: PerImage
    steps: PerImage
    data: PerImage
    dimensions: int

    @property
    def total_bits(self) -> PerImage:
        return (self.prior + self.steps + self.data) / (self.dimensions * math.log(2))

    @property
    def mean(self) -> float:
        """Bits per dimension, mean over the images."""
        return self.total_bits.mean().item()

    @property
    def standard_error(self) -> float:
        """Of `mean`: the images' own spread and that of the draws."""
        return (self.total_bits.std() / math.sqrt(len(self.total_bits))).item()


@torch.no_grad()
def bound(
    denoiser: Denoiser,
    images: Images,
    generator: torch.Generator,
    steps: int | None = None,
    draws: int = 4,
    prior: tuple[Tensor, Tensor] | None = None,
) -> Bound:
    """An unbiased estimate of the bound of `ancestral` sampling in `steps` uniform steps.

    images: (B, C, *axes) in [-1, 1], taken as 8-bit images. steps: None for all of a table, else 1000. draws: steps
    drawn for each image, out of all. prior: mean and variance of u_1, as `oracle.Gaussian.marginal` gives them; None:
    standard normal. Raises for a degradation without noise, under which no image has a density.
    """
    process = denoiser.process
    if not isinstance(process, Process):
        raise ValueError(f"{process.name} has no noise that is Gaussian in a basis; its bound is infinite")
    if draws < 1:
        raise ValueError(f"draws was {draws}; expected at least 1")
    grid = process.times(steps).flip(0)
    # A process may begin without any noise: then its first noisy time stands for t = 0.
    first = 0 if (process.sigma(grid[0].item()) > 0).all() else 1
    if not (process.sigma(grid[first].item()) > 0).all():
        raise ValueError(f"{process.name} has no noise at t = {grid[first]:g}; its bound is infinite")
    x = quantise(images).to(images.device).double() / 127.5 - 1
    u = process.basis.forward(x)
    chances = _chances(process, grid[first:], u)
    summed = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for _ in range(draws):
        number = _spread(chances, len(x), generator)
        terms = _step(denoiser, process, x, u, grid[first + number + 1], grid[first + number], generator)
        summed += terms / chances[number].to(terms)
    return Bound(
        _prior(process, u, prior),
        summed / draws,
        _data(denoiser, process, x, grid[first].item(), generator),
        x[0].numel(),
    )


def _chances(process: Process, grid: Tensor, u: Tensor) -> Tensor:
    """How often to draw each step, (steps,) with sum 1: as its term would be for Gaussian data of these variances.

    Drawn uniformly, a few steps next to the data would carry the sum, and most estimates would miss them.
    """
    variance = u.var(0, correction=0, keepdim=True).cpu().clamp_min(ROUNDING)
    snr = process.snr(grid)
    # (SNR_s - SNR_t) times what a Wiener filter leaves of the variance.
    terms = ((snr[:-1] - snr[1:]) * variance / (snr[1:] * variance + 1)).flatten(1).sum(1)
    # The network is no Wiener filter: nowhere less often than half as often as the average.
    return 0.5 * terms / terms.sum() + 0.5 / len(terms)


def _spread(chances: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """count steps drawn with these chances, evenly spread over the images, which come in random order."""
    device = generator.device
    offset = torch.rand((), generator=generator, dtype=torch.float64, device=device).cpu()
    drawn = torch.searchsorted(chances.cumsum(0), (torch.arange(count) + offset) / count).clamp_max(len(chances) - 1)
    return drawn[torch.randperm(count, generator=generator, device=device).cpu()]


def _step(
    denoiser: Denoiser, process: Process, x: Tensor, u: Tensor, t: Tensor, s: Tensor, generator: torch.Generator
) -> Tensor:
    noise = torch.randn(x.shape, generator=generator, device=x.device)
    answer = denoiser.estimate(process.sample(x, t, noise).float(), t)
    # alpha (u_x_hat - u_x) is well conditioned where u_x_hat is not.
    error = (answer.mean(t).double() - process.alpha(t).to(u) * u) / process.sigma(t).to(u)
    after, before = process.snr(t), process.snr(s)
    lost = after == 0  # strong blur: alpha_t^2 has underflowed
    if (before[lost.expand_as(before)] > NEGLIGIBLE_SNR).any():
        raise ValueError(
            f"{process.name} loses a frequency at once, from SNR {before[lost.expand_as(before)].max():.2g} to 0: "
            "its bound needs smaller steps"
        )
    gained = torch.where(lost, 0.0, before / torch.where(lost, 1.0, after) - 1)
    return 0.5 * (gained.to(u) * error**2).flatten(1).sum(1)


def _prior(process: Process, u: Tensor, prior: tuple[Tensor, Tensor] | None) -> Tensor:
    mean, variance = (m.to(u) for m in (prior or (torch.zeros(()), torch.ones(()))))
    alpha, sigma = process.alpha(1.0).to(u), process.sigma(1.0).to(u)
    shift = alpha * u - mean
    terms = (sigma**2 + shift**2) / variance - 1 - torch.log(sigma**2 / variance)
    return 0.5 * terms.expand_as(u).flatten(1).sum(1)


def _data(denoiser: Denoiser, process: Process, x: Tensor, t: Time, generator: torch.Generator) -> Tensor:
    """-log of the probability of the 8-bit values, under a Gaussian around x0_hat as wide as the noise at t."""
    width = (process.sigma(t) / process.alpha(t)).square().mean().sqrt().item()
    noise = torch.randn(x.shape, generator=generator, device=x.device)
    guess = denoiser(process.sample(x, t, noise).float(), t).double()
    half = 1 / 255
    upper = torch.where(x > 1 - half, math.inf, (x + half - guess) / width)
    lower = torch.where(x < -1 + half, -math.inf, (x - half - guess) / width)
    # Of the two tails the one that does not round to 1.
    swap = lower > 0
    a, b = torch.where(swap, -upper, lower), torch.where(swap, -lower, upper)
    high: Tensor = torch.special.log_ndtr(b)
    low: Tensor = torch.special.log_ndtr(a)
    return -(high + torch.log1p(-torch.exp(low - high))).flatten(1).sum(1)
