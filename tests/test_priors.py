"""Where sampling starts: the moments and supports of the priors."""

import numpy as np
import pytest
import torch
from scipy import stats

from bdbook import priors
from bdbook.oracle import Gaussian
from bdbook.processes import blur_diffusion, blurring_diffusion, heat_dissipation
from bdbook.transforms import DCT

SIZE = (4, 3)
COUNT = 20_000
FALSE_ALARM = 1e-9  # per statistic; at most 72 of them here


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def assert_moments(draws, mean, variance):
    """draws (count, ...) are N(mean, variance), by exact z and chi-square tests per entry."""
    draws = draws.double().numpy()
    count = len(draws)
    z = (draws.mean(0) - mean) / np.sqrt(variance / count)
    chi2 = count * draws.var(0) / variance
    low, high = stats.chi2.isf([1 - FALSE_ALARM / 2, FALSE_ALARM / 2], count - 1)
    assert (np.abs(z) < stats.norm.isf(FALSE_ALARM / 2)).all()
    assert ((low < chi2) & (chi2 < high)).all()


@pytest.mark.parametrize("std", [1.0, 0.3])
def test_normal(std):
    draws = priors.normal((3, *SIZE), std)(COUNT, seeded())
    assert draws.shape == (COUNT, 3, *SIZE)
    assert draws.dtype == torch.float32
    assert_moments(draws, 0.0, std**2)
    assert stats.kstest(draws[:, 1, 2, 1].numpy() / std, "norm").pvalue > FALSE_ALARM


@pytest.mark.parametrize("kind", [blurring_diffusion, blur_diffusion])
@pytest.mark.parametrize("t", [0.3, 1.0])
def test_marginal(kind, t):
    process = kind(SIZE)
    rng = np.random.default_rng(0)
    mean, variance = rng.standard_normal((1, 2, *SIZE)), rng.uniform(0.1, 3, (1, 2, *SIZE))
    data = Gaussian(process.basis, torch.from_numpy(variance), torch.from_numpy(mean))
    draws = priors.marginal(data, process, channels=2, t=t)(COUNT, seeded())
    assert draws.shape == (COUNT, 2, *SIZE)
    assert draws.dtype == torch.float32
    alpha, sigma = process.alpha(t).numpy(), process.sigma(t).numpy()
    u = process.basis.forward(draws)
    assert_moments(u, (alpha * mean)[0], (alpha**2 * variance + sigma**2)[0])


def test_marginal_draws_independent_channels():
    process = blurring_diffusion(SIZE)
    data = Gaussian(process.basis, torch.ones(1, 3, *SIZE))
    x = priors.marginal(data, process)(5_000, seeded())  # channels left at its default
    correlation = np.corrcoef(x[:, :, 1, 1].T.numpy())
    assert (np.abs(correlation[np.triu_indices(3, 1)]) < 6 / np.sqrt(5_000)).all()


def test_blurred_data_is_blurred_data():
    process = heat_dissipation(SIZE, sigma_max=2.0)
    images = torch.randn(3, 2, *SIZE, generator=seeded(5))
    draws = priors.blurred_data(process, images, delta=0.0)(300, seeded())
    assert draws.shape == (300, 2, *SIZE)
    assert draws.dtype == torch.float32
    u = DCT(SIZE).forward(images.double())
    blurred = DCT(SIZE).inverse(torch.exp(-DCT(SIZE).freq2 * 2.0**2 / 2) * u)
    distance = (draws[:, None].double() - blurred[None]).abs().amax((2, 3, 4))
    nearest, which = distance.min(1)
    assert nearest.max() < 1e-6
    # Each of the three is drawn 100 +- 8.2 times.
    assert (which.bincount(minlength=3) - 100).abs().max() < 6 * np.sqrt(300 * 2 / 9)


def test_blurred_data_stays_in_the_span_of_its_images():
    # Images that share no energy beyond a few frequencies: the rest of the basis stays empty, but for the noise.
    process, basis = heat_dissipation((8, 8), sigma_max=1.0), DCT(8)
    u = torch.zeros(5, 1, 8, 8)
    u[:, :, :2, :3] = torch.randn(5, 1, 2, 3, generator=seeded(1))
    images = basis.inverse(u)
    got = basis.forward(priors.blurred_data(process, images, delta=0.0, t=0.5)(50, seeded()))
    got[:, :, :2, :3] = 0
    assert got.abs().max() < 1e-6
    noisy = basis.forward(priors.blurred_data(process, images, delta=0.1, t=0.5)(COUNT, seeded()))
    assert_moments(noisy[:, 0, 3:, 3:], 0.0, 0.01)


def test_ihdm_prior_keeps_no_detail():
    # At the end of IHDM only the mean grey is left: flat images, to the noise.
    process = heat_dissipation((16, 16), sigma_max=20.0)
    images = torch.randn(4, 1, 16, 16, generator=seeded(2))
    draws = priors.blurred_data(process, images, delta=0.0)(8, seeded())
    assert draws.flatten(1).std(1).max() < 0.01
    assert (draws.mean((1, 2, 3))[:, None] - images.mean((1, 2, 3))[None]).abs().min(1).values.max() < 1e-6


@pytest.mark.parametrize(
    "prior",
    [
        priors.normal((1, *SIZE)),
        priors.blurred_data(heat_dissipation(SIZE), torch.randn(4, 1, *SIZE), 0.1),
        priors.marginal(Gaussian(DCT(SIZE), torch.ones(1, 1, *SIZE)), blurring_diffusion(SIZE)),
    ],
)
def test_same_seed_same_start(prior):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert torch.equal(prior(3, seeded(7)), prior(3, seeded(7)))
    assert not torch.equal(prior(3, seeded(7)), prior(3, seeded(8)))
    assert torch.equal(torch.get_rng_state(), before)


def test_float64_images_give_float32_starts():
    prior = priors.blurred_data(heat_dissipation(SIZE), torch.randn(4, 1, *SIZE).double(), 0.1)
    assert prior(2, seeded()).dtype == torch.float32
