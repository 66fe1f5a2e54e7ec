"""Band variances against Parseval and a direct sum."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

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


def test_sliced_wasserstein_of_a_shift_is_the_shift():
    images = torch.randn(300, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert metrics.sliced_wasserstein(images, images) == 0
    assert metrics.sliced_wasserstein(images + 0.3, images) == pytest.approx(0.3, rel=0.1)
    one_pixel = images.clone()
    one_pixel[..., 0, 0] += 8 * 0.3  # the same length of a shift, another direction
    assert metrics.sliced_wasserstein(one_pixel, images) == pytest.approx(0.3, rel=0.15)


def test_sliced_wasserstein_is_scipys_along_each_direction():
    random = torch.Generator().manual_seed(1)
    a, b = (torch.randn(n, 1, 3, 4, generator=random, dtype=torch.float64) for n in (200, 200))
    b = 1.5 * b + 0.2
    directions = torch.randn(12, 40, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    directions = (directions / directions.norm(dim=0)).numpy()
    # In one dimension the optimal plan is monotone: an assignment problem says so independently.
    squares = []
    for k in range(40):
        x, y = (z.flatten(1).numpy() @ directions[:, k] for z in (a, b))
        cost = (x[:, None] - y) ** 2
        squares.append(cost[linear_sum_assignment(cost)].mean())
    assert metrics.sliced_wasserstein(a, b, 40, seed=7) == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-10)


def test_sliced_wasserstein_takes_sets_of_unequal_size():
    images = torch.randn(900, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    assert metrics.sliced_wasserstein(images[:300] + 0.5, images) == pytest.approx(0.5, rel=0.15)
    with pytest.raises(ValueError, match="expected equal"):
        metrics.sliced_wasserstein(images, images[..., :5])


def test_spectrum_distance_is_of_logarithms():
    images = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    assert metrics.spectrum_distance(images, images) == 0
    assert metrics.spectrum_distance(2 * images, images) == pytest.approx(np.log(4), rel=1e-5)
    assert metrics.spectrum_distance(images / 2, images) == pytest.approx(np.log(4), rel=1e-5)
