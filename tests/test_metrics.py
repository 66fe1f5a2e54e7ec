"""Band variances against Parseval and a direct sum."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

from bdbook import data
from bdbook.evaluation import metrics
from bdbook.evaluation.features import digit_features


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


def random_features(seed: int = 0) -> torch.nn.Module:
    """A fixed random map, uint8 (N, C, H, W) -> (N, 5)."""

    class Project(torch.nn.Module):
        def forward(self, x):
            matrix = torch.randn(x[0].numel(), 5, generator=torch.Generator().manual_seed(seed))
            return x.flatten(1).float() / 255 @ matrix

    return Project()


def test_kernel_distance_is_its_formula():
    """The unbiased estimate of Gretton et al. 2012 with the kernel (x.y / d + 1)^3, by sums over pairs."""
    random = torch.Generator().manual_seed(0)
    a, b = (2 * torch.rand(12, 1, 4, 4, generator=random) - 1 for _ in range(2))
    x, y = (random_features()(metrics.quantise(z)).double().numpy() for z in (a, b))
    n, d = x.shape

    def kernel(p, q):
        return (p @ q.T / d + 1) ** 3

    same = sum(kernel(z, z).sum() - np.trace(kernel(z, z)) for z in (x, y)) / (n * (n - 1))
    expected = same - 2 * kernel(x, y).mean()
    assert metrics.kernel_distance(a, b, random_features()) == pytest.approx(expected, rel=1e-4)
    before = torch.get_rng_state()
    many = metrics.kernel_distance(a, torch.cat([b, a]), random_features(), subset=6)
    assert metrics.kernel_distance(a, torch.cat([b, a]), random_features(), subset=6) == many
    assert torch.equal(before, torch.get_rng_state())


def test_inception_score_is_its_formula_and_knows_digits():
    digits = data.load("digits", 16, split="test")
    shuffled = digits[torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))][:357]
    found = metrics.inception_score(shuffled, splits=3)
    logits = digit_features().logits(metrics.quantise(shuffled).float() / 127.5 - 1).double().numpy()
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    parts = [np.exp((q * np.log(q / q.mean(0))).sum(1).mean()) for q in np.split(p, 3)]
    assert found == pytest.approx(np.mean(parts), rel=1e-5)
    assert found > 7, "ten classes, most of them named surely"
    assert metrics.inception_score(digits[:1].repeat(8, 1, 1, 1)) == pytest.approx(1)


def test_too_few_images_are_refused():
    one = torch.zeros(1, 1, 16, 16)
    for measure in (metrics.kernel_distance, metrics.frechet):
        with pytest.raises(ValueError, match=r"images had shape \(1, 1, 16, 16\); expected .* with N of 2 or more"):
            measure(one, one)
    with pytest.raises(ValueError, match="N of 2 or more"):
        metrics.inception_score(one)


def test_kernel_distance_of_unequal_sets_is_the_mean_over_a_hundred_subsets():
    """So it is ten times nearer to that of the whole larger set than a single subset is."""
    random, strayed = torch.Generator().manual_seed(0), []

    def kernel(p, q):
        return (p @ q.T / 5 + 1) ** 3

    def unbiased(p):
        return (kernel(p, p).sum() - np.trace(kernel(p, p))) / (len(p) * (len(p) - 1))

    for _ in range(10):
        a, b = (2 * torch.rand(n, 1, 4, 4, generator=random) - 1 for n in (6, 40))
        x, y = (random_features()(metrics.quantise(z)).double().numpy() for z in (a, b))
        few = [np.random.default_rng(k).choice(40, 6, replace=False) for k in range(200)]
        deviation = np.std([unbiased(y[k]) - 2 * kernel(x, y[k]).mean() for k in few])
        whole = unbiased(x) + unbiased(y) - 2 * kernel(x, y).mean()
        strayed.append((metrics.kernel_distance(a, b, random_features()) - whole) / deviation)
    assert 0.03 < np.sqrt(np.mean(np.square(strayed))) < 0.3  # 0.1; of one subset it would be 1


def test_sliced_wasserstein_of_unequal_sets_compares_them_at_the_same_places():
    """numpy's quantiles in the middle of as many ranks as the larger set has."""
    images = torch.randn(40, 1, 3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    others = torch.randn(25, 1, 3, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    directions = torch.randn(9, 20, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    directions = (directions / directions.norm(dim=0)).numpy()
    places = (np.arange(40) + 0.5) / 40
    a, b = (np.quantile(x.flatten(1).numpy() @ directions, places, axis=0) for x in (images, others))
    expected = np.sqrt(((a - b) ** 2).mean())
    assert metrics.sliced_wasserstein(images, others, 20, seed=7) == pytest.approx(expected, rel=1e-9)
