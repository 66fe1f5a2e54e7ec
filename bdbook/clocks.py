"""One clock per frequency: in the data's own units every process turns data into noise.

With the data's mean m and variance v per coefficient and S^2 = alpha^2 v + sigma^2, let

    y = (u - alpha m) / S,     tan phi = sigma / (alpha sqrt(v)).

y has mean 0 and variance 1 at every t, whatever the process, and phi, the clock of the coefficient, runs from 0 (data)
to pi / 2 (noise). Let F be what a spectrally preconditioned network says (`denoiser.Spectral`):

    x0_hat - m = sqrt(v) (cos phi y + sin phi F),     eps_hat = sin phi y - cos phi F.

Then the probability-flow equation is dy / dphi = -F, under every process. For Gaussian data F = 0 and y stands still.
Source: Salimans & Ho 2022 (v in angle), Lu & Song 2024 (TrigFlow), here with one angle per frequency: this book.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from bdbook.denoiser import Estimate, wiener
from bdbook.guesses import Guess, Moved
from bdbook.processes import Degradation, Process, Spectrum, ratio, require_basis, require_noise
from bdbook.shapes import Coefficients, PerFrequency, Scale
from bdbook.times import Time, expand


def angle(alpha: Scale, sigma: Scale, variance: Scale) -> Scale:
    """phi = atan2(sigma, alpha sqrt(v)), in [0, pi / 2], in the shape to which the three are broadcast.

    Where alpha = 0 it is pi / 2, without noise too: nothing is left of the data. Where v = 0 it is pi / 2 if there is
    noise, and 0 if there is none: a coefficient that never varies is known.
    """
    alpha, sigma, root = torch.broadcast_tensors(alpha, sigma.abs(), variance.sqrt())  # abs: a root may be -0
    return torch.where(alpha == 0, math.pi / 2, torch.atan2(sigma, alpha * root))


@dataclass(frozen=True)
class Turn:
    """A step of the clocks from t back to s, float64, per coefficient, (B, C|1, *axes|1).

    before, after: S_t, S_s. phi_t, phi_s: the clocks. turned: phi_t - phi_s. faded: cos phi_t / cos phi_s, what t has
    left of the signal that there is at s.
    """

    before: PerFrequency
    after: PerFrequency
    phi_t: PerFrequency
    phi_s: PerFrequency
    turned: PerFrequency
    faded: PerFrequency


def turn(process: Degradation, variance: Scale, t: Time, s: Time) -> Turn:
    """The step of the clocks for data of this variance, (1, C|1, *axes); s < t, and there must be noise at t."""
    alpha_t, sigma_t, alpha_s, sigma_s = process.coefficients(t, s)
    require_noise(process, sigma_t, "the flow in angles")
    variance = variance.to(alpha_t.device).double()
    signal_t, signal_s = alpha_t * variance.sqrt(), alpha_s * variance.sqrt()
    before, after = torch.hypot(signal_t, sigma_t), torch.hypot(signal_s, sigma_s)
    # The angle between the two, and not the difference of two angles near pi / 2, in which a faint signal is lost.
    turned = torch.atan2(sigma_t * signal_s - sigma_s * signal_t, signal_t * signal_s + sigma_t * sigma_s)
    faded = ratio(signal_t / before, signal_s / torch.where(after == 0, 1.0, after)).clamp_max(1)
    phi_t, phi_s = angle(alpha_t, sigma_t, variance), angle(alpha_s, sigma_s, variance)
    return Turn(before, after, phi_t, phi_s, turned, faded)


@dataclass(frozen=True)
class Flow:
    """The rule y_s = rho y_t + w F + sqrt(1 - rho^2) n; `samplers.flow` makes it and says what it is for.

    A rule that is more than degrade, carry, refresh: F weighs x0_hat otherwise than D(x0_hat, s) - c D(x0_hat, t) does,
    so there is a third number, `extra`,

        u_s = mean_s + c (u_t - mean_t) + e (x0_hat - m) + tau n,

    and the second order extrapolates F, and not x0_hat. Called with (process, t, s) it gives (c, tau).
    """

    spectrum: Spectrum
    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta was {self.eta}; expected 0 (no noise) to 1 (the noise of the reverse equation)")

    def __call__(self, process: Degradation, t: Time, s: Time) -> tuple[PerFrequency, PerFrequency]:
        """(c, tau) = (S_s (rho / S_t - w gain / deviation), S_s sqrt(1 - rho^2)), per frequency."""
        carry, refresh, _ = self._numbers(process, t, s)
        return carry, refresh

    def extra(self, process: Degradation, t: Time, s: Time) -> PerFrequency:
        """e = S_s w / deviation - (alpha_s - c alpha_t), per frequency."""
        carry, _, wanted = self._numbers(process, t, s)
        alpha_t, _, alpha_s, _ = process.coefficients(t, s)
        return wanted - (alpha_s - carry * alpha_t)

    def add(self, guess: Guess, t: Time, s: Time) -> Coefficients:
        """e (x0_hat - m), (B, C, *axes): from mean_s, which exists where x0_hat does not."""
        process, mean_s = guess.seen.require_process(), guess.mean(s)
        alpha_s = process.alpha(s)
        offset = alpha_s * self.spectrum.mean.to(alpha_s.device)
        return ratio(self.extra(process, t, s), alpha_s).to(mean_s) * (mean_s - offset.to(mean_s))

    def extrapolated(self, now: Estimate, before: Estimate, t: Time, s: Time) -> Guess:
        """The guess at which F is what the last two answers make it in the middle of the step, in common time."""
        process = now.seen.require_process()
        _, deviation = self.gain(process, t)
        change = self.velocity(now) - self.velocity(before)
        return Moved(now, (self.halfway(process, before.seen.t, t, s) * deviation).to(change) * change)

    def halfway(self, process: Degradation, r: Time, t: Time, s: Time) -> PerFrequency:
        """(t - s) / (2 (r - t)): how much of the last change of F there is to come until the middle of the step."""
        r, t, s = (expand(each, process.basis.dims) for each in (r, t, s))
        return (t - s) / (2 * (r - t))

    def velocity(self, answer: Estimate) -> Coefficients:
        """F = (x0_hat - m - gain (u_t - alpha_t m)) / deviation, (B, C, *axes), whatever the network predicts."""
        seen, mean = answer.seen, self.spectrum.mean.to(answer.seen.u_t)
        gain, deviation = self.gain(seen.require_process(), seen.t)
        missed = answer.predicts.x0(seen, answer.out) - mean - gain.to(mean) * (seen.u_t - seen.alpha * mean)
        return ratio(missed, deviation.to(mean).expand_as(missed))  # 0 where the data never vary

    def gain(self, process: Process, t: Time) -> tuple[PerFrequency, PerFrequency]:
        """`denoiser.wiener` of the spectrum at t: its gain, and its deviation sqrt(v) sin phi."""
        alpha = process.alpha(t)
        return wiener(alpha, process.sigma(t), self.spectrum.variance.to(alpha.device))

    def _numbers(self, process: Degradation, t: Time, s: Time) -> tuple[PerFrequency, PerFrequency, PerFrequency]:
        """(c, tau) and S_s w / deviation, what the step takes of x0_hat - m in all."""
        require_basis(process, self.spectrum.basis)
        step = turn(process, self.spectrum.variance, t, s)
        kept = step.faded ** (self.eta**2)
        weight = (1 + self.eta**2) * step.turned * (1 + kept) / 2
        alpha_t, sigma_t, _, _ = process.coefficients(t, s)
        gain, deviation = wiener(alpha_t, sigma_t, self.spectrum.variance.to(alpha_t.device))
        wanted = step.after * ratio(weight, deviation)
        return step.after * kept / step.before - wanted * gain, step.after * (1 - kept**2).clamp_min(0).sqrt(), wanted
