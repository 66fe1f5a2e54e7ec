"""The figure of somebody's own spectrum: what each system leaves of it, its clocks, what its sampler leaves out."""

from __future__ import annotations

import functools
import heapq
import itertools
import math

import numpy as np
import traitlets

from bdbook import data, spectra
from bdbook.oracle import Gaussian
from bdbook.page.widgets.base import Slider, bundle, choice, number, whole
from bdbook.spectra import advice
from bdbook.spectra.advice import floor_of
from bdbook.transforms import lengths

SYSTEMS = ("ddpm", "cosine", "heat", "blurring", "soft", "equal_snr")
WIDTHS = {"heat": advice.WIDTHS["IHDM"], "blurring": advice.WIDTHS["blurring"], "soft": advice.WIDTHS["soft"]}
MODES = 300  # kinds of coefficients that a figure computes with, at most
SIDE = 32  # of the photographs that stand for the reader's data, px


class SpectrumSlider(Slider):
    """A measured spectrum of series, pictures or volumes: which frequencies drown, the clocks, and KL over the steps.

    Parameters
    ----------
    found : what `spectra.of` measured; None for patches of photographs.
    system : "ddpm", "cosine", "heat", "blurring", "soft" or "equal_snr", as `spectra.advise` compares them.
    width : sigma_B,max, the blur at t = 1, samples, at least 0.5 (used by systems that blur); where it is not given,
        and whenever the reader picks a system, a third of the longest axis, and IHDM's a half.
    t : time in [0, 1].
    steps : N, 2 to 200, of a uniform grid from t = 1 to 0.
    link : name of a group of figures that share t and the number of steps.

    Raises traitlets.TraitError, at construction and at any later assignment, for values outside these ranges.
    """

    _esm = bundle("spectrum.js")
    _heights = (947, 1365)

    system, _check_system = choice("system", "blurring", SYSTEMS)
    width, _check_width = number("width", SIDE / 3, 0.5, math.inf, "a blur of 0.5 samples or more", open_at="high")
    t, _check_t = number("t", 0.3, 0, 1, "a time in [0, 1]")
    steps, _check_steps = whole("steps", 10, 2, 200, "2 to 200 steps")
    _modes = traitlets.Dict().tag(sync=True)  # squared, variance, count: what `modes` gives
    _bands = traitlets.Dict().tag(sync=True)  # frequency, power, error of each; rate of sound, or None
    _least = traitlets.Float().tag(sync=True)  # variance of equal SNR's noise
    _widths = traitlets.Dict().tag(sync=True)  # system -> its blur where none is given
    _longest = traitlets.Int().tag(sync=True)  # axis, samples

    def __init__(self, found: spectra.Spectrum | None = None, **settings):
        found = photographs() if found is None else found
        longest = max(lengths(found.basis.size))
        widths = {system: longest * part for system, part in WIDTHS.items()}
        settings.setdefault("width", widths.get(settings.get("system", self.system), longest / 3))
        names = ("frequency", "power", "power_error")
        frequency, power, error = ([getattr(band, name) for band in found.bands] for name in names)
        squared, variance, count = modes(found.gaussian)
        super().__init__(
            _modes={"squared": squared.tolist(), "variance": variance.tolist(), "count": count.tolist()},
            _bands={"frequency": frequency, "power": power, "error": error, "rate": found.rate},
            _least=floor_of(found),
            _widths=widths,
            _longest=longest,
            **settings,
        )


@functools.cache
def photographs() -> spectra.Spectrum:
    """The spectrum of patches of photographs."""
    return spectra.of(data.load("photos", SIDE, count=256).numpy(), layout="NCXX")


def modes(of: Gaussian, most: int = MODES) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(lambda, variance, count) of kinds of coefficients that stand for all that vary: sums over all are theirs.

    The logarithms of both numbers are split where they spread most, at their mean, until there are so many kinds; a
    kind has their mean. lambda: squared frequency, ascending, rad^2 per sample^2.
    """
    variance = of.variance.flatten().numpy()
    squared = of.basis.freq2.expand(of.variance.shape).flatten().numpy()
    varies = variance > 0
    squared, variance = squared[varies], variance[varies]
    # The mean, of frequency 0, is as far from the lowest frequency as an octave of lambda.
    points = np.log([squared + squared[squared > 0].min(), variance])
    turn = itertools.count()  # no two kinds compare equal

    def kind(members: np.ndarray) -> tuple[float, int, np.ndarray]:
        return -len(members) * points[:, members].var(1).sum(), next(turn), members

    kinds = [kind(np.arange(len(variance)))]
    while len(kinds) < most and kinds[0][0] < -1e-9:
        members = heapq.heappop(kinds)[-1]
        own = points[:, members]
        along = own[own.var(1).argmax()]
        above = along > along.mean()
        for part in (members[above], members[~above]):
            heapq.heappush(kinds, kind(part))
    rows = sorted((squared[members].mean(), math.exp(points[1, members].mean()), len(members)) for *_, members in kinds)
    squared, variance, count = map(np.array, zip(*rows))
    return squared, variance, count
