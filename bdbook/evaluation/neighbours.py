"""What nearest neighbours tell: how much of the samples is real, how much of what is real they reach, and copies."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bdbook.evaluation import metrics
from bdbook.evaluation.checks import pair
from bdbook.pixels import as_float
from bdbook.shapes import Row

NEIGHBOURS = 3
# Images to which distances are held at once.
CHUNK = 8192


def precision_recall(
    images: Tensor, reference: Tensor, features: nn.Module | None = None, neighbours: int = NEIGHBOURS
) -> dict[str, float]:
    """Precision, the share of images that lie among the reference; recall, that of the reference among the images.

    Both (N, C, H, W), quantised first; as many are taken of both, the first, and there must be more than `neighbours`.
    To lie among others is to be within the distance that one of them has to its `neighbours`-th neighbour among
    themselves, in feature space; features as for `metrics.frechet`. Source: Kynkaanniemi et al. 2019.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours was {neighbours}; expected at least 1")
    why = f"the distance to neighbour {neighbours} needs {neighbours + 1} images"
    images, reference = pair(images, reference, ("images", "reference"), neighbours + 1, why)
    return among(metrics.features_of(images, features), metrics.features_of(reference, features), neighbours)


def among(features: Tensor, reference: Tensor, neighbours: int = NEIGHBOURS) -> dict[str, float]:
    """`precision_recall` of features, (N, d) and (M, d)."""
    return _some(all_four(features, reference, neighbours), "precision", "recall")


def density_coverage(features: Tensor, reference: Tensor, neighbours: int = NEIGHBOURS) -> dict[str, float]:
    """Density, in how many balls of the reference a sample lies, and coverage, the share of balls that have a sample.

    Of features, (N, d) and (M, d), as many of both. The ball of a real image reaches to its `neighbours`-th neighbour
    among the real ones, so in the mean over all real images one lies in about as many balls; density is in these units.
    Where precision asks for one ball, and a single stray image has a wide one, density counts them all; where recall
    lets samples spread their own balls, coverage asks for a sample. Source: Naeem et al. 2020.
    """
    return _some(all_four(features, reference, neighbours), "density", "coverage")


def all_four(features: Tensor, reference: Tensor, neighbours: int = NEIGHBOURS) -> dict[str, float]:
    """`among` and `density_coverage` of the same distances."""
    count = min(len(features), len(reference))
    a, b = features[:count].double(), reference[:count].double()
    between = _distances(a, b)
    within, around = between <= _radii(b, neighbours), between <= _radii(a, neighbours)[:, None]
    return {
        "precision": within.any(1).double().mean().item(),
        "recall": around.any(0).double().mean().item(),
        "density": within.double().sum(1).mean().item() / neighbours,
        "coverage": within.any(0).double().mean().item(),
    }


def _some(found: dict[str, float], *names: str) -> dict[str, float]:
    return {name: found[name] for name in names}


def _radii(x: Tensor, neighbours: int) -> Row:
    """Of each of x (N, d) the distance to its so-manieth neighbour among the others: (N,)."""
    within = _distances(x, x)
    return within.fill_diagonal_(torch.inf).kthvalue(neighbours, dim=1).values


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # By differences: with products, equal rows would lie at distances of rounding, and of different ones on each side.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def nearest(images: Tensor, training: Tensor) -> Row:
    """Distance of each of images (N, C, H, W) to the nearest of training (M, C, H, W), (N,) float64 on the CPU.

    The root of the mean over pixels of the squared difference: a difference of 0.1 in each pixel is 0.1. Images as they
    are, not quantised. A copy has the distance 0.
    """
    images, _ = pair(images, training[:1], ("images", "training"))
    rows = images.cpu().float().flatten(1)
    least = torch.full((len(rows),), torch.inf)
    found = torch.zeros(len(rows), dtype=torch.long)
    for number, some in enumerate(training.split(CHUNK)):
        others = as_float(some.detach().cpu()).float().flatten(1)
        # Less what is the same for all of them; who is nearest is found by products, how near by the difference.
        distances, index = torch.addmm(others.square().sum(1), rows, others.T, alpha=-2).min(1)
        closer = distances < least
        least, found = least.where(~closer, distances), found.where(~closer, index + number * CHUNK)
    others = as_float(training[found].detach().cpu()).double().flatten(1)
    return (images.cpu().double().flatten(1) - others).square().mean(1).sqrt()
