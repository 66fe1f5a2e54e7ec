"""The power spectrum of somebody's own data, with its error bars, and how far from Gaussian each band is.

    found = spectra.of("my-pictures")
    print(found)
    found.gaussian                      # for the exact laboratory: oracle.Gaussian

Samples are read in batches, twice: mean and variance per coefficient first, then what is to be known about the
standardised coefficients. Only a few arrays of the size of a sample are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import fft
from tqdm import tqdm

from bdbook.oracle import Gaussian
from bdbook.shapes import Scale
from bdbook.spectra.sources import Samples, samples
from bdbook.transforms import DCT, Axis, Circle, axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Octaves that a spectrum may span with two bands in each; a longer one has one.
FINE = 7
# A coefficient that varies by less than this part of the largest variance does not vary.
NOTHING = 1e-24
# Negentropy of y, standardised, is about K_ODD E[y exp(-y^2 / 2)]^2 + K_EVEN (E[exp(-y^2 / 2)] - sqrt(1/2))^2; of n
# Gaussian samples, standardised by their own mean and variance, each term is 1 / (2 n) in expectation.
# Source: Hyvaerinen 1998.
K_ODD, K_EVEN = 36 / (8 * math.sqrt(3) - 9), 24 / (16 * math.sqrt(3) - 27)


@dataclass(frozen=True)
class Band:
    """Coefficients of a range of frequencies.

    frequency: their mean, cycles per sample of an axis (0.5: a value and its neighbour differ most). count: how many
    coefficients, channels included. power: their mean variance, of scaled data, with its standard error. kurtosis:
    excess kurtosis of the standardised coefficients, with its standard error: 0 for Gaussian data, more for sparse
    ones. negentropy: nats by which the law of a coefficient, taken alone, falls short of a Gaussian's entropy, an
    estimate. What coefficients know of one another is in neither.
    """

    frequency: float
    count: int
    power: float
    power_error: float
    kurtosis: float
    kurtosis_error: float
    negentropy: float


@dataclass(frozen=True, repr=False)
class Spectrum:
    """What was measured of somebody's data.

    count, total: samples that were read, and that there are. scaled = (stored - offset) * factor: 8-bit grey levels
    to [-1, 1], all else to mean 0 and variance 1 over all values. basis: cosines along axes with two ends, the real
    Fourier basis along circles. mean, variance: per coefficient of scaled data, (1, C, *axes) float64. bands: from the
    lowest frequency but zero. slope: power falls as frequency^-slope, fitted to the bands, with its standard error,
    as if the samples were independent. rate: samples a second, of sound.
    """

    name: str
    count: int
    total: int
    cut: str
    offset: float
    factor: float
    basis: DCT
    mean: Scale
    variance: Scale
    bands: tuple[Band, ...]
    slope: float
    slope_error: float
    rate: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *axes) of a sample."""
        return tuple(self.variance.shape[1:])

    @cached_property
    def gaussian(self) -> Gaussian:
        """The Gaussian of the same mean and variance per coefficient, for the exact laboratory."""
        return Gaussian(self.basis, self.variance, self.mean)

    @property
    def negentropy(self) -> float:
        """Mean over all coefficients of the bands, nats each."""
        return sum(band.count * band.negentropy for band in self.bands) / sum(band.count for band in self.bands)

    def __repr__(self) -> str:
        some = f"{self.count:,}" if self.count == self.total else f"{self.count:,} of {self.total:,}"
        sides = " x ".join(map(str, self.shape))
        cut = f" ({self.cut})" if self.cut else ""
        lines = [
            f"{self.name}: {some} samples of {sides}{cut}",
            f"scaled: (x - {self.offset:.6g}) * {self.factor:.6g}",
            f"power falls as frequency^-s, s = {self.slope:.2f} +- {self.slope_error:.2f}",
            "",
            f"{'cycles per sample':>17} {'Hz ':>9}{'power':>11} {'+-':>9} {'kurtosis':>9} {'+-':>7} {'negentropy':>11}"
            if self.rate
            else f"{'cycles per sample':>17} {'power':>11} {'+-':>9} {'kurtosis':>9} {'+-':>7} {'negentropy':>11}",
        ]
        for band in self.bands:
            hertz = f" {band.frequency * self.rate:9.1f}" if self.rate else ""
            lines.append(
                f"{band.frequency:17.4f}{hertz} {band.power:11.4g} {band.power_error:9.2g} {band.kurtosis:z9.2f} "
                f"{band.kurtosis_error:7.2f} {band.negentropy:z11.4f}"
            )
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """The bands' power with error bars over the fitted line, both axes logarithmic."""
        import matplotlib.pyplot as plt

        ax = plt.subplots(layout="constrained")[1] if ax is None else ax
        scale = self.rate or 1
        frequency = np.array([band.frequency for band in self.bands])
        power = np.array([band.power for band in self.bands])
        ax.errorbar(frequency * scale, power, [2 * band.power_error for band in self.bands], fmt="o", ms=4)
        middle = np.exp(np.mean(np.log(power)) + self.slope * (np.mean(np.log(frequency)) - np.log(frequency)))
        ax.plot(frequency * scale, middle, lw=1, label=f"slope -{self.slope:.2f} ± {self.slope_error:.2f}")
        ax.set(xscale="log", yscale="log", ylabel="power")
        ax.set_xlabel("frequency, Hz" if self.rate else "frequency, cycles per sample")
        ax.legend()
        return ax


def of(
    source: str | Path | np.ndarray | Samples,
    layout: str | None = None,
    window: Sequence[int] | None = None,
    size: int | None = None,
    circles: Iterable[int] = (),
    limit: int = 20_000,
    progress: bool = False,
) -> Spectrum:
    """Measure data: a folder, a file or an array, as `sources.samples` opens them.

    circles: axes that wrap around, counted from 0, as longitude; not of windows. ValueError for data that cannot be
    read, that have NaN, or that do not vary.
    """
    opened = source if isinstance(source, Samples) else samples(source, layout, window, size, limit)
    basis = DCT(_axes(opened, tuple(circles)))
    shift = float(next(opened.batches()).mean())  # a large mean would cost the variances their digits
    mean, variance = _moments(_told(opened, shift, basis, progress, "mean and variance"))
    varies = variance > NOTHING * variance.max()
    if not varies.any():
        raise ValueError(f"{opened.name}: all {len(opened)} samples are equal; expected data that vary")
    variance = np.where(varies, variance, 0.0)
    split = _split(basis, varies)
    bands, slope, slope_error = _bands(_told(opened, shift, basis, progress, "kurtosis"), mean, variance, split)
    offset, factor = _scale(opened, shift, mean, variance)
    return Spectrum(
        opened.name,
        len(opened),
        opened.total,
        opened.cut,
        offset,
        factor,
        basis,
        torch.from_numpy(_moved(mean, shift - offset) * factor)[None],
        torch.from_numpy(variance * factor**2)[None],
        tuple(replace(b, power=b.power * factor**2, power_error=b.power_error * factor**2) for b in bands),
        slope,
        slope_error,
        opened.rate,
    )


def transform(batch: np.ndarray, basis: DCT) -> np.ndarray:
    """Coefficients of (n, C, *axes) float64, as `basis.forward` gives them, by fast transforms."""
    axes = axes_of(basis.size)
    ends = [k + 2 for k, axis in enumerate(axes) if not isinstance(axis, Circle)]
    u: np.ndarray = fft.dctn(batch, axes=ends, norm="ortho") if ends else batch
    for k, axis in enumerate(axes):
        if isinstance(axis, Circle):
            turned = fft.fft(u, axis=k + 2, norm="ortho")
            u = turned.real - turned.imag
    return u


def _axes(opened: Samples, circles: tuple[int, ...]) -> tuple[Axis, ...]:
    sides = opened.shape[1:]
    if any(not 0 <= k < len(sides) for k in circles):
        raise ValueError(
            f"circles was {circles} for samples of {len(sides)} axes; expected some of 0..{len(sides) - 1}"
        )
    if circles and opened.cut:
        raise ValueError(f"circles was {circles}, but the samples are {opened.cut}, and a window does not wrap around")
    return tuple(Circle(n) if k in circles else n for k, n in enumerate(sides))


# --- two passes --------------------------------------------------------------------------------------------


def _told(opened: Samples, shift: float, basis: DCT, progress: bool, what: str) -> Iterable[np.ndarray]:
    """The coefficients of all samples less `shift`, in batches (n, C, *axes), with a bar."""
    with tqdm(total=len(opened), desc=what, unit=" samples", disable=not progress, leave=False) as bar:
        for batch in opened.batches():
            yield transform(batch - shift, basis)
            bar.update(len(batch))


def _moments(batches: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance per coefficient, (C, *axes), from batches: as exact as in one piece (Chan et al. 1979)."""
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for batch in batches:
        n, own = len(batch), batch.mean(0)
        apart = own - mean
        squares = squares + ((batch - own) ** 2).sum(0) + apart**2 * (count * n / (count + n))
        mean = mean + apart * (n / (count + n))
        count += n
    return mean, squares / count


@dataclass(frozen=True)
class _Split:
    """Which band each coefficient is of, (C * axes,), those of none at the end; (frequency, count) of each band."""

    place: np.ndarray
    rows: list[tuple[float, int]]
    dims: int

    def mean(self, each: np.ndarray) -> np.ndarray:
        """Mean over the coefficients of each band, (..., bands), of something (..., C, *axes)."""
        flat = each.reshape(*each.shape[: each.ndim - self.dims], -1)
        rows = flat.reshape(-1, flat.shape[-1])
        sums = np.stack([np.bincount(self.place, row, len(self.rows) + 1)[:-1] for row in rows])
        return (sums / [count for _, count in self.rows]).reshape(*flat.shape[:-1], len(self.rows))


def _split(basis: DCT, varies: np.ndarray) -> _Split:
    """Bands of half an octave, or of one where there are many, of the coefficients that vary and are no mean."""
    frequency = np.broadcast_to(basis.freq2[0].sqrt().numpy() / (2 * math.pi), varies.shape)
    used = varies & (frequency > 0)
    if not used.any():
        raise ValueError("the samples vary in their mean alone; expected data that vary along an axis")
    low, high = frequency[used].min(), frequency[used].max()
    octaves = math.log2(high / low)
    count = max(1, round(octaves * (2 if octaves <= FINE else 1)))
    edges = np.geomspace(low, high, count + 1)[1:-1]
    place = np.where(used, np.searchsorted(edges, frequency * (1 + 1e-12)), count)
    kept = np.unique(place[used])  # a band may have nothing in it
    number = np.full(count + 1, len(kept))
    number[kept] = np.arange(len(kept))
    place = number[place]
    rows = [(float(frequency[place == k].mean()), int((place == k).sum())) for k in range(len(kept))]
    return _Split(place.ravel(), rows, varies.ndim)


def _bands(
    batches: Iterable[np.ndarray], mean: np.ndarray, variance: np.ndarray, split: _Split
) -> tuple[tuple[Band, ...], float, float]:
    """The bands, with the slope of their power and its standard error."""
    root = np.sqrt(np.where(variance > 0, variance, 1))
    power = split.mean(variance)
    weights = _slope_weights([frequency for frequency, _ in split.rows])
    count, odd, even = 0, np.zeros(mean.shape), np.zeros(mean.shape)
    powers, fourths, influence = np.zeros((2, len(power))), np.zeros((5, len(power))), np.zeros(2)
    for batch in batches:
        y = (batch - mean) / root
        bell = np.exp(-(y**2) / 2)
        odd, even, count = odd + (y * bell).sum(0), even + bell.sum(0), count + len(batch)
        own, second, fourth = split.mean((batch - mean) ** 2), split.mean(y**2), split.mean(y**4)
        powers += own.sum(0), (own**2).sum(0)
        fourths += [each.sum(0) for each in (fourth, second, fourth**2, second**2, fourth * second)]
        pull = (own / power) @ weights
        influence += pull.sum(), (pull**2).sum()
    moment, square, *products = fourths / count
    # y is standardised by the variance of the same samples: where that is too large, y^4 is too small.
    (a, b, ab) = products - np.stack([moment**2, square**2, moment * square])
    kurtosis_error = np.sqrt(np.maximum(a - 4 * moment * ab + 4 * moment**2 * b, 0) / max(count - 1, 1))
    # Standardised by their own variance, n Gaussian numbers have a fourth moment of 3 (n - 1) / (n + 1).
    kurtosis = moment - 3 * (count - 1) / (count + 1)
    found = K_ODD * (odd / count) ** 2 + K_EVEN * (even / count - math.sqrt(1 / 2)) ** 2 - 1 / count
    negentropy = split.mean(found)
    errors = _error(powers[0], powers[1], count)
    rows = zip(split.rows, power, errors, kurtosis, kurtosis_error, negentropy, strict=True)
    bands = tuple(Band(f, n, *map(float, numbers)) for (f, n), *numbers in rows)
    return bands, float(-weights @ np.log(power)), float(_error(influence[0], influence[1], count))


def _error(total: Any, squares: Any, count: int) -> Any:
    """Standard error of a mean over samples from the sum and the sum of squares."""
    return np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0) / max(count - 1, 1))


def _slope_weights(frequencies: Sequence[float]) -> np.ndarray:
    """w with slope = w . ln(power), of the straight line through the bands, each counting once; 0 for a single band."""
    x: np.ndarray = np.log(frequencies)
    x = x - x.mean()
    spread = (x**2).sum()
    return x / spread if spread > 0 else x


def _scale(opened: Samples, shift: float, mean: np.ndarray, variance: np.ndarray) -> tuple[float, float]:
    """(offset, factor) of the scaling."""
    if opened.pixels:
        return 127.5, 1 / 127.5
    values = math.prod(opened.shape)
    level = _lowest(mean).mean() / math.sqrt(math.prod(opened.shape[1:]))
    power = (variance + mean**2).sum() / values - level**2
    return shift + float(level), 1 / math.sqrt(power)


def _moved(mean: np.ndarray, by: float) -> np.ndarray:
    """Coefficients of a mean to whose every value a number was added."""
    moved = mean.copy()
    _lowest(moved)[:] += by * math.sqrt(math.prod(mean.shape[1:]))
    return moved


def _lowest(coefficients: np.ndarray) -> np.ndarray:
    """Those of frequency 0, a view (C,) of (C, *axes)."""
    return coefficients.reshape(len(coefficients), -1)[:, 0]
