"""What a rule may put in the place of the denoiser's answer: a guess extrapolated from two answers, or clipped.

A guess is an `Estimate` or anything with its `seen` and `mean(r)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch

from bdbook.denoiser import Estimate, Observed
from bdbook.processes import Degradation, ratio
from bdbook.shapes import Coefficients, PerFrequency, Scale
from bdbook.times import Time


class Guess(Protocol):
    """What `samplers.step` asks of an estimate."""

    @property
    def seen(self) -> Observed: ...

    def mean(self, r: Time) -> Coefficients: ...


@dataclass(frozen=True)
class Extrapolated:
    """Two answers extrapolated to the middle of the next step: the guess now + k (now - before), per frequency.

    In place of an `Estimate` it makes a rule second order: ddim becomes DPM-Solver++(2M), ancestral its SDE form,
    each with one log-SNR per frequency. Source: Lu et al. 2022 Algorithm 2, here in a basis.
    """

    now: Estimate
    before: Estimate
    k: Scale

    @property
    def seen(self) -> Observed:
        return self.now.seen

    def mean(self, r: Time) -> Coefficients:
        """V' D(guess, r)."""
        now = self.now.mean(r)
        return now + self.k.to(now) * (now - self.before.mean(r))


@dataclass(frozen=True)
class Moved:
    """An answer whose x0_hat is moved by some coefficients, (B, C, *axes): the guess x0_hat + V by."""

    answer: Estimate
    by: Coefficients

    @property
    def seen(self) -> Observed:
        return self.answer.seen

    def mean(self, r: Time) -> Coefficients:
        """V' D(guess, r)."""
        mean = self.answer.mean(r)
        return mean + self.seen.require_process().alpha(r).to(mean) * self.by


@dataclass(frozen=True)
class Clipped:
    """A guess whose degraded image at s is clamped to the range it must lie in: |D(x, s)| <= D(1, s), per pixel.

    So it is for images in [-1, 1] and a degradation that takes averages, as blur does and as fading does. What is
    clamped still has its damped frequencies damped: x0_hat, where their errors are amplified, is never formed, and
    mean_t follows from mean_s by alpha_t / alpha_s <= 1. With DDPM it is the usual clipping of x0_hat. HS app. A.1
    leave open how to clip; this is this book's proposal.
    """

    guess: Guess
    s: Time

    @property
    def seen(self) -> Observed:
        return self.guess.seen

    @cached_property
    def mean_s(self) -> Coefficients:
        """V' clamp(D(guess, s))."""
        process, x_t = self.seen.process, self.seen.x_t
        limit = process.mean(torch.ones_like(x_t[:1]), self.s).clamp_min(0)
        image = process.basis.inverse(self.guess.mean(self.s))
        return process.basis.forward(torch.minimum(torch.maximum(image, -limit), limit))

    def mean(self, r: Time) -> Coefficients:
        """V' D(guess, r), for r no earlier than s."""
        process = self.seen.require_process()
        alpha_r, alpha_s = process.alpha(r), process.alpha(self.s)
        return torch.where(alpha_r == alpha_s, 1.0, ratio(alpha_r, alpha_s)).to(self.mean_s) * self.mean_s


def extrapolation(process: Degradation, r: Time, t: Time, s: Time) -> PerFrequency:
    """k = h / (2 h_before), h = l_s - l_t, h_before = l_t - l_r, l = log(alpha / sigma), for s < t < r.

    0 where nothing can be extrapolated: a frequency whose log-SNR stood still, or has no end (no noise at s, no
    signal left at r). float64, per frequency.
    """
    alpha_r, sigma_r, alpha_t, sigma_t = process.coefficients(r, t)
    _, _, alpha_s, sigma_s = process.coefficients(t, s)
    at_r, at_t, at_s = (torch.log(a / b) for a, b in ((alpha_r, sigma_r), (alpha_t, sigma_t), (alpha_s, sigma_s)))
    k = (at_s - at_t) / (2 * (at_t - at_r))
    return torch.where(torch.isfinite(k), k, 0.0)
