"""The exact Gaussian laboratory: for Gaussian data every denoiser, sampler and error is a closed form.

If the coefficients u_x are independent Gaussians, the best denoiser is a Wiener filter, a sampler is a linear
map with added Gaussian noise, and the law of its samples follows by propagating a mean and a variance per
frequency. No training, no sampling, no error bars.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bdbook.clocks import Flow, angle
from bdbook.denoiser import Denoiser, Spectral, wiener
from bdbook.guesses import extrapolation
from bdbook.processes import Process, check_count, ratio, require_basis
from bdbook.samplers import Rule, check_order, pairs, rule_of
from bdbook.shapes import AnyImages, Images, PerFrequency, Scale
from bdbook.times import Time
from bdbook.transforms import Basis

# Steps whose schedules are computed at once: fast for many small steps, and 64 planes of memory a term.
BLOCK = 64


@dataclass(frozen=True)
class Gaussian:
    """Data whose coefficients in `basis` are independent N(mean, variance): float64, (1, C|1, *axes)."""

    basis: Basis
    variance: Scale
    mean: Scale = None  # type: ignore[assignment]  # zeros: as many as there are variances

    if TYPE_CHECKING:

        def __init__(self, basis: Basis, variance: Scale, mean: Scale | None = None): ...

    def __post_init__(self) -> None:
        if not (self.variance >= 0).all():
            worst = self.variance.min().item()
            raise ValueError(f"variance had a negative or NaN entry, {worst:.3g}; expected v >= 0 per frequency")
        mean = torch.zeros_like(self.variance) if self.mean is None else self.mean
        object.__setattr__(self, "variance", self.variance.double())
        object.__setattr__(self, "mean", mean.double())

    @classmethod
    def fit(cls, basis: Basis, images: AnyImages) -> Gaussian:
        """Mean and variance of the coefficients of images (N, C, *axes), per channel and frequency, on the CPU."""
        u = basis.forward(images.double())
        return cls(basis, u.var(0, correction=0, keepdim=True).cpu(), u.mean(0, keepdim=True).cpu())

    def sample(self, count: int, generator: torch.Generator, channels: int = 1) -> Images:
        """count images, (count, channels, *axes) float64; as many channels as the variance has, if more than one."""
        shape = torch.broadcast_shapes((count, channels, *[1] * self.basis.dims), self.variance.shape)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        return self.basis.inverse(self.mean + self.variance.sqrt() * noise)

    def marginal(self, process: Process, t: Time) -> tuple[PerFrequency, PerFrequency]:
        """Mean and variance of u_t: alpha m, alpha^2 v + sigma^2."""
        require_basis(process, self.basis)
        alpha, sigma = process.alpha(t), process.sigma(t)
        return alpha * self.mean, alpha**2 * self.variance + sigma**2

    def clock(self, process: Process, t: Time) -> PerFrequency:
        """The clock phi = atan2(sigma, alpha sqrt(v)) of each frequency at t, from 0 (data) to pi / 2 (noise).

        float64, (T, C|1, *axes) for times (T,) or one. Where alpha = 0 it is pi / 2, and where v = 0 too as long as
        there is noise: see `clocks.angle`.
        """
        require_basis(process, self.basis)
        alpha = process.alpha(t)
        return angle(alpha, process.sigma(t), self.variance.to(alpha.device))

    def prediction(self) -> Spectral:
        """Spectral preconditioning with this spectrum."""
        return Spectral(self.mean, self.variance)

    def denoiser(self, process: Process) -> Denoiser:
        """The exact denoiser E[x0 | x_t]: spectral preconditioning around a network that says nothing.

        It is used by the samplers through the same code as a trained network.
        """
        require_basis(process, self.basis)
        return Denoiser(lambda x_t, t: torch.zeros_like(x_t), process, self.prediction())

    def sampler_error(
        self,
        process: Process,
        times: Tensor,
        rule: Rule | str,
        start: tuple[Tensor, Tensor] | None = None,
        order: int = 1,
    ) -> SamplerError:
        """The law of u at times[-1] when `rule` walks down `times` with the exact denoiser.

        start: (mean, variance) of u at times[0], per frequency; None for the exact marginal there, a pair of
        zeros and ones for a standard normal prior. The target is the exact marginal at times[-1], so that the
        error is the sampler's alone. order: as in `samplers.sample`.
        """
        grid = torch.tensor([*(t for t, _ in pairs(times)), float(times[-1])], dtype=torch.float64)
        return self.walk(process, grid, rule, start, order)

    def walk(
        self,
        process: Process,
        grid: Tensor,
        rule: Rule | str,
        start: tuple[Tensor, Tensor] | None = None,
        order: int = 1,
    ) -> SamplerError:
        """`sampler_error` for a grid that is a tensor to be differentiated by (`grids.tuned`)."""
        require_basis(process, self.basis)
        check_order(order)
        rule = rule_of(rule)
        mean, variance = self.marginal(process, grid[0]) if start is None else start
        # The walk is linear, so go up it from the end: what arrives of u_t, `weight`, and of what is remembered of the
        # step before, and of all the noise that was refreshed, and all that was added, on the way.
        weight = torch.ones(1, 1, *[1] * self.basis.dims, dtype=torch.float64)
        memory_weight, refreshed, shifted = (torch.zeros_like(weight) for _ in range(3))
        for begin in reversed(range(0, len(grid) - 1, BLOCK)):
            transfers = self._transfers(process, grid, begin, rule, order)
            if order == 1:  # nothing is remembered, and all steps of the block are taken at once
                _, _, a, _, o, tau = transfers
                after = weight * torch.cat([a[1:].flip(0).cumprod(0).flip(0), torch.ones_like(a[:1])])
                refreshed, shifted = refreshed + ((after * tau) ** 2).sum(0), shifted + (after * o).sum(0)
                weight = after[0] * a[0]
            else:
                for g, q, a, b, o, tau in zip(*(term.flip(0) for term in transfers)):
                    refreshed = refreshed + (weight * tau) ** 2
                    shifted = shifted + weight * o + memory_weight * q
                    weight, memory_weight = weight * a + memory_weight * g, weight * b
            # What is as good as nothing becomes nothing: denormal numbers would make the rest a hundred times slower.
            weight, memory_weight = (torch.where(w.abs() < 1e-100, 0.0, w) for w in (weight, memory_weight))
        variance = weight**2 * variance + refreshed
        arrived = weight * (mean - process.alpha(grid[0]) * self.mean) + shifted
        mean = process.alpha(grid[-1]) * self.mean + arrived
        target_mean, target_variance = self.marginal(process, grid[-1])
        shape = torch.broadcast_shapes(variance.shape, target_variance.shape)
        return SamplerError(*(m.expand(shape) for m in (mean, variance, target_mean, target_variance)))

    def _transfers(self, process: Process, grid: Tensor, begin: int, rule: Rule, order: int) -> tuple[Tensor, ...]:
        """(g, q, a, b, o, tau) of up to BLOCK steps from grid[begin], each (steps, 1, C|1, *axes|1).

        With e_t = u_t - alpha_t m, a step remembers p = g e_t + q (x0_hat_t - m; `Flow` remembers F), and with p of the
        step before the rule is e_s = a e_t + b p + o + tau n. q and o are 0 but for a flow with another mean than m.
        """
        t, s = grid[:-1][begin : begin + BLOCK], grid[1:][begin : begin + BLOCK]
        carry, refresh = rule(process, t, s)
        alpha_t, alpha_s = process.alpha(t), process.alpha(s)
        gain, _ = wiener(alpha_t, process.sigma(t), self.variance)
        guess = alpha_s - carry * alpha_t  # what the step takes of x0_hat
        zero = torch.zeros_like(guess)
        remembered, constant, unit, offset, halfway = gain, zero, torch.ones_like(guess), zero, extrapolation
        if isinstance(rule, Flow):
            (own, unit), extra, apart = rule.gain(process, t), rule.extra(process, t, s), self.mean - rule.spectrum.mean
            remembered, constant = ratio(gain - own, unit), ratio((1 - own * alpha_t) * apart, unit)
            guess, offset, halfway = guess + extra, extra * apart, rule.halfway
        k = zero.clone()
        if order == 2:
            known = slice(1 if begin == 0 else 0, None)  # the first step has no answer before it
            k[known] = halfway(process, grid[max(begin - 1, 0) :][: len(t[known])], t[known], s[known])
        moved = guess * k * unit  # what the step takes of the change of what is remembered
        a, o = carry + guess * gain + moved * remembered, offset + moved * constant
        return tuple(term.unsqueeze(1) for term in (remembered, constant, a, -moved, o, refresh))


@dataclass(frozen=True)
class SamplerError:
    """What a sampler draws and what it should draw: means and variances per frequency, float64, (1, C|1, *axes)."""

    mean: PerFrequency
    variance: PerFrequency
    target_mean: PerFrequency
    target_variance: PerFrequency

    @property
    def ratio(self) -> PerFrequency:
        """Sampled variance over true variance; 1 where neither varies."""
        return torch.where(self.variance == self.target_variance, 1.0, self.variance / self.target_variance)

    @property
    def kl(self) -> PerFrequency:
        """KL(sampled || true) per frequency, nats; their sum is the KL of the images."""
        r = self.ratio
        shift = (self.mean - self.target_mean) ** 2
        return 0.5 * (r - 1 - torch.log(r) + torch.where(shift == 0, 0.0, shift / self.target_variance))

    @property
    def w2(self) -> PerFrequency:
        """Squared 2-Wasserstein distance per frequency; their sum is that of the images."""
        spread = self.variance.sqrt() - self.target_variance.sqrt()
        return (self.mean - self.target_mean) ** 2 + spread**2


def ddim_share(steps: int) -> float:
    """r = cos(pi / (2 N))^(2 N): the largest share of a variance that N steps of `samplers.ddim` can leave.

    A step multiplies y by cos(phi_t - phi_s), the N angles sum to pi / 2 where the clock of a frequency runs from data
    to noise, and log cos is concave: equal angles leave most. 0 for a single step.
    """
    check_count(steps)
    return 0.0 if steps == 1 else math.cos(math.pi / (2 * steps)) ** (2 * steps)


def ddim_floor(frequencies: int, steps: int) -> float:
    """Least KL(sampled || true), nats, of N steps of DDIM on Gaussian data: d / 2 (r - 1 - ln r), r = `ddim_share`.

    For every process that is diagonal in the data's basis and every grid of times, if the clocks of all d frequencies
    (times channels) run the whole way from 0 to pi / 2; about d pi^4 / (64 N^2). It is reached by equal angles of all
    clocks together (`processes.equal_snr`). Clocks whose ends are cut, as by a log-SNR within +-10, can lie a little
    below; DDIM of order 2, and the rules that know the spectrum, are not bound by it. Source: this book.
    """
    share = ddim_share(steps)
    return math.inf if share == 0 else frequencies / 2 * (share - 1 - math.log(share))
