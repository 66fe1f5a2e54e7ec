"""Measures that see how coefficients go together, where a spectrum looks at one at a time.

Two sets are compared in whitened coordinates of a Gaussian, y = (V'x - m) / sqrt(v), so that fine detail counts as much
as coarse; against a `Mixture` samples alone are measured. No measure is 0 for a perfect sampler of N images: `floor`
says what true samples have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
# Images of each set below which a classifier's parts hold too few to learn from.
FEW = 20
# Images that a classifier's features are distances to.
LANDMARKS = 128
PARTS = 5


def whitened(images: Tensor, spectrum: Gaussian) -> Tensor:
    """(V'x - m) / sqrt(v) of images (N, C, H, W), as rows (N, C H W) float64, on the CPU.

    Where v is less than what rounding to 8 bits adds, that stands for it: a coefficient that hardly varies says little.
    """
    u = spectrum.basis.forward(images.detach().cpu().double())
    return ((u - spectrum.mean) / spectrum.variance.clamp_min(ROUNDING).sqrt()).flatten(1)


def energy_distance(samples: Tensor, data: Tensor, spectrum: Gaussian) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| in whitened coordinates: unbiased, so that it may be below 0.

    samples (N, C, H, W), data (M, C, H, W), two of each at least. Zero on average for two sets of one law, and for no
    others. Source: Szekely and Rizzo 2013.
    """
    x, y = _pair(samples, data, spectrum, 2, "distances within a set need at least two images")
    between = _distances(x, y) / (len(x) * len(y))
    within = [_distances(z, z) / (len(z) * (len(z) - 1)) for z in (x, y)]
    return _number(2 * between - sum(within))


def _distances(x: Tensor, y: Tensor) -> float:
    """The sum of all distances; of an image to itself it is 0."""
    total = sum(torch.cdist(some, y).sum().item() for some in x.split(CHUNK))
    own = torch.cdist(x[:1], y[:1])  # by differences, not products
    return total if x is not y else total - own.item()


def sliced_wasserstein(
    samples: Tensor, data: Tensor, spectrum: Gaussian, projections: int = 256, seed: int = 0
) -> float:
    """`metrics.sliced_wasserstein` in whitened coordinates: a unit is a standard deviation of a coefficient."""
    return metrics.sliced(*_pair(samples, data, spectrum), projections, seed)


def two_sample_accuracy(samples: Tensor, data: Tensor, spectrum: Gaussian, seed: int = 0) -> float:
    """How often a classifier tells samples from data it has not seen: 0.5 cannot, 1 always.

    samples and data (N, C, H, W), 20 of each at least; of the larger set so many as of the smaller. A logistic
    regression on whitened coordinates, their squares, which see each coefficient's mean and variance, and the distances
    to some of the images, which see how they go together; the mean over five parts, each left out once. Its standard
    error at 0.5 is sqrt(1 / 8 N). Source: Lopez-Paz and Oquab 2017.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    why = f"a classifier needs at least {FEW} of each"
    x, y = (z.numpy() for z in _pair(samples, data, spectrum, FEW, why))
    random = np.random.default_rng(seed)
    x, y = (random.permutation(z)[: min(len(x), len(y))] for z in (x, y))
    rows, labels = np.concatenate([x, y]), np.repeat([0, 1], len(x))
    classifier = make_pipeline(Features(seed), StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    parts = StratifiedKFold(PARTS, shuffle=True, random_state=seed)
    return _number(cross_val_score(classifier, rows, labels, cv=parts).mean())
