"""How a linear denoiser learns: gradient flow in closed form, per time and frequency.

A network that multiplies each coefficient by a weight of its own, trained from w = 0 on the squared error of what it
predicts, gives

    x0_hat = m + gain (u_t - alpha m),   gain = best + (start - best) e^(-rate time),   rate = 2 (alpha^2 v + sigma^2).

The rate and the end are the same whatever it predicts; the start is not. `time` is learning rate times steps of the
squared error summed over the coefficients of an image at this t; for `losses.loss`, their mean, divide by their number.
Prior work: Wang & Pehlevan 2025, without blur; per parametrisation of a blurring process: this book.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bdbook.denoiser import Observed, Prediction, PredictLessBlurred, wiener
from bdbook.processes import Degradation, Process
from bdbook.samplers import Rule
from bdbook.schedules import vanishing
from bdbook.shapes import PerFrequency, Scale
from bdbook.times import Time
from bdbook.transforms import DCT


@dataclass(frozen=True)
class Descent:
    """The gradient flow of each weight, float64 (B, C|1, *axes) for B times.

    variance: v of the data. total: alpha^2 v + sigma^2, of what the network sees. start, best: the gain that a weight
    of 0 gives, and the Wiener filter's. scale: what a weight of 1 adds to the gain.
    """

    variance: PerFrequency
    total: PerFrequency
    start: PerFrequency
    best: PerFrequency
    scale: PerFrequency

    @property
    def rate(self) -> PerFrequency:
        return 2 * self.total

    @property
    def weight(self) -> PerFrequency:
        """The weight that training tends to; 0 where the network has no say."""
        silent = self.scale == 0
        return torch.where(silent, 0.0, (self.best - self.start) / torch.where(silent, 1.0, self.scale))

    def gain(self, time: float) -> PerFrequency:
        """What the guess of u_x - m is of u_t - alpha m after a training time of 0 or more."""
        _check_time(time)
        return self.best + (self.start - self.best) * vanishing(-self.rate * time)

    def error(self, gain: PerFrequency) -> PerFrequency:
        """Mean squared error of x0_hat beyond the best one's, over the variance of the data: 0 is learnt."""
        return (gain - self.best) ** 2 * self.total / self.variance

    def time_to(self, level: float) -> PerFrequency:
        """The training time after which the error is at most `level`."""
        if not level > 0:
            raise ValueError(f"level was {level}; expected an error above 0, which takes for ever")
        return torch.log(self.error(self.start) / level).clamp_min(0) / (2 * self.rate)


def _check_time(time: float) -> None:
    if not time >= 0:
        raise ValueError(f"the training time was {time}; expected 0 or more")


def descent(process: Process, t: Time, variance: Scale, prediction: Prediction) -> Descent:
    """The descent under `prediction` of data with this variance per coefficient, (1, C|1, *axes), at times t, (B,).

    Start and scale are read off `prediction.x0`, which is affine in what the network sees and says.
    """
    if isinstance(prediction, PredictLessBlurred):
        raise ValueError("LESS_BLURRED predicts no x0, so the error of its x0 is unknown; give another prediction")
    variance = variance.double()
    if not (variance > 0).all():
        raise ValueError(
            f"variance had an entry {variance.min().item():.3g}; expected v > 0, as errors are measured against it"
        )
    alpha, sigma = process.alpha(t), process.sigma(t)
    one = torch.ones_like(alpha * variance + sigma)
    zero = torch.zeros_like(one)

    def x0(u_t: Tensor, out: Tensor) -> Tensor:
        return prediction.x0(Observed(process, u_t, u_t, t), out)

    nothing = x0(zero, zero)  # the mean, where the prediction knows it
    start, scale = x0(one, zero) - nothing, x0(zero, one) - nothing
    best, _ = wiener(alpha, sigma, variance)
    total = alpha**2 * variance + sigma**2
    return Descent(variance.expand_as(one), total.expand_as(one), start, best.expand_as(one), scale)


def unfinished(rule: Rule, variance: Scale, prediction: Prediction, time: float) -> Rule:
    """A rule which, with the exact denoiser, draws what `rule` draws with the one that learnt for `time`.

    Write A = alpha_s - c alpha_t for the weight of the guess. The carry becomes c + A (gain - best) (alpha_t^2 v +
    sigma_t^2) / sigma_t^2: for EPS c + e^(-rate time) (alpha_s / alpha_t - c), the bias of chapter 12.
    """

    def changed(process: Degradation, t: Time, s: Time) -> tuple[PerFrequency, PerFrequency]:
        if not isinstance(process, Process):
            raise ValueError(f"{process.name} has no alpha and sigma per frequency, in which learning is known here")
        carry, refresh = rule(process, t, s)
        alpha_t, sigma_t, alpha_s, _ = process.coefficients(t, s)
        learnt = descent(process, t, variance, prediction)
        off = (learnt.gain(time) - learnt.best) * learnt.total / sigma_t**2
        return carry + (alpha_s - carry * alpha_t) * off, refresh

    return changed


@dataclass(frozen=True)
class Convolution:
    """A linear denoiser that is a convolution: width x width taps, one set for each t, on mirrored borders.

    By symmetry of the data's law the taps stay symmetric while they learn. Then the convolution is diagonal in the DCT.
    """

    size: int
    width: int

    def __post_init__(self) -> None:
        if not (1 <= self.width < 2 * self.size and self.width % 2):
            raise ValueError(f"width was {self.width}; expected an odd number below twice the size, {2 * self.size}")

    @property
    def responses(self) -> Tensor:
        """What each symmetric pattern of taps of unit norm does to each frequency, (size^2, ((width + 1) / 2)^2)."""
        frequency = DCT(self.size).freq2[0, 0, 0].sqrt()
        shift = torch.arange((self.width + 1) // 2, dtype=torch.float64)
        along = torch.cos(frequency[:, None] * shift) * torch.where(shift == 0, 1.0, math.sqrt(2))
        return torch.kron(along, along)

    def gain(self, descent: Descent, time: float) -> PerFrequency:
        """The gain after a training time on all frequencies at once, (B, 1, H, W); math.inf for the end of training."""
        _check_time(time)
        responses, total, weight = self.responses, descent.total.flatten(1), descent.weight.flatten(1)
        eigenvalues, modes = torch.linalg.eigh(responses.T @ (total[:, :, None] * responses))
        pull = modes.mT @ (responses.T @ (total * weight)[:, :, None])
        taps = modes @ ((-torch.expm1(-2 * eigenvalues * time) / eigenvalues)[:, :, None] * pull)
        weights: Tensor = (responses @ taps).reshape(descent.total.shape)
        return descent.start + descent.scale * weights
