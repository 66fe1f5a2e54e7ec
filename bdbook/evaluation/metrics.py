"""Numbers that compare samples with data."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bdbook.pixels import quantise
from bdbook.shapes import Images, Row
from bdbook.transforms import DCT

# Images a second for features and SSIM alike; more would only take more memory.
CHUNK = 256
# Every process of several has all of the images: what they found is not to be added up.
NOT_SUMMED: dict[str, Any] = {"sync_on_compute": False}


def band_index(freq2: Tensor, bands: int) -> Tensor:
    """The band, 0 (lowest) to bands - 1, of each frequency: equal widths of |frequency|. (H, W) int64."""
    radius = freq2.sqrt().squeeze(0).squeeze(0)
    return (radius / radius.max() * bands).long().clamp_max(bands - 1)


def band_variance(images: Images, bands: int = 5) -> Row:
    """Variance over images of the DCT coefficients, summed in each band: (bands,) float64, on the CPU.

    images: (N, C, H, W).
    """
    if len(images) < 2:
        raise ValueError(f"a variance needs at least two images, but got {len(images)}")
    height, width = images.shape[-2:]
    basis = DCT((height, width))
    variance = basis.forward(images.double()).var(0).sum(0)
    index = band_index(basis.freq2, bands).to(images.device)
    totals = torch.zeros(bands, dtype=torch.float64, device=images.device)
    return totals.scatter_add(0, index.flatten(), variance.flatten()).cpu()


def band_ratio(samples: Tensor, data: Tensor, bands: int = 5) -> Row:
    """Variance of the samples over variance of the data in each frequency band, lowest first; 1 is right."""
    return band_variance(samples, bands) / band_variance(data, bands)


def fidelity(images: Tensor, truth: Tensor) -> dict[str, float]:
    """rmse and psnr (dB) over all pixels, ssim as the mean over images; both (N, C, H, W), quantised first.

    In units of a range of 1. SSIM as torchmetrics has it: a Gaussian window of 11 pixels, deviation 1.5, over the whole
    picture, mirrored beyond its borders.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    if images.shape != truth.shape:
        raise ValueError(f"images had shape {tuple(images.shape)} and truth {tuple(truth.shape)}; expected the same")
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
    `FrechetInceptionDistance(2048).inception` (it needs torch-fidelity). N should be several times d.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    _require_several(images=images, reference=reference)
    _, channels, height, width = reference.shape
    distance = FrechetInceptionDistance(
        feature=_or_digits(features), input_img_size=(channels, height, width), **NOT_SUMMED
    )
    for x, real in ((images, False), (reference, True)):
        for chunk in quantise(x).split(CHUNK):
            distance.update(chunk, real=real)
    return distance.compute().item()


def kernel_distance(images: Tensor, reference: Tensor, features: nn.Module | None = None, subset: int = 1000) -> float:
    """KID: squared maximum mean discrepancy of features (cubic kernel), unbiased, so that it may be below 0.

    Both (N, C, H, W), quantised first; features as for `frechet`. With more than `subset` images the mean over 100
    random subsets, as in Binkowski et al. 2018; else all of the smaller set against as many of the larger.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    _require_several(images=images, reference=reference)
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

    _require_several(images=images)
    logits = digit_logits() if logits is None else logits
    log_p = torch.cat([logits(chunk).double().log_softmax(1) for chunk in quantise(images).split(CHUNK)])
    scores = [(p.exp() * (p - p.exp().mean(0).log())).sum(1).mean().exp() for p in log_p.chunk(splits)]
    return torch.stack(scores).mean().item()


def _or_digits(features: nn.Module | None) -> nn.Module:
    if features is not None:
        return features
    from bdbook.evaluation.features import digit_features

    return digit_features()


def _require_several(**sets: Tensor) -> None:
    for name, x in sets.items():
        if x.ndim != 4 or len(x) < 2:
            raise ValueError(f"{name} had shape {tuple(x.shape)}; expected (N, C, H, W) with N of 2 or more")


def spectrum_distance(images: Tensor, pictures: Tensor, bands: int = 5) -> float:
    """Root mean square over frequency bands of ln(variance of images / variance of pictures); 0 is right."""
    return torch.log(band_ratio(images, pictures, bands)).square().mean().sqrt().item()


def sliced_wasserstein(images: Tensor, pictures: Tensor, projections: int = 256, seed: int = 0) -> float:
    """Root of the mean over random directions of the squared 2-Wasserstein distance along each, in pixel space.

    images (N, C, H, W), pictures (M, C, H, W); along one direction the distance matches sorted numbers. In units of a
    pixel: a shift of all pixels by 0.1 has the distance 0.1.
    """
    if images.shape[1:] != pictures.shape[1:]:
        raise ValueError(
            f"images were {tuple(images.shape[1:])} and pictures {tuple(pictures.shape[1:])}; expected equal"
        )
    size = images[0].numel()
    random = torch.Generator().manual_seed(seed)
    directions = torch.randn(size, projections, generator=random, dtype=torch.float64)
    directions = directions / directions.norm(dim=0)
    a, b = ((x.detach().cpu().double().flatten(1) @ directions).sort(0).values for x in (images, pictures))
    if len(a) != len(b):  # quantiles of both at equally many places
        places = (torch.arange(max(len(a), len(b)), dtype=torch.float64) + 0.5) / max(len(a), len(b))
        a, b = (torch.quantile(x, places, dim=0) for x in (a, b))
    return (a - b).square().mean().sqrt().item()
