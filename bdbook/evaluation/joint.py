"""Measures that see how coefficients go together, where a spectrum looks at one at a time.

Two sets are compared in whitened coordinates of a Gaussian, y = (V'x - m) / sqrt(v), so that fine detail counts as much
as coarse; of a `Mixture`, whose density is known, samples are measured alone. No measure says of N images that they are
perfect: `floor` and `floors` say what it gives for true samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bdbook.evaluation import checks, metrics
from bdbook.mixtures import Mixture
from bdbook.oracle import Gaussian
from bdbook.pixels import ROUNDING

# Images whose distances to all others are held at once.
CHUNK = 512
# Images of each set, below which a classifier has too few to learn from, and above which it takes long.
FEW, MOST = 20, 1000
# Of these images each is left out once.
PARTS = 3


def whitened(images: Tensor, spectrum: Gaussian) -> Tensor:
    """(V'x - m) / sqrt(v) of images (N, C, H, W), one a row, (N, C H W) float64 on the CPU.

    Where v is less than what rounding to 8 bits adds, that stands for it: a coefficient that hardly varies says little.
    """
    u = spectrum.basis.forward(images.detach().cpu().double())
    return ((u - spectrum.mean) / spectrum.variance.clamp_min(ROUNDING).sqrt()).flatten(1)


def energy_distance(samples: Tensor, data: Tensor, spectrum: Gaussian) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| in whitened coordinates: unbiased, so that it may be below 0.

    samples (N, C, H, W), data (M, C, H, W), at least two of each. On average it is 0 for sets of one law, and for no
    others. Source: Szekely and Rizzo 2013.
    """
    return energy_apart(*_pair(samples, data, spectrum, 2, "distances within a set need two images"))


def energy_apart(x: Tensor, y: Tensor) -> float:
    """`energy_distance` of vectors, one a row: x (N, d), y (M, d), at least two of each."""
    within = [_distances(z, z) / (len(z) * (len(z) - 1)) for z in (x, y)]
    return _finite(2 * _distances(x, y) / (len(x) * len(y)) - sum(within))


def sliced_wasserstein(
    samples: Tensor, data: Tensor, spectrum: Gaussian, projections: int = 256, seed: int = 0
) -> float:
    """`metrics.sliced_wasserstein` in whitened coordinates: a unit is the standard deviation of a coefficient."""
    return metrics.sliced(*_pair(samples, data, spectrum), projections, seed)


def two_sample_accuracy(samples: Tensor, data: Tensor, spectrum: Gaussian, seed: int = 0) -> float:
    """How often a classifier tells samples from data: 0.5, it cannot; 1, it always can.

    samples and data (N, C, H, W), at least 20 of each; as many are taken of both, 1000 at most. The classifier is a
    support vector machine with a Gaussian kernel, on whitened coordinates y and on ln(y^2 + 0.01), which says how large
    each is; it is asked about images that it has not learnt from, a third at a time. A logistic regression on y and y^2
    would see each mean and each variance and nothing else; nearest neighbours are all of the denser set, and see
    nothing where one law is wider. Of N images the standard error at 0.5 is 1 / sqrt(8 N). Source: Lopez-Paz and Oquab
    2017.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.svm import SVC

    x, y = _pair(samples, data, spectrum, FEW, f"a classifier needs {FEW} of each")
    random, count = np.random.default_rng(seed), min(len(x), len(y), MOST)
    rows = torch.cat([z[random.permutation(len(z))[:count]] for z in (x, y)])
    features = torch.cat([rows, torch.log(rows**2 + 0.01)], dim=1)
    _finite(features.sum().item())
    features = (features - features.mean(0)) / features.std(0).clamp_min(1e-12)  # of both alike: it knows no labels
    parts = StratifiedKFold(PARTS, shuffle=True, random_state=seed)
    return float(cross_val_score(SVC(), features.numpy(), np.repeat([0, 1], count), cv=parts).mean())


def negative_log_density(samples: Tensor, mixture: Mixture) -> float:
    """Mean of -ln p(x) over samples (N, C, H, W), in nats an image.

    Compare with the mixture's own (`floor`): above it lies what is improbable, below it what is too smooth.
    """
    return _finite(-mixture.log_density(_images(samples)).mean().item())


def share_distance(samples: Tensor, mixture: Mixture) -> float:
    """Half the sum of |share of the samples - weight| over components, 0 to 1: how much is in the wrong cluster.

    A share is the mean over samples (N, C, H, W) of the responsibilities.
    """
    found = mixture.responsibilities(mixture.basis.forward(_images(samples))).mean(0)
    return _finite(0.5 * (found - mixture.weights).abs().sum().item())


def compare(samples: Tensor, data: Tensor, mixture: Mixture, seed: int = 0) -> dict[str, float]:
    """Every measure of this file by name, of samples and data of a mixture, both (N, C, H, W)."""
    spectrum = mixture.gaussian()
    return {
        "sliced_w2": sliced_wasserstein(samples, data, spectrum, seed=seed),
        "energy": energy_distance(samples, data, spectrum),
        "two_sample": two_sample_accuracy(samples, data, spectrum, seed),
        "negative_log_density": negative_log_density(samples, mixture),
        "shares": share_distance(samples, mixture),
    }


@dataclass(frozen=True)
class Floor:
    """What a measure gives for true samples against true samples: its mean, and the standard deviation of one value."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Floor:
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)))


def floor(
    measure: Callable[[Tensor, Tensor], float],
    draw: Callable[[int, torch.Generator], Tensor],
    count: int,
    repeats: int = 8,
    seed: int = 0,
) -> Floor:
    """A measure of (samples, data) where both are count true images, repeated with fresh ones.

    draw: (count, generator) -> images, e.g. `Mixture.sample`.
    """
    return Floor.of([measure(*pair) for pair in _true_pairs(draw, count, repeats, seed)])


def floors(mixture: Mixture, count: int, repeats: int = 8, seed: int = 0) -> dict[str, Floor]:
    """`floor` of every measure of `compare`."""
    found = [compare(*pair, mixture, seed) for pair in _true_pairs(mixture.sample, count, repeats, seed)]
    return {name: Floor.of([each[name] for each in found]) for name in found[0]}


def _true_pairs(
    draw: Callable[[int, torch.Generator], Tensor], count: int, repeats: int, seed: int
) -> list[tuple[Tensor, Tensor]]:
    if repeats < 2:
        raise ValueError(f"repeats was {repeats}; expected at least 2, for a standard deviation")
    checks.at_least_one(count=count)
    generator = torch.Generator().manual_seed(seed)
    return [(draw(count, generator), draw(count, generator)) for _ in range(repeats)]


def _images(samples: Tensor) -> Tensor:
    return checks.images(samples, "samples").cpu().double()


def _pair(samples: Tensor, data: Tensor, spectrum: Gaussian, least: int = 1, why: str = "") -> tuple[Tensor, Tensor]:
    samples, data = checks.pair(samples, data, ("samples", "data"), least, why)
    return whitened(samples, spectrum), whitened(data, spectrum)


def _distances(x: Tensor, y: Tensor) -> float:
    return sum(torch.cdist(some, y).sum().item() for some in x.split(CHUNK))


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise checks.Unmeasurable.because(
            "samples or data are so large that squares are no numbers any more; expected [-1, 1]", "too large"
        )
    return value
