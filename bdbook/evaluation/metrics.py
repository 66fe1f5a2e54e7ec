"""Numbers that compare samples with data.

Images are (N, C, H, W) in [-1, 1], or uint8, which are taken as the pixels of a file; what no measure takes is refused
by `checks`, in words that name the argument.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bdbook.evaluation.checks import Unmeasurable, doubt, pair
from bdbook.evaluation.checks import images as checked
from bdbook.pixels import quantise
from bdbook.shapes import Row
from bdbook.transforms import DCT, Basis

# Images a second for features and SSIM alike; more would only take more memory.
CHUNK = 256
# Every process of several has all of the images: what they found is not to be added up.
NOT_SUMMED: dict[str, Any] = {"sync_on_compute": False}
# Images for each feature of a Frechet distance, below which it is mostly scatter.
ENOUGH = 10
# Of the largest value: what rounding leaves in a coefficient that is the same in all images.
NOTHING = 1e-13
# Images below which a kernel distance, right on average, is mostly scatter.
FEW = 100
TWO = "a variance needs at least two images"


def band_index(freq2: Tensor, bands: int) -> Tensor:
    """The band, 0 (lowest) to bands - 1, of each frequency: equal widths of |frequency|. (H, W) int64."""
    radius = freq2.sqrt().squeeze(0).squeeze(0)
    return (radius / radius.max() * bands).long().clamp_max(bands - 1)


def band_variance(images: Tensor, bands: int = 5) -> Row:
    """Variance over images of the DCT coefficients, summed in each band: (bands,) float64, on the CPU.

    images: (N, C, H, W), at least two. Exactly 0 where all images are the same but for rounding.
    """
    return _band_variance(checked(images, least=2, why=TWO), bands)


def _band_variance(images: Tensor, bands: int) -> Row:
    height, width = images.shape[-2:]
    return variance_by_band(images, bands, DCT((height, width)))


def variance_by_band(images: Tensor, bands: int, basis: Basis) -> Row:
    """`band_variance` of images of any axes, (N, C, *axes), in a basis, without a look at what they are."""
    if bands < 1:
        raise ValueError(f"bands was {bands}; expected at least 1")
    variance = basis.forward(images.double()).var(0).sum(0)
    index = band_index(basis.freq2, bands).to(images.device)
    totals = torch.zeros(bands, dtype=torch.float64, device=images.device)
    totals = totals.scatter_add(0, index.flatten(), variance.flatten()).cpu()
    if not totals.isfinite().all():
        raise Unmeasurable.because(
            f"images reach {images.abs().max():.3g}, whose square is no number any more; expected [-1, 1]", "too large"
        )
    rounding = (NOTHING * images.abs().max().double().cpu()) ** 2 * images.shape[1]
    return totals.where(totals > rounding * torch.bincount(index.cpu().flatten(), minlength=bands), 0.0)


def band_ratio(samples: Tensor, data: Tensor, bands: int = 5) -> Row:
    """Variance of the samples over variance of the data in each frequency band, lowest first; 1 is right.

    Both (N, C, H, W), at least two of each. Raises where the data do not vary in a band.
    """
    samples, data = pair(samples, data, ("samples", "data"), 2, TWO)
    variance = _band_variance(data, bands)
    _varied(variance, "data")
    return _band_variance(samples, bands) / variance


def _varied(variance: Row, name: str) -> None:
    still = [str(band) for band, value in enumerate(variance.tolist(), 1) if value == 0]
    if still:
        raise Unmeasurable.because(
            f"{name} do not vary in frequency band {', '.join(still)} of {len(variance)}: all of them are constant or "
            "the same there, and a ratio of variances says nothing; give images that differ",
            "constant",
        )


def fidelity(images: Tensor, truth: Tensor) -> dict[str, float]:
    """rmse and psnr (dB) over all pixels, ssim as the mean over images; both (N, C, H, W), quantised first.

    In units of a range of 1. SSIM as torchmetrics has it: a Gaussian window of 11 pixels, deviation 1.5, over the whole
    picture, mirrored beyond its borders, so that sides of 6 pixels or more are needed. Where both are identical the
    psnr is infinite; the tables say so in a word.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    if images.shape != truth.shape:
        raise ValueError(f"images had shape {tuple(images.shape)} and truth {tuple(truth.shape)}; expected the same")
    images, truth = pair(images, truth, ("images", "truth"))
    height, width = images.shape[-2:]
    if min(height, width) < 6:
        raise Unmeasurable.because(
            f"images were {height}x{width} pixels; expected sides of 6 or more for SSIM's window of 11",
            f"too small: {height}x{width}",
        )
    a, b = (quantise(x).double() / 255 for x in (images, truth))
    ssim = torch.cat([_ssim(x, y) for x, y in zip(a.split(CHUNK), b.split(CHUNK), strict=True)])
    return {
        "rmse": (a - b).square().mean().sqrt().item(),
        "psnr": peak_signal_noise_ratio(a, b, data_range=1.0).item(),
        "ssim": ssim.mean().item(),
    }


def _ssim(images: Tensor, truth: Tensor) -> Tensor:
    from torchmetrics.functional.image import structural_similarity_index_measure

    each = structural_similarity_index_measure(images, truth, data_range=1.0, reduction="none")
    assert isinstance(each, Tensor)  # a pair where its parts are asked for
    return each.reshape(-1)


def frechet(images: Tensor, reference: Tensor, features: nn.Module | None = None) -> float:
    """Frechet distance between Gaussians fitted to the features of two sets of images (N, C, H, W), quantised first.

    features: a module, uint8 (N, C, H, W) -> (N, d); None: the embedded `features.digit_features`, whose distances
    compare among themselves alone. For FID as papers print it give Inception's, for instance torchmetrics'
    `FrechetInceptionDistance(2048).inception` (it needs torch-fidelity). Of N images there are covariances of d
    features only for N > d, else this raises; below 10 d a warning says how many would do.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    images, reference = pair(images, reference, ("images", "reference"), 2)
    _, channels, height, width = reference.shape
    distance = FrechetInceptionDistance(
        feature=_or_digits(features), input_img_size=(channels, height, width), **NOT_SUMMED
    )
    for name, x in (("images", images), ("reference", reference)):
        enough(name, len(x), distance.real_features_sum.numel())
    for x, real in ((images, False), (reference, True)):
        for chunk in quantise(x).split(CHUNK):
            distance.update(chunk, real=real)
    return distance.compute().item()


def enough(name: str, count: int, dimension: int) -> None:
    """Raise where of so many images there is no covariance of so many features; warn where it is mostly scatter."""
    if count <= dimension:
        raise Unmeasurable.because(
            f"{name} had {count} images; the Frechet distance's covariance of {dimension} features "
            f"needs more than {dimension}, and {ENOUGH * dimension} to mean something: give more",
            f"too few: {count} of {dimension + 1}",
        )
    if count < ENOUGH * dimension:
        doubt(
            f"Frechet distance: {name} had {count} images for {dimension} features; of so few most of it is their "
            f"scatter. It needs {ENOUGH * dimension} or more"
        )


def kernel_distance(images: Tensor, reference: Tensor, features: nn.Module | None = None, subset: int = 1000) -> float:
    """KID: squared maximum mean discrepancy of features (cubic kernel), unbiased, so that it may be below 0.

    Both (N, C, H, W), quantised first; features as for `frechet`. With more than `subset` images the mean over 100
    random subsets, as in Binkowski et al. 2018; else all of the smaller set against as many of the larger. Below 100
    images a warning says that they are few.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    images, reference = pair(images, reference, ("images", "reference"), 2)
    if subset < 2:
        raise ValueError(f"subset was {subset}; expected at least 2 images")
    for name, x in (("images", images), ("reference", reference)):
        if len(x) < FEW:
            doubt(f"kernel distance: {name} had {len(x)} images; right on average, it scatters widely below {FEW}")
    smaller = min(len(images), len(reference))
    size = min(smaller, subset)
    subsets = 1 if len(images) == len(reference) == size else 100
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save all extracted features")
        distance = KernelInceptionDistance(
            feature=_or_digits(features), subsets=subsets, subset_size=size, **NOT_SUMMED
        )
    for x, real in ((images, False), (reference, True)):
        for chunk in quantise(x).split(CHUNK):
            distance.update(chunk, real=real)
    with torch.random.fork_rng(devices=[]):  # the subsets come from the global generator
        torch.manual_seed(0)
        return distance.compute()[0].item()


def inception_score(images: Tensor, logits: Callable[[Tensor], Tensor] | None = None, splits: int = 1) -> float:
    """exp of the mean divergence of each image's class probabilities from their mean: 1 to the number of classes.

    images: (N, C, H, W), quantised first. logits: a module, uint8 images -> (N, classes); None: the embedded digit
    classifier, to which only digits are anything. splits: mean over so many parts; 10 in the papers, for 50,000 images.
    """
    from bdbook.evaluation.features import digit_logits

    images = checked(images, least=2)
    if not 1 <= splits <= len(images):
        raise ValueError(f"splits was {splits}; expected 1 to {len(images)}, the number of images")
    logits = digit_logits() if logits is None else logits
    log_p = torch.cat([logits(chunk).double().log_softmax(1) for chunk in quantise(images).split(CHUNK)])
    least = torch.finfo(log_p.dtype).tiny  # of a class that no image has a chance of
    scores = [(p.exp() * (p - p.exp().mean(0).clamp_min(least).log())).sum(1).mean().exp() for p in log_p.chunk(splits)]
    return torch.stack(scores).mean().item()


@torch.no_grad()
def features_of(images: Tensor, features: nn.Module | None = None) -> Tensor:
    """Features (N, d), float64 on the CPU, of images (N, C, H, W), quantised first; None: `features.digit_features`."""
    module = _or_digits(features)
    return torch.cat([module(chunk).double().cpu() for chunk in quantise(images).split(CHUNK)])


def _or_digits(features: nn.Module | None) -> nn.Module:
    if features is not None:
        return features
    from bdbook.evaluation.features import digit_features

    return digit_features()


def spectrum_distance(images: Tensor, pictures: Tensor, bands: int = 5) -> float:
    """Root mean square over frequency bands of ln(variance of images / variance of pictures); 0 is right.

    Both (N, C, H, W), at least two of each. Raises where either do not vary in a band.
    """
    images, pictures = pair(images, pictures, ("images", "pictures"), 2, TWO)
    return spectra_apart(*(_band_variance(x, bands) for x in (images, pictures)))


def spectra_apart(images: Row, pictures: Row) -> float:
    """`spectrum_distance` of what `band_variance` gives of each."""
    for variance, name in ((images, "images"), (pictures, "pictures")):
        _varied(variance, name)
    return torch.log(images / pictures).square().mean().sqrt().item()


def sliced_wasserstein(images: Tensor, pictures: Tensor, projections: int = 256, seed: int = 0) -> float:
    """Root of the mean over random directions of the squared 2-Wasserstein distance along each, in pixel space.

    images (N, C, H, W), pictures (M, C, H, W); along one direction the distance matches sorted numbers. In units of a
    pixel: a shift of all pixels by 0.1 has the distance 0.1.
    """
    images, pictures = pair(images, pictures, ("images", "pictures"))
    a, b = (x.detach().cpu().double().flatten(1) for x in (images, pictures))
    return sliced(a, b, projections, seed)


def sliced(a: Tensor, b: Tensor, projections: int, seed: int) -> float:
    """`sliced_wasserstein` of vectors, one a row: a (N, d), b (M, d), float64 on the CPU."""
    a, b = (sorted_along(x, projections, seed) for x in (a, b))
    if len(a) != len(b):
        a, b = (quantiles(x, max(len(a), len(b))) for x in (a, b))
    return sorted_apart(a, b)


def sorted_along(x: Tensor, projections: int, seed: int) -> Tensor:
    """Vectors x (N, d) along so many random directions, each column sorted: (N, projections)."""
    if projections < 1:
        raise ValueError(f"projections was {projections}; expected at least 1")
    random = torch.Generator().manual_seed(seed)
    directions = torch.randn(x.shape[1], projections, generator=random, dtype=torch.float64)
    return (x @ (directions / directions.norm(dim=0))).sort(0).values


def sorted_apart(a: Tensor, b: Tensor) -> float:
    """Root of the mean square of the difference of sorted columns, (N, projections) both."""
    found = (a - b).square().mean().sqrt().item()
    if not math.isfinite(found):
        raise Unmeasurable.because("images or pictures are so large that squares are no numbers any more", "too large")
    return found


def quantiles(x: Tensor, count: int) -> Tensor:
    """Of each sorted column of x (N, projections) the quantiles at count equally spaced places, (count, projections).

    Between two numbers by a straight line, as `torch.quantile`, which sorts again and takes no more than 2^24 numbers.
    """
    ranks = (torch.arange(count, dtype=torch.float64) + 0.5) / count * (len(x) - 1)
    below = ranks.long()
    return torch.lerp(x[below], x[ranks.ceil().long()], (ranks - below)[:, None])
