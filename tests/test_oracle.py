"""The exact laboratory against Monte Carlo through the samplers, and against dense covariance matrices."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy import stats

from bdbook import oracle
from bdbook.processes import (
    blur_diffusion,
    blurring_diffusion,
    cosine_diffusion,
    ddpm,
    heat_dissipation,
    soft_diffusion,
)
from bdbook.samplers import ancestral, ddim, ihdm, last, momentum, naive, pairs, sample, step, tacos
from bdbook.transforms import DCT, Circle, Pixel, Separable, gaussian_kernel, lengths

SIZE = (4, 3)
PIXELS = 12
RNG = np.random.default_rng(0)
MEAN = torch.from_numpy(0.5 * RNG.standard_normal((1, 1, *SIZE)))
VARIANCE = torch.from_numpy(RNG.uniform(0.05, 3, (1, 1, *SIZE)))

CASES = {
    "ancestral-blurring": (blurring_diffusion(SIZE, sigma_max=3.0), ancestral, 12),
    "ancestral-lee": (blur_diffusion(SIZE, f_max=0.6, f_type="log"), ancestral, 20),
    "ancestral-ddpm": (ddpm(basis=DCT(SIZE)), ancestral, 10),
    "ddim-blurring": (blurring_diffusion(SIZE, sigma_max=3.0), ddim, 12),
    "ddim-half": (cosine_diffusion(basis=DCT(SIZE)), lambda *a: ddim(*a, eta=0.5), 8),
    "momentum-soft": (soft_diffusion(SIZE, sigma_max=3.0), momentum, 15),
    "ihdm-heat": (heat_dissipation(SIZE, sigma_max=4.0, steps=15), ihdm(0.025), 15),
    "naive-blurring": (blurring_diffusion(SIZE, sigma_max=0.5), naive, 5),
    "tacos-blurring": (blurring_diffusion(SIZE, sigma_max=1.0), tacos, 5),
    # As many pixels along one and along three axes, and around.
    "ancestral-blurring-series": (blurring_diffusion((12,), sigma_max=3.0), ancestral, 12),
    "momentum-soft-ring": (soft_diffusion((Circle(12),), sigma_max=3.0), momentum, 15),
    "ihdm-heat-globe": (heat_dissipation((3, Circle(4)), sigma_max=4.0, steps=15), ihdm(0.025), 15),
    "ancestral-lee-volume": (blur_diffusion((2, 3, 2), f_max=0.6, f_type="log"), ancestral, 20),
    "ddim-cosine-volume": (cosine_diffusion(basis=DCT((2, Circle(3), 2))), ddim, 8),
}


def gaussian(process):
    sides = shape(process.basis)
    return oracle.Gaussian(process.basis, VARIANCE.reshape(sides), MEAN.reshape(sides))


def shape(basis, count=1):
    """Of images in this basis, one channel each."""
    return (count, 1, *(SIZE if isinstance(basis, Pixel) else lengths(basis.size)))


def dense(basis):
    """V' as a matrix, (PIXELS, PIXELS)."""
    units = torch.eye(PIXELS, dtype=torch.float64).reshape(shape(basis, PIXELS))
    return basis.forward(units).reshape(PIXELS, PIXELS).T.numpy()


def in_pixels(basis, mean, variance):
    """Mean vector and covariance matrix of flattened images, from those per frequency."""
    v = dense(basis)
    mean, variance = (a.expand(shape(basis)).reshape(PIXELS).numpy() for a in (mean, variance))
    return v.T @ mean, v.T @ np.diag(variance) @ v


def within_error_bars(draws, mean, variance, false_alarm):
    """(mean fits, variance fits) per frequency for Gaussian draws (count, ...): exact z and chi-square tests."""
    count = len(draws)
    z = (draws.mean(0) - mean) / np.sqrt(variance / count)
    chi2 = count * ((draws - draws.mean(0)) ** 2).mean(0) / variance
    low, high = stats.chi2.isf([1 - false_alarm / 2, false_alarm / 2], count - 1)
    return np.abs(z) < stats.norm.isf(false_alarm / 2), (low < chi2) & (chi2 < high)


def monte_carlo(name, count=20_000):
    """Coefficients at the end of `count` trajectories through samplers.sample, (count, PIXELS)."""
    process, rule, steps = CASES[name]
    data, times = gaussian(process), process.times(steps)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(shape(process.basis, count), generator=generator, dtype=torch.float64)
    start = process.sample(data.sample(count, generator), 1.0, noise)
    end = last(sample(data.denoiser(process), start, times, rule, generator)).x
    return process.basis.forward(end).reshape(count, PIXELS).numpy(), data.sampler_error(process, times, rule)


# 14 samplers x 12 frequencies x 2 statistics: at 1e-9 each, a right library fails once in 3 million seeds. With
# 20,000 images the bars are then 6.1 standard errors: 6.1 % of a variance, 0.043 standard deviations of a mean.
FALSE_ALARM = 1e-9


@pytest.mark.parametrize("name", CASES)
def test_prediction_is_monte_carlo(name):
    draws, predicted = monte_carlo(name)
    whole = shape(CASES[name][0].basis)
    mean, variance = (a.expand(whole).reshape(PIXELS).numpy() for a in (predicted.mean, predicted.variance))
    mean_fits, variance_fits = within_error_bars(draws, mean, variance, FALSE_ALARM)
    assert mean_fits.all()
    assert variance_fits.all()
    assert not within_error_bars(draws, mean, 1.13 * variance, FALSE_ALARM)[1].any()  # the bars are not wide


@pytest.mark.parametrize("name", ["ancestral-blurring", "ihdm-heat", "momentum-soft", "naive-blurring"])
def test_the_error_of_a_coarse_sampler_shows_in_monte_carlo(name):
    # The same bars around the *true* variance must reject: the predicted error is really there.
    draws, predicted = monte_carlo(name)
    truth = predicted.target_variance.expand(1, 1, *SIZE).reshape(PIXELS).numpy()
    assert not within_error_bars(draws, draws.mean(0), truth, FALSE_ALARM)[1].all()


@pytest.mark.parametrize("name", CASES)
def test_prediction_is_dense_covariance_propagation(name):
    # The walk in pixels, from probing `step` with unit images: no diagonal anything.
    process, rule, steps = CASES[name]
    data = gaussian(process)
    units = torch.eye(PIXELS, dtype=torch.float64).reshape(shape(process.basis, PIXELS))
    zero = torch.zeros_like(units)
    denoiser = data.denoiser(process)
    v = dense(process.basis)
    x_mean, x_cov = in_pixels(process.basis, data.mean, data.variance)
    whole = shape(process.basis)
    alpha, sigma = (c(1.0).expand(whole).reshape(PIXELS).numpy() for c in (process.alpha, process.sigma))
    degrade = v.T @ np.diag(alpha) @ v
    mean, cov = degrade @ x_mean, degrade @ x_cov @ degrade.T + v.T @ np.diag(sigma**2) @ v
    for t, s in pairs(process.times(steps)):

        def drawn(x, noise, t=t, s=s):
            return step(denoiser.estimate(x, t), t, s, rule, noise).reshape(PIXELS, PIXELS).numpy()

        offset = drawn(zero, zero)[0]
        linear, fresh = (drawn(units, zero) - offset).T, (drawn(zero, units) - offset).T
        mean, cov = linear @ mean + offset, linear @ cov @ linear.T + fresh @ fresh.T
    predicted = data.sampler_error(process, process.times(steps), rule)
    ours = in_pixels(process.basis, predicted.mean, predicted.variance)
    np.testing.assert_allclose(ours[0], mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(ours[1], cov, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["ancestral-blurring", "ancestral-lee", "ddim-half", "ihdm-heat", "momentum-soft"])
def test_kl_and_w2_are_the_dense_formulas(name):
    process, rule, steps = CASES[name]
    # Stop before 0 so that the target has noise, and start off the marginal so that means differ too.
    times = process.times(steps)[:-1]
    start = (torch.full((1, 1, *SIZE), 0.3).double(), torch.ones(1, 1, *SIZE).double())
    got = gaussian(process).sampler_error(process, times, rule, start)
    m1, c1 = in_pixels(process.basis, got.mean, got.variance)
    m2, c2 = in_pixels(process.basis, got.target_mean, got.target_variance)
    inverse = np.linalg.inv(c2)
    logs = np.linalg.slogdet(c2)[1] - np.linalg.slogdet(c1)[1]
    kl = 0.5 * (np.trace(inverse @ c1) - PIXELS + logs + (m1 - m2) @ inverse @ (m1 - m2))
    root = scipy.linalg.sqrtm(c2).real
    cross = scipy.linalg.sqrtm(root @ c1 @ root).real
    w2 = np.sum((m1 - m2) ** 2) + np.trace(c1 + c2 - 2 * cross)
    np.testing.assert_allclose(got.kl.sum().item(), kl, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(got.w2.sum().item(), w2, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(got.ratio.numpy(), (got.variance / got.target_variance).numpy(), rtol=1e-15)


@pytest.mark.parametrize("rule", [ancestral, ddim])
@pytest.mark.parametrize("kind", [blurring_diffusion, lambda size: cosine_diffusion(basis=DCT(size)), soft_diffusion])
def test_error_falls_as_the_steps_grow(rule, kind):
    process = kind(SIZE)
    errors = [gaussian(process).sampler_error(process, process.times(n), rule) for n in (10, 20, 40, 80, 160)]
    kl, w2 = ([getattr(e, k).sum().item() for e in errors] for k in ("kl", "w2"))
    assert all(late < early for early, late in itertools.pairwise(kl))
    assert all(late < early for early, late in itertools.pairwise(w2))


@pytest.mark.parametrize("rule", [ancestral, ddim, lambda *a: ddim(*a, eta=0.5)])
@pytest.mark.parametrize("kind", [blurring_diffusion, lambda size: cosine_diffusion(basis=DCT(size))])
def test_right_start_and_many_steps_are_exact(rule, kind):
    process = kind(SIZE)
    few, many = (gaussian(process).sampler_error(process, process.times(n), rule).kl.sum().item() for n in (100, 800))
    # The first-order error of each variance is O(1 / N), so KL is O(1 / N^2): 64 times less, if a little short of it.
    assert many < few / 40
    assert many < 1e-2


def test_wrong_start_leaves_an_error():
    process = blurring_diffusion(SIZE, sigma_max=1.0)
    zero, one = torch.zeros(1, 1, 1, 1).double(), torch.ones(1, 1, 1, 1).double()
    data, times = gaussian(process), process.times(200)
    right = data.sampler_error(process, times, ddim)
    wrong = data.sampler_error(process, times, ddim, start=(zero + 1, one))
    assert wrong.kl.sum() > 10 * right.kl.sum()
    assert wrong.mean.shape == wrong.variance.shape == (1, 1, *SIZE)


def test_marginal_is_the_law_of_noisy_data():
    process = blur_diffusion(SIZE)
    data = gaussian(process)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(20_000, 1, *SIZE, generator=generator, dtype=torch.float64)
    z = process.sample(data.sample(20_000, generator), 0.4, noise)
    draws = process.basis.forward(z).reshape(-1, PIXELS).numpy()
    mean, variance = (a.reshape(PIXELS).numpy() for a in data.marginal(process, 0.4))
    for fits in within_error_bars(draws, mean, variance, FALSE_ALARM):
        assert fits.all()


@pytest.mark.parametrize("basis", [Pixel(), DCT(SIZE), Separable(SIZE, gaussian_kernel(0.4))])
def test_samples_have_the_spectrum(basis):
    data = oracle.Gaussian(basis, VARIANCE, MEAN)
    x = data.sample(20_000, torch.Generator().manual_seed(0))
    assert x.shape == (20_000, 1, *SIZE)
    assert x.dtype == torch.float64
    expected_mean, expected = in_pixels(basis, MEAN, VARIANCE)
    draws = x.reshape(-1, PIXELS).numpy()
    # Entries of a covariance of Gaussians: standard error sqrt((C_ij^2 + C_ii C_jj) / n); 6.1 of them.
    error = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / 20_000)
    assert (np.abs(np.cov(draws.T) - expected) < 6.1 * error).all()
    assert (np.abs(draws.mean(0) - expected_mean) < 6.1 * np.sqrt(np.diag(expected) / 20_000)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_with_their_own_spectra_are_independent(channels):
    # A variance of three channels must give three independent channels, asked for or not.
    data = oracle.Gaussian(DCT(SIZE), VARIANCE * torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1))
    x = data.sample(5_000, torch.Generator().manual_seed(0), channels)
    assert x.shape == (5_000, 3, *SIZE)
    correlation = np.corrcoef(x[:, :, 1, 1].T.numpy())
    assert (np.abs(correlation[np.triu_indices(3, 1)]) < 6 / np.sqrt(5_000)).all()


def test_fit_is_the_mean_and_variance_of_coefficients():
    x = torch.from_numpy(RNG.standard_normal((50, 2, *SIZE)))
    fitted = oracle.Gaussian.fit(DCT(SIZE), x.float())
    u = scipy.fft.dctn(x.numpy(), norm="ortho", axes=(-2, -1))
    assert fitted.variance.dtype == torch.float64
    np.testing.assert_allclose(fitted.mean.numpy(), u.mean(0, keepdims=True), rtol=0, atol=1e-6)
    np.testing.assert_allclose(fitted.variance.numpy(), u.var(0, keepdims=True), rtol=0, atol=1e-5)


def test_exact_denoiser_has_the_least_error():
    # Over the joint law of (x0, z_t): the mean square error is the posterior variance, and no other gain does better.
    process = blurring_diffusion(SIZE)
    data, t = gaussian(process), 0.4
    generator = torch.Generator().manual_seed(0)
    x0 = data.sample(20_000, generator)
    z = process.sample(x0, t, torch.randn(x0.shape, generator=generator, dtype=torch.float64))
    alpha, sigma = process.alpha(t), process.sigma(t)
    expected = (VARIANCE * sigma**2 / (alpha**2 * VARIANCE + sigma**2)).reshape(PIXELS).numpy()
    error = process.basis.forward(data.denoiser(process)(z, t) - x0).reshape(-1, PIXELS).numpy()
    for fits in within_error_bars(error, np.zeros(PIXELS), expected, FALSE_ALARM):
        assert fits.all()


def test_square_and_pair_sizes_are_the_same_basis():
    data = oracle.Gaussian(DCT(4), torch.ones(1, 1, 4, 4))
    process = blurring_diffusion((4, 4))
    assert data.sampler_error(process, process.times(4), ddim).kl.isfinite().all()


def test_a_frequency_that_is_known_costs_nothing():
    # A pixel that never varies (the border of digits): drawn exactly, so KL and W2 are 0 there.
    variance = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    data = oracle.Gaussian(Pixel(), variance, torch.tensor([-1.0, 0.5]).reshape(1, 1, 1, 2))
    got = data.sampler_error(ddpm(), ddpm().times(50), ancestral)
    assert got.w2[0, 0, 0, 0] == pytest.approx(0, abs=1e-20)
    assert got.kl[0, 0, 0, 0] == pytest.approx(0, abs=1e-12)
    assert got.kl.isfinite().all()
