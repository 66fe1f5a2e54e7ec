"""Schedules: plain functions of time, in float64, one idea each.

t is a tensor of times in [0, 1], 0 = data; i is a tensor of the papers' integer steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bdbook.errors import unknown
from bdbook.shapes import Elementwise, Numbers, Row


def cosine(t: Numbers, logsnr_min: float = -10.0, logsnr_max: float = 10.0) -> tuple[Elementwise, Elementwise]:
    """(a, sigma) of the variance-preserving cosine schedule, a^2 + sigma^2 = 1.

    The angle runs from atan(e^(-logsnr_max / 2)) to atan(e^(-logsnr_min / 2)) instead of from 0 to pi / 2, so
    the log-SNR is confined by rescaling, not by clipping. Source: HS app. A.1, get_noise_scaling_cosine.
    """
    if not logsnr_min < logsnr_max:
        raise ValueError(f"logsnr was {logsnr_min}..{logsnr_max}; expected logsnr_min < logsnr_max")
    low = math.atan(math.exp(-0.5 * logsnr_max))
    high = math.atan(math.exp(-0.5 * logsnr_min))
    angle = low + t.double() * (high - low)
    return torch.cos(angle), torch.sin(angle)


def linear_beta(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Row:
    """beta_1 .. beta_N, (N,). Source: Ho et al. 2020; Lee app. G."""
    return torch.linspace(first, last, steps, dtype=torch.float64)


def sin2_blur(t: Numbers, sigma_max: float) -> Elementwise:
    """sigma_B,t = sigma_B,max sin^2(pi t / 2), px. Source: HS Eq. 25."""
    return sigma_max * torch.sin(t.double() * math.pi / 2) ** 2


def sin_blur(t: Numbers, sigma_max: float) -> Elementwise:
    """sigma_B,t = sigma_B,max sin(pi t / 2), px. Source: HS Table 4."""
    return sigma_max * torch.sin(t.double() * math.pi / 2)


BLURS = {"sin2": sin2_blur, "sin": sin_blur}


def dissipation_time(blur_sigma: Numbers) -> Elementwise:
    """tau = sigma_B^2 / 2, px^2: the time heat needs to spread as far as a Gaussian of width sigma_B."""
    return blur_sigma.double() ** 2 / 2


def vanishing(exponent: Tensor) -> Tensor:
    """e^exponent, and 0 where that is below the smallest normal number, where torch.exp takes ten times as long."""
    least = math.log(torch.finfo(exponent.dtype).tiny)
    return torch.where(exponent < least, 0.0, torch.exp(exponent.clamp_min(least)))


def frequency_scaling(freq2: Tensor, tau: Tensor, d_min: float = 0.0) -> Tensor:
    """d_t = (1 - d_min) e^(-lambda tau) + d_min. Source: HS Eq. 26 (d_min = 0: Eq. 9)."""
    decay = vanishing(-freq2 * tau)
    return (1 - d_min) * decay + d_min if d_min else decay


def log_spaced_blur(steps: int, low: float, high: float) -> Row:
    """sigma_B of IHDM: 0, then `steps` values log-spaced from low to high px, (steps + 1,).

    Source: Rissanen et al. 2022, their K.
    """
    # From the far end, so that a single step goes all the way.
    spaced = torch.linspace(math.log(high), math.log(low), steps, dtype=torch.float64).exp().flip(0)
    return torch.cat([torch.zeros(1, dtype=torch.float64), spaced])


F_TYPES = ("log", "linear", "quadratic", "cubic", "quartic")


def blur_exponent(i: Tensor, steps: int, f_max: float, f_type: str = "quartic") -> Tensor:
    """f(i), the power of W in step i of Lee's process, i in 1..N.

    quartic (cubic, ...): f(N) (i / N)^4; log: f(N) log i / log N, so that f(1) = 0. f(0) is never used: the
    log form is minus infinity there. Source: Lee app. B, Fig. 4.
    """
    if f_type not in F_TYPES:
        raise unknown("f_type", f_type, F_TYPES)
    if f_type == "log" and steps < 2:
        raise ValueError(f"steps was {steps}; the log form divides by log N and needs at least 2")
    i = torch.as_tensor(i, dtype=torch.float64)
    if (i < 1).any() or (i > steps).any():
        raise ValueError(f"step i was {i.min():g}..{i.max():g}; f(i) is defined for 1..{steps}")
    if f_type == "log":
        return f_max * torch.log(i) / math.log(steps)
    return f_max * (i / steps) ** F_TYPES.index(f_type)
