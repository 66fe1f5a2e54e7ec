"""Samples against the real images of what they were learnt from, beside what real images get: the floor.

A set of real images (`real`) is split in three. The last 10,000 training images are the reference; the training images
before them, as many as there are samples, are measured just as samples are, and what they get is the floor of each
measure: no sampler of that many images is expected below it. The test split is a second reference, for what was learnt
by heart. What belongs to the real images alone is computed once a process. What each measure sees is in SEES.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from bdbook import data
from bdbook.evaluation import checks, features, joint, metrics, neighbours
from bdbook.evaluation.checks import Unmeasurable, or_words
from bdbook.oracle import Gaussian
from bdbook.pixels import as_float
from bdbook.shapes import Row
from bdbook.transforms import DCT

# Images of each reference, and of each half of the test images whose distances to training images are measured.
REFERENCE, HELD_OUT = 10_000, 1024
PROJECTIONS = 256
# Images below which a kernel distance scatters over more than it can tell.
HANDFUL = 10
SEES = {
    "frechet": "The Fréchet distance compares mean and covariance of features. It sees kinds that are missing, images "
    "that are nothing, and blur. How much it sees of noise is the network's: that of textures looks for it, that of "
    "clothes past it.",
    "kernel": "The kernel distance compares moments of the same features up to the third and sees the same. It is "
    "right on average whatever the number of images, so that real images lie around 0.",
    "score": "The classifier score is high where each image is clearly of one class and the classes are even. It "
    "looks at no real image: one clear picture of each class, again and again, has a better score than real images.",
    "precision": "Precision is the share of samples that lie among the real images in feature space. Features of "
    "textures see samples that are nothing; on clothes it is lenient, since the odd ones of the real images have wide "
    "balls, in which even Gaussian fields lie. It sees neither kinds that are missing nor, on clothes, a little blur.",
    "recall": "Recall is the share of real images that lie among the samples. It sees where half of the kinds are "
    "missing, and it sees blur, since blurred samples lie closer together; one kind of ten it does not miss, and half "
    "of the samples may be nothing.",
    "density": "Density counts in how many neighbourhoods of real images a sample lies, 1 for real ones. It is less "
    "lenient with samples that are nothing than precision; blurred ones lie closer together, in more than 1.",
    "coverage": "Coverage is the share of real images that have a sample in their neighbourhood. It sees kinds that "
    "are missing as well as samples that are nothing; blur lowers it a little.",
    "sliced_wasserstein": "Sliced W2 compares pixels along random directions. It sees contrast and coarse shapes, "
    "where the variance is; noise it does not see.",
    "whitened": "Whitened sliced W2 counts every frequency by its own standard deviation. It sees missing detail as "
    "well as coarse shapes, and of how coefficients go together little: Gaussian fields of the right spectrum are "
    "nearer to it than a little blur is.",
    "nearest": "The nearest-image ratio is the mean distance of samples to their nearest training image over that of "
    "test images: 0 for copies, about 1 for what is as new as test images are. It sees copies of pixels: noise of 0.1 "
    "on a copy makes it half new.",
    "spectrum": "The spectrum distance compares the variance in each frequency band. It sees blur and noise, and "
    "nothing of shapes: Gaussian fields of the same spectrum are perfect.",
}


@dataclass(frozen=True, eq=False)
class Seen:
    """A set of images (N, C, H, W) in [-1, 1] as the measures see it, each part computed when it is first asked for.

    spectrum: by which coefficients are whitened.
    """

    images: Tensor
    judge: features.Judge
    spectrum: Gaussian

    @cached_property
    def features(self) -> Tensor:
        """(N, d) float64."""
        return metrics.features_of(self.images, self.judge.features)

    @cached_property
    def gaussian(self) -> tuple[Tensor, Tensor]:
        """Mean (d,) and covariance (d, d) of the features."""
        return self.features.mean(0), self.features.T.cov()

    @cached_property
    def kernel(self) -> float:
        """Mean of the kernel over pairs of different images."""
        count = len(self.features)
        itself = _kernel(self.features.square().sum(1), self.features.shape[1]).sum().item()
        return (_kernel_sum(self.features, self.features) - itself) / (count * (count - 1))

    @cached_property
    def score(self) -> float | str:
        """`metrics.inception_score` by the classifier of the data's own classes."""
        return or_words(metrics.inception_score, self.images, self.judge.logits)

    @cached_property
    def along(self) -> Tensor:
        """Pixels along random directions, sorted: (N, projections)."""
        return metrics.sorted_along(self.images.double().flatten(1), PROJECTIONS, seed=0)

    @cached_property
    def whitened_along(self) -> Tensor:
        """Whitened coefficients along random directions, sorted: (N, projections)."""
        return metrics.sorted_along(joint.whitened(self.images, self.spectrum), PROJECTIONS, seed=0)

    @cached_property
    def bands(self) -> Row:
        """Variance in each frequency band, lowest first: (5,)."""
        return metrics.band_variance(self.images)


def _kernel(products: Tensor, dimension: int) -> Tensor:
    return (products / dimension + 1) ** 3


def _kernel_sum(x: Tensor, y: Tensor) -> float:
    return sum(_kernel(some @ y.T, x.shape[1]).sum().item() for some in x.split(joint.CHUNK))


def frechet(images: Seen, reference: Seen) -> float:
    """`metrics.frechet`."""
    for name, seen in (("images", images), ("reference", reference)):
        metrics.enough(name, *seen.features.shape)
    (mean, covariance), (other_mean, other_covariance) = images.gaussian, reference.gaussian
    values, vectors = torch.linalg.eigh(other_covariance)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    between = torch.linalg.eigvalsh(root @ covariance @ root).clamp_min(0).sqrt().sum()
    found = (mean - other_mean).square().sum() + covariance.trace() + other_covariance.trace() - 2 * between
    return found.item()


def kernel(images: Seen, reference: Seen) -> float:
    """`metrics.kernel_distance` of all pairs of images, instead of those in random subsets: unbiased."""
    few = min(len(images.features), len(reference.features))
    if few < HANDFUL:
        raise Unmeasurable.because(f"{few} images tell no kernel distance", f"too few: {few} of {HANDFUL}")
    across = _kernel_sum(images.features, reference.features) / (len(images.features) * len(reference.features))
    return images.kernel + reference.kernel - 2 * across


def against(images: Seen, reference: Seen) -> dict[str, Any]:
    """All the measures of one set against another; in place of a number that does not exist stand a few words.

    frechet, kernel: distances of features. score: of the classifier, where the data have classes. precision, recall,
    density, coverage: of as many of both. sliced_wasserstein: in units of a pixel; whitened: of a coefficient's
    deviation. spectrum: of the variance by band, whose ratios are bands, the lowest first. count, pictures: how many
    there were.
    """
    found = {
        "frechet": or_words(frechet, images, reference),
        "kernel": or_words(kernel, images, reference),
        **({} if images.judge.logits is None else {"score": images.score}),
        **_among(images, reference),
        "sliced_wasserstein": or_words(_sliced, images.along, reference.along),
        "whitened": or_words(_sliced, images.whitened_along, reference.whitened_along),
        "spectrum": or_words(_spectrum, images, reference),
        "bands": _bands(images, reference),
    }
    return found | {"count": len(images.images), "pictures": len(reference.images)}


def _among(images: Seen, reference: Seen) -> dict[str, Any]:
    few, least = min(len(images.features), len(reference.features)), neighbours.NEIGHBOURS + 1
    if few < least:
        return dict.fromkeys(("precision", "recall", "density", "coverage"), f"too few: {few} of {least}")
    return neighbours.all_four(images.features, reference.features)


def _sliced(a: Tensor, b: Tensor) -> float:
    if len(a) != len(b):
        a, b = (metrics.quantiles(x, max(len(a), len(b))) for x in (a, b))
    return metrics.sorted_apart(a, b)


def _spectrum(images: Seen, reference: Seen) -> float:
    return metrics.spectra_apart(images.bands, reference.bands)


def _bands(images: Seen, reference: Seen) -> list[float | str] | str:
    over = or_words(lambda: images.bands)
    if isinstance(over, str):
        return [over] * len(reference.bands)
    return [a / b if b > 0 else "constant" for a, b in zip(over.tolist(), reference.bands.tolist())]


@dataclass(frozen=True, eq=False)
class Near:
    """How near images come to those that were trained on, beside how near test images come: copies are nearer.

    training: all that were trained on, (M, C, H, W), uint8 or in [-1, 1]. held_out: test images, whose first half says
    what is usual and whose second half how much that scatters.
    """

    training: Tensor
    held_out: Tensor

    @cached_property
    def _halves(self) -> tuple[float, float]:
        first, second = (neighbours.nearest(half, self.training).mean().item() for half in self.held_out.chunk(2))
        return first, second

    def of(self, images: Tensor) -> dict[str, float]:
        """nearest_distance, the mean of `neighbours.nearest`; nearest, its ratio to that of test images."""
        return self._told(neighbours.nearest(images, self.training).mean().item())

    @property
    def floor(self) -> dict[str, float]:
        """The same of test images, the other half."""
        return self._told(self._halves[1])

    def _told(self, distance: float) -> dict[str, float]:
        return {"nearest": distance / self._halves[0], "nearest_distance": distance}


@dataclass(frozen=True, eq=False)
class Real:
    """The real images of a data set, against which samples are measured. spare: training images for the floor."""

    name: str
    training: Seen
    test: Seen
    spare: Tensor
    near: Near
    _floors: dict[int, tuple[dict, dict]] = field(default_factory=dict, repr=False)

    def trained_on(self, images: Tensor) -> Real:
        """The same where only these, (M, C, H, W), were trained on: the nearest is looked for among them."""
        if len(images) == len(self.near.training) and torch.equal(images.cpu(), self.near.training):
            return self
        return replace(self, near=replace(self.near, training=images.cpu()))

    def measures(self, images: Tensor) -> dict[str, dict]:
        """Images (N, C, H, W) in [-1, 1] by every measure: {"samples": ..., "floor": ..., "test": {the same two}}.

        Samples and floor are `against` the training reference, with nearest and nearest_distance (`Near.of`, whose
        floor is of test images); under "test" they are against the test images, whitened as above. Images of which
        there is no measure, as those with NaN, have words in place of each number. Raises ValueError for images of
        another shape, and for more than there are training images for a floor.
        """
        floor, test_floor = (dict(row) for row in self._floor(len(images)))
        floor |= self.near.floor
        try:
            images, _ = checks.pair(images, self.spare[:1], ("images", "the real images"))
            samples, test = self._rows(images.cpu())
            samples |= self.near.of(images)
        except Unmeasurable as error:
            samples, test = (_all_in_words(row, error.words) for row in (floor, test_floor))
        return {"samples": samples, "floor": floor, "test": {"samples": test, "floor": test_floor}}

    def _floor(self, count: int) -> tuple[dict[str, Any], dict[str, Any]]:
        if not 1 <= count <= len(self.spare):
            raise ValueError(
                f"there were {count} images; expected 1 to {len(self.spare)}: {self.name} has so many training images "
                "that are not in the reference, of which as many give the floor; measure some of the images"
            )
        if count not in self._floors:
            self._floors[count] = self._rows(self.spare[-count:])
        return self._floors[count]

    def _rows(self, images: Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        seen = replace(self.training, images=images)
        return against(seen, self.training), against(seen, self.test)  # whitened by the training's spectrum both times


def _all_in_words(row: dict[str, Any], words: str) -> dict[str, Any]:
    told = dict.fromkeys(row, words) | {"bands": [words] * len(row["bands"])}
    return told | {key: row[key] for key in ("count", "pictures")}


@lru_cache(maxsize=2)
def real(name: str, size: data.Size, channels: int = 1) -> Real:
    """The real images of a data set, by name, at a size: side in pixels or (height, width).

    name: one that has features of its own and images enough, "fashion", "photos" or "leaves"; of the last, of which
    there is no end, the first 11,024 are taken. Raises ValueError for others, whose samples `generation.compare`
    compares with a split.
    """
    judge = features.of(name, size)
    if name.removeprefix(data.SET) not in features.MADE_FOR:
        raise ValueError(
            f"{name!r} has no features made for it, or too few images for a floor; expected "
            f"{', '.join(features.MADE_FOR)}: compare samples of others with a split by generation.compare(run)"
        )
    training = trained_on = data.load_pixels(name, size, channels)
    if len(training) < REFERENCE + HELD_OUT:
        training = data.load_pixels(name, size, channels, REFERENCE + HELD_OUT)
    test = data.load(name, size, channels, REFERENCE, "test")
    reference = as_float(training[-REFERENCE:])
    spectrum = Gaussian.fit(DCT(size), reference)
    return Real(
        name,
        Seen(reference, judge, spectrum),
        Seen(test, judge, spectrum),
        as_float(training[:-REFERENCE]),
        Near(trained_on, test[: 2 * HELD_OUT]),
    )


def table(found: dict[str, Any]) -> str:
    """What `Real.measures` found as text with aligned columns: each reference's samples and floor."""
    test = found["test"]
    rows = {"samples": found["samples"], "floor": found["floor"], "test": test["samples"], "test floor": test["floor"]}
    columns = [
        ("frechet", "Frechet", 9, ".3f"),
        ("kernel", "kernel", 8, ".4f"),
        *([("score", "score", 6, ".2f")] if "score" in found["samples"] else []),
        ("precision", "precision", 9, ".3f"),
        ("recall", "recall", 6, ".3f"),
        ("density", "density", 7, ".3f"),
        ("coverage", "coverage", 8, ".3f"),
        ("sliced_wasserstein", "sliced W2", 9, ".4f"),
        ("whitened", "whitened", 8, ".4f"),
        ("nearest", "nearest", 7, ".3f"),
        ("spectrum", "spectrum", 8, ".3f"),
        ("count", "N", 6, "d"),
        ("pictures", "images", 6, "d"),
    ]
    return "\n".join(checks.aligned(rows, columns))
