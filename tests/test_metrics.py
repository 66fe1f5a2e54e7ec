"""Band variances against Parseval and a direct sum."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from bdbook import metrics


def test_bands_share_out_all_of_the_variance():
    images = torch.randn(50, 3, 12, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert metrics.band_variance(images, 5).sum().item() == pytest.approx(images.var(0).sum().item())


def test_bands_against_a_direct_sum():
    images = np.random.default_rng(0).normal(size=(40, 1, 9, 7))
    variance = dctn(images, axes=(2, 3), norm="ortho").var(0, ddof=1).sum(0)
    radius = np.hypot(np.pi * np.arange(9)[:, None] / 9, np.pi * np.arange(7)[None] / 7)
    edges = np.linspace(0, radius.max(), 5)
    inside = [(radius >= low) & (radius < high) for low, high in zip(edges, [*edges[1:-1], np.inf])]
    expected = [variance[mask].sum() for mask in inside]
    np.testing.assert_allclose(metrics.band_variance(torch.from_numpy(images), 4), expected)


def test_ratio_of_doubled_contrast_is_four_and_of_blur_falls():
    images = torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    np.testing.assert_allclose(metrics.band_ratio(2 * images, images), 4)
    smooth = torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, 1, 1)))
    assert (metrics.band_ratio(smooth, images).diff() < 0).all()


def test_one_image_has_no_variance():
    with pytest.raises(ValueError, match="needs at least two images, but got 1"):
        metrics.band_variance(torch.zeros(1, 1, 8, 8))
