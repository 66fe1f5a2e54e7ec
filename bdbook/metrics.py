"""Numbers that compare samples with data."""

from __future__ import annotations

import torch
from torch import Tensor

from bdbook.transforms import DCT


def band_index(freq2: Tensor, bands: int) -> Tensor:
    """The band, 0 (lowest) to bands - 1, of each frequency: equal widths of |frequency|. (H, W) int64."""
    radius = freq2.sqrt().squeeze(0).squeeze(0)
    return (radius / radius.max() * bands).long().clamp_max(bands - 1)


def band_variance(images: Tensor, bands: int = 5) -> Tensor:
    """Variance over images of the DCT coefficients, summed in each band: (bands,) float64.

    images: (N, C, H, W).
    """
    if len(images) < 2:
        raise ValueError(f"a variance needs at least two images, but got {len(images)}")
    basis = DCT(tuple(images.shape[-2:]))
    variance = basis.forward(images.double()).var(0).sum(0)
    index = band_index(basis.freq2, bands).to(images.device)
    totals = torch.zeros(bands, dtype=torch.float64, device=images.device)
    return totals.scatter_add(0, index.flatten(), variance.flatten())


def band_ratio(samples: Tensor, data: Tensor, bands: int = 5) -> Tensor:
    """Variance of the samples over variance of the data in each frequency band, lowest first; 1 is right."""
    return band_variance(samples, bands) / band_variance(data, bands)
