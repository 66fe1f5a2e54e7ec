"""Data that are no pictures, computed: plucked strings, two-dimensional turbulence, Gaussian fields of its spectrum.

sounds       series (N, 1, L): each period is the one before it, blurred
turbulence   vorticity (N, 1, H, H) on a torus, from a spectral solver
power_law    variance of each coefficient of a Gaussian field of any axes, by the slope of its energy

The same arguments give the same data, and a smaller count the first of them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from bdbook.data.reading import SPLITS
from bdbook.shapes import OfBasis
from bdbook.transforms import DCT, Axis, Circle, axes_of

# Samples a second of the sounds, and the periods of their strings: notes from 102 to 341 Hz.
RATE = 4096
SHORTEST, LONGEST = 12, 40
# What a period passes on of itself, and of each of its neighbours before and after; and what the string loses.
PASSED, LOST = 0.05, 0.04
# Of the flow: the side of its grid, fields that are computed at once, viscosity, time step and the time that it runs.
SIDE, TOGETHER = 48, 16
VISCOSITY, STEP, TIME = 1.5e-3, 0.04, 5.0
# Vorticity, 1 / unit of time, at the start, as a root mean square; and that which becomes 1 in the data.
STIRRED, SCALE = 4.0, 15.0


# --- sounds ------------------------------------------------------------------------------------------------


def sounds(length: int = 512, count: int = 1024, split: str = "train", seed: int = 0) -> Tensor:
    """Plucked strings at `RATE` samples a second, (count, 1, length) float32 in [-1, 1], each of one note.

    A period is drawn at random, a whole number of samples, then noise of as many: the pluck. Each further period is the
    one before it blurred by the kernel (p, 1 - 2 p, p) around its circle, less `LOST`. So overtone k of a period of n
    samples fades by 1 - 4 p sin^2(pi k / n) a period, high ones first. After Karplus and Strong 1983, who blur by (1/2,
    1/2).
    """
    if length < LONGEST or count < 1:
        raise ValueError(f"length was {length} and count {count}; expected at least {LONGEST} samples and one sound")
    found = np.empty((count, length), dtype=np.float32)
    for number in range(count):
        random = np.random.default_rng([seed, SPLITS[split], number])
        period = int(random.integers(SHORTEST, LONGEST + 1))
        pluck = random.uniform(-1, 1, period)
        found[number] = plucked(pluck - pluck.mean(), length) / 2
    return torch.from_numpy(found)[:, None]


def plucked(pluck: np.ndarray, length: int) -> np.ndarray:
    """The sound of a string whose first period is `pluck`, (length,)."""
    wave = fft.rfft(pluck)
    fade = (1 - LOST) * (1 - 4 * PASSED * np.sin(np.pi * np.arange(len(wave)) / len(pluck)) ** 2)
    periods = fade ** np.arange(-(-length // len(pluck)))[:, None] * wave
    sound: np.ndarray = fft.irfft(periods, len(pluck)).ravel()[:length]
    return sound


# --- turbulence --------------------------------------------------------------------------------------------


def turbulence(size: int = 32, count: int = 512, split: str = "train", seed: int = 0) -> Tensor:
    """Vorticity of flows that have run for a while, (count, 1, size, size) float32, in units of `SCALE`.

    Each begins as a Gaussian field of waves 4 to 7 and runs for `TIME` in a square of side 2 pi that wraps both ways,
    on a grid of 48 x 48; what a smaller grid cannot hold is left out. Small eddies have died and large ones merged by
    then: the fields are not Gaussian.
    """
    if not 4 <= size <= SIDE or size % 2 or count < 1:
        raise ValueError(f"size was {size} and count {count}; expected an even side from 4 to {SIDE}, and one field")
    parts = []
    for number in range(-(-count // TOGETHER)):
        random = np.random.default_rng([seed, SPLITS[split], number])
        flow = vorticity(_eddies(random.standard_normal((TOGETHER, SIDE, SIDE))), TIME, VISCOSITY, STEP)
        parts.append(_coarse(flow, size) / SCALE)
    return torch.from_numpy(np.concatenate(parts)[:count].astype(np.float32))[:, None]


def vorticity(start: np.ndarray, time: float, viscosity: float, step: float = STEP) -> np.ndarray:
    """What the vorticity (N, n, n) of a flow in two dimensions has become after a time, float64.

    d omega / dt + u . grad omega = viscosity lap omega, where u is the flow without divergence whose curl is omega, in
    a square of side 2 pi that wraps. Waves, of which those above a third of n are left out of products (Orszag 1971);
    friction exactly, the rest by the classical Runge-Kutta of order 4.
    """
    n = start.shape[-1]
    ky, kx = fft.fftfreq(n, 1 / n)[:, None], np.arange(n // 2 + 1)[None, :]
    k2 = kx**2 + ky**2
    kept = (np.abs(ky) < n / 3) & (kx < n / 3)
    over = np.where(k2 > 0, 1 / np.maximum(k2, 1), 0)  # a mean vorticity moves nothing
    steps = max(1, math.ceil(time / step))
    h = time / steps
    half = np.exp(-viscosity * k2 * h / 2)

    def carried(wave: np.ndarray) -> np.ndarray:
        stack = np.stack([1j * ky * over * wave, -1j * kx * over * wave, 1j * kx * wave, 1j * ky * wave])
        u, v, along, across = fft.irfft2(stack, s=(n, n))
        moved: np.ndarray = -(kept * fft.rfft2(u * along + v * across))
        return moved

    wave = kept * fft.rfft2(start)
    for _ in range(steps):
        a = carried(wave)
        b = carried(half * (wave + h / 2 * a))
        c = carried(half * wave + h / 2 * b)
        d = carried(half**2 * wave + h * half * c)
        wave = half**2 * wave + h / 6 * (half**2 * a + 2 * half * (b + c) + d)
    found: np.ndarray = fft.irfft2(wave, s=(n, n))
    return found


def _eddies(white: np.ndarray) -> np.ndarray:
    """Waves 3 to 6 of white noise (N, n, n), scaled to a root mean square of `STIRRED`."""
    n = white.shape[-1]
    k = np.hypot(fft.fftfreq(n, 1 / n)[:, None], np.arange(n // 2 + 1)[None, :])
    field: np.ndarray = fft.irfft2(fft.rfft2(white) * ((k >= 4) & (k <= 7)), s=(n, n))
    scaled: np.ndarray = field * STIRRED / np.sqrt((field**2).mean((-2, -1), keepdims=True))
    return scaled


def _coarse(field: np.ndarray, size: int) -> np.ndarray:
    """(N, n, n) on a grid of size x size, without the waves that it cannot hold."""
    n = field.shape[-1]
    if size == n:
        return field
    wave, few = fft.rfft2(field), size // 2
    rows = np.r_[0:few, n - few + 1 : n]  # without the wave of two pixels, of which a grid holds half
    cut = np.zeros((*field.shape[:-2], size, few + 1), dtype=complex)
    cut[..., np.r_[0:few, few + 1 : size], :few] = wave[..., rows, :few]
    found: np.ndarray = fft.irfft2(cut, s=(size, size)) * (size / n) ** 2
    return found


# --- Gaussian fields ---------------------------------------------------------------------------------------


def power_law(axes: tuple[Axis, ...], slope: float = 5 / 3, std: float = 0.5) -> OfBasis:
    """Variance of each coefficient of DCT(axes) with energy E(k) ~ k^-slope, float64 (1, 1, *axes).

    E(k) is what all coefficients of frequency near k have together: in d axes as many as k^(d-1), so that each has
    k^-(slope + d - 1); the mean has as much as the lowest. Of turbulence in three axes Kolmogorov's slope is 5/3. The
    mean over pixels of their variance is std^2.
    """
    freq2 = DCT(axes).freq2
    d = len(axes_of(axes))
    variance = freq2.clamp_min(freq2[freq2 > 0].min()) ** (-(slope + d - 1) / 2)
    return std**2 * variance / variance.mean()


def torus(size: int) -> tuple[Circle, Circle]:
    """The axes of a square that wraps both ways."""
    return (Circle(size), Circle(size))
