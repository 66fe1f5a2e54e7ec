"""Whether drawn images say rightly how unsure they are: how often the truth lies where they say.

Of S images drawn for one view the truth is, if they are drawn rightly, one more of the same law: as likely between any
two neighbours of the sorted S as between others. So its rank among them is uniform on 0 .. S, for every S, and with it
how often a central interval holds it; no interval has to be estimated, and few images make no bias:

    coverage(p) = mean over ranks r of the share of [r, r + 1] / (S + 1) that lies in [(1 - p) / 2, (1 + p) / 2].

Where (S + 1) (1 - p) / 2 is a whole number that is the interval between two of the sorted values, else between that and
the next. Below 1 it is more than all of them span, and then a truth far outside still counts in part: to see what
happens at 95 % takes 39 images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from bdbook.evaluation import checks
from bdbook.evaluation.metrics import band_index
from bdbook.posteriors import Drawn
from bdbook.shapes import Images
from bdbook.transforms import DCT, Basis

LEVELS = (0.5, 0.8, 0.95)
BANDS = 5
# The level at which intervals are made to hold the truth so often, `stretch`.
FITTED = 0.8
PIXELS = "pixels"

PerGroup = Float64[Tensor, "groups levels"]


@dataclass(frozen=True)
class Coverage:
    """How often central intervals of `samples` drawn images hold the truth, of `count` images.

    levels: what is nominal. names: "pixels" and the bands of frequency, lowest first. measured, errors: coverage and
    its standard error over images, whose pixels are not independent; widths: mean length of the intervals in units of
    [-1, 1], each (groups, levels). ranks: share of the truths at each rank, (groups, samples + 1).
    """

    levels: tuple[float, ...]
    names: tuple[str, ...]
    measured: PerGroup
    errors: PerGroup
    widths: PerGroup
    ranks: Tensor
    samples: int
    count: int

    @property
    def worst(self) -> float:
        """The largest distance of a measured coverage from what is nominal."""
        return (self.measured - torch.tensor(self.levels, dtype=torch.float64)).abs().max().item()

    def as_dict(self) -> dict:
        """For a file of JSON, numbers of five digits."""
        rows = {name: getattr(self, name).tolist() for name in ("measured", "errors", "widths", "ranks")}
        told = {name: [[float(f"{v:.5g}") for v in row] for row in table] for name, table in rows.items()}
        return {
            "levels": list(self.levels),
            "names": list(self.names),
            "samples": self.samples,
            "count": self.count,
        } | {**told}

    @classmethod
    def of_dict(cls, told: dict) -> Coverage:
        """What `as_dict` gave."""
        names = ("measured", "errors", "widths", "ranks")
        measured, errors, widths, ranks = (torch.tensor(told[name], dtype=torch.float64) for name in names)
        levels, groups = tuple(told["levels"]), tuple(told["names"])
        return cls(levels, groups, measured, errors, widths, ranks, told["samples"], told["count"])

    def __str__(self) -> str:
        columns = [(f"{level:g}", f"at {level:.0%}", 15, "s") for level in self.levels]
        rows = {
            name: {
                f"{level:g}": f"{100 * measured:.1f} +- {100 * error:.1f} %"
                for level, measured, error in zip(self.levels, *rows)
            }
            for name, *rows in zip(self.names, self.measured.tolist(), self.errors.tolist())
        }
        about = f"how often the truth lies in the interval, {self.count} images, {self.samples} drawn for each"
        return "\n".join([about, *checks.aligned(rows, columns)])


def measure(
    drawn: Drawn,
    truth: Images,
    levels: Sequence[float] = LEVELS,
    bands: int = BANDS,
    basis: Basis | None = None,
    seed: int = 0,
) -> Coverage:
    """The coverage of drawn (S, B, C, *axes) for the truths (B, C, *axes), of pixels and of bands of frequency.

    bands: of equal width in |frequency|; basis: the DCT, unless given. seed: of the places of truths that equal some of
    what was drawn, among which every place is as likely. Raises ValueError for other shapes, levels outside (0, 1), and
    what is not finite.
    """
    drawn, truth, basis = _checked(drawn, truth, basis)
    levels = tuple(levels)
    if not levels or not all(0 < level < 1 for level in levels):
        raise ValueError(f"levels were {levels}; expected some between 0 and 1, e.g. 0.8")
    samples, count = len(drawn), len(truth)
    random = torch.Generator().manual_seed(seed)
    weights = torch.stack([_weights(samples, level) for level in levels], 1)
    rows = []
    for own, other, index in _spaces(drawn, truth, basis, bands):
        ranks = _ranks(own, other, random)
        lengths = _lengths(own, levels)
        for group in range(int(index.max()) + 1):
            there = ranks[:, index == group]
            held = weights[there].mean(1)  # of each image, (B, levels)
            error = held.std(0) / count**0.5 if count > 1 else torch.full_like(held[0], torch.nan)
            shares = torch.bincount(there.flatten(), minlength=samples + 1).double() / there.numel()
            rows.append((held.mean(0), error, lengths[:, index == group].mean(1), shares))
    names = (PIXELS, *(f"band {band}" for band in range(len(rows) - 1)))
    measured, errors, widths, ranks = (torch.stack(column) for column in zip(*rows))
    return Coverage(levels, names, measured, errors, widths, ranks, samples, count)


@dataclass(frozen=True)
class Stretch:
    """By how much what was drawn must spread about its mean, in each band of frequency, lowest first."""

    basis: Basis
    factors: tuple[float, ...]

    @classmethod
    def fit(
        cls, drawn: Drawn, truth: Images, level: float = FITTED, bands: int = BANDS, basis: Basis | None = None
    ) -> Stretch:
        """The factors with which the interval of this level holds as many of these truths as it says.

        drawn: (S, B, C, *axes); truth: (B, C, *axes), not those on which the coverage is measured afterwards. The
        factor of a band is the quantile `level` of that by which each truth is farther from the mean than the end of
        its interval is. No shape of the errors is assumed; at other levels it is as right as the shape of what was
        drawn.
        """
        drawn, truth, basis = _checked(drawn, truth, basis)
        if (len(drawn) + 1) * (1 - level) / 2 < 1:
            raise ValueError(
                f"{len(drawn)} images were drawn for each; expected at least {2 / (1 - level) - 1:.0f} for the "
                f"interval of {level:.0%}: draw more, or fit another level"
            )
        u, u_x = (_coefficients(x, basis) for x in (drawn, truth))
        index = _index(basis, bands, truth)
        low, high = _ends(u.sort(0).values, level)
        mean = u.mean(0)
        # A mean outside of the interval, of one that is all on one side, is no end to measure from: any factor is huge.
        end = torch.where(u_x > mean, high - mean, mean - low).clamp_min(1e-12)
        ratio = (u_x - mean).abs() / end
        return cls(basis, tuple(ratio[:, index == band].quantile(level).item() for band in range(bands)))

    def __call__(self, drawn: Drawn) -> Drawn:
        """The same images, spread so far, (S, B, C, *axes)."""
        index = _index(self.basis, len(self.factors), drawn[0])
        factor = torch.tensor(self.factors, dtype=torch.float64)[index].reshape(drawn.shape[2:]).to(drawn)
        mean = drawn.mean(0)
        return mean + torch.stack([self.basis.inverse(factor * self.basis.forward(each - mean)) for each in drawn])


def _checked(drawn: Tensor, truth: Tensor, basis: Basis | None) -> tuple[Tensor, Tensor, Basis]:
    if truth.ndim < 3 or drawn.ndim != truth.ndim + 1 or drawn.shape[1:] != truth.shape or not drawn.numel():
        raise ValueError(
            f"drawn had shape {tuple(drawn.shape)} and truth {tuple(truth.shape)}; expected (S, B, C, *axes) and "
            "(B, C, *axes): S images drawn for each truth"
        )
    if not drawn.isfinite().all() or not truth.isfinite().all():
        raise ValueError("drawn or truth had NaN or infinity; expected finite images: leave these out, and say so")
    return drawn.double(), truth.double(), DCT(tuple(truth.shape[2:])) if basis is None else basis


def _spaces(drawn: Tensor, truth: Tensor, basis: Basis, bands: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(drawn (S, B, D), truth (B, D), group of each of D) of the pixels and of the coefficients."""
    pixels = drawn.flatten(2), truth.flatten(1), torch.zeros(truth[0].numel(), dtype=torch.long)
    return [pixels, (_coefficients(drawn, basis), _coefficients(truth, basis), _index(basis, bands, truth))]


def _coefficients(x: Tensor, basis: Basis) -> Tensor:
    """(..., C, *axes) -> (..., D)."""
    flat = x.reshape(-1, *x.shape[-1 - basis.dims :])
    return basis.forward(flat).reshape(*x.shape[: -1 - basis.dims], -1)


def _index(basis: Basis, bands: int, images: Tensor) -> Tensor:
    """The band of each of D coefficients. Raises where one has none."""
    if bands < 1:
        raise ValueError(f"bands was {bands}; expected at least 1")
    index = band_index(basis.freq2, bands).expand(images.shape[1:]).flatten()
    empty = set(range(bands)) - set(index.tolist())
    if empty:
        raise ValueError(f"of {bands} bands {sorted(empty)} hold no frequency; expected fewer bands")
    return index


def _ranks(drawn: Tensor, truth: Tensor, random: torch.Generator) -> Tensor:
    """How many of the drawn lie below the truth, (B, D) int64; of as many places as there are equals one by chance."""
    below, equal = (drawn < truth).sum(0), (drawn == truth).sum(0)
    chance = torch.rand(truth.shape, generator=random, dtype=torch.float64)
    return below + (chance * (equal + 1)).long()


def _weights(samples: int, level: float) -> Tensor:
    """Of each rank, the share of [r, r + 1] / (samples + 1) inside the central interval, (samples + 1,)."""
    edges = torch.arange(samples + 2, dtype=torch.float64) / (samples + 1)
    inside = edges.clamp((1 - level) / 2, (1 + level) / 2)
    return (inside[1:] - inside[:-1]) * (samples + 1)


def _lengths(drawn: Tensor, levels: Sequence[float]) -> Tensor:
    """Mean over images of the intervals' length, (levels, D)."""
    ordered = drawn.sort(0).values
    return torch.stack([(high - low).mean(0) for low, high in (_ends(ordered, level) for level in levels)])


def _ends(ordered: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """The ends of the central interval of sorted values (S, ...): between two neighbours where that is where it is.

    Of fewer values than it takes, the least and the largest.
    """
    place = (len(ordered) + 1) * (1 - level) / 2 - 1  # from 0
    first = max(0, int(place + 1e-9))
    share = min(max(place - first, 0.0), 1.0)
    second = min(first + 1, len(ordered) - 1)
    backwards = ordered.flip(0)
    low, high = ((1 - share) * end[first] + share * end[second] for end in (ordered, backwards))
    return low, high
