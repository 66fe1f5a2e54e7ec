"""The printed form fails, the right form holds: one test a formula in book/errata.yml."""

import math

import numpy as np
import pytest
import torch
from reference import dct, idct, lam
from scipy import ndimage

from bdbook import denoiser, schedules
from bdbook.denoiser import EPS, Denoiser
from bdbook.processes import Degradation, blur_diffusion, blurring_diffusion, ddpm, heat_dissipation
from bdbook.samplers import ancestral, ddim, lee_euler, pairs, sample, step, tacos
from bdbook.transforms import DCT, Pixel, gaussian_kernel, kernel_matrix

SIZE, PIXELS, STEPS = (4, 3), 12, 20
RNG = np.random.default_rng(0)
X0, EPS_HAT, NOISE = RNG.standard_normal((3, PIXELS))
UNITS = torch.eye(PIXELS, dtype=torch.float64).reshape(PIXELS, 1, *SIZE)
BETA = 1e-4 + (0.02 - 1e-4) * np.arange(STEPS) / (STEPS - 1)


def power(matrix, p):
    """A power of a symmetric matrix, by its eigenvalues."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * values**p) @ vectors.T


def lee_steps(f_max=0.6, boundary="zero"):
    """sqrt(1 - beta_i) W^f(i), i = 1 .. N, on flattened images: scipy convolves each unit image."""
    mode = {"zero": "constant", "symmetric": "reflect"}[boundary]
    w = np.eye(PIXELS).reshape(-1, *SIZE)
    for axis in (-2, -1):
        w = ndimage.correlate1d(w, gaussian_kernel(0.4), axis=axis, mode=mode)
    w = w.reshape(PIXELS, PIXELS)
    return [math.sqrt(1 - BETA[i - 1]) * power(w, f_max * (i / STEPS) ** 4) for i in range(1, STEPS + 1)]


def lee_marginal(i, **settings):
    """(mean matrix, covariance) of x_i given x_0: I - A-bar is the covariance."""
    mean, covariance = np.eye(PIXELS), np.zeros((PIXELS, PIXELS))
    for m in lee_steps(**settings)[:i]:
        mean, covariance = m @ mean, m @ covariance @ m.T + np.eye(PIXELS) - m @ m.T
    return mean, covariance


def images(*vectors):
    return torch.from_numpy(np.stack(vectors)).reshape(len(vectors), 1, *SIZE)


# --- Lee -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("i", [1, 7, STEPS])
def test_lee_score_has_exponent_minus_one_half(i):
    mean, covariance = lee_marginal(i)
    x = torch.from_numpy(mean @ X0 + power(covariance, 0.5) @ NOISE).requires_grad_()
    law = torch.distributions.MultivariateNormal(torch.from_numpy(mean @ X0), torch.from_numpy(covariance))
    (score,) = torch.autograd.grad(law.log_prob(x), x)
    scale = np.abs(score.numpy()).max()
    np.testing.assert_allclose(score.numpy(), -power(covariance, -0.5) @ NOISE, rtol=0, atol=1e-8 * scale)
    assert np.abs(score.numpy() + power(covariance, -1) @ NOISE).max() > 0.2 * scale
    # The library's: mean_t of an exact eps is V' mean, so (mean_t - u_t) / sigma^2 is the score.
    process = blur_diffusion(SIZE, f_max=0.6, steps=STEPS)
    x_t = x.detach().reshape(1, 1, *SIZE)
    answer = Denoiser(lambda z, t: images(NOISE), process, EPS).estimate(x_t, i / STEPS)
    ours = process.basis.inverse((answer.mean(i / STEPS) - answer.seen.u_t) / process.sigma(i / STEPS) ** 2)
    np.testing.assert_allclose(ours.numpy().ravel(), score.numpy(), rtol=0, atol=1e-8 * scale)


@pytest.mark.parametrize("i", [1, 7, STEPS])
def test_lee_eq_12_is_eq_11_with_exponent_minus_one_half(i):
    _, covariance = lee_marginal(i)
    m = lee_steps()[i - 1]
    added = np.eye(PIXELS) - m @ m
    # Eq. 11 with the score of the Gaussian in which EPS_HAT is the noise of x_i = X0, by torch.
    centre = torch.from_numpy(X0 - power(covariance, 0.5) @ EPS_HAT)
    x = torch.from_numpy(X0).requires_grad_()
    law = torch.distributions.MultivariateNormal(centre, torch.from_numpy(covariance))
    (score,) = torch.autograd.grad(law.log_prob(x), x)
    eq_11 = 2 * X0 - m @ X0 + added @ score.numpy()
    right = 2 * X0 - m @ X0 - added @ power(covariance, -0.5) @ EPS_HAT
    printed = 2 * X0 - m @ X0 - added @ covariance @ EPS_HAT
    np.testing.assert_allclose(right, eq_11, rtol=0, atol=1e-10)
    assert np.abs(printed - eq_11).max() > 1e-3
    process = blur_diffusion(SIZE, f_max=0.6, steps=STEPS)
    estimate = Denoiser(lambda z, t: images(EPS_HAT), process, EPS).estimate(images(X0), i / STEPS)
    np.testing.assert_allclose(lee_euler(estimate, i).numpy().ravel(), eq_11, rtol=0, atol=1e-10)


def test_lee_eq_12_as_printed_leaves_the_noise_in():
    # Exact eps for data that are always 0: x_i = sqrt(1 - alpha_bar_i) eps. A right sampler ends near variance 0.
    betas = schedules.linear_beta(1000).numpy()
    noise = 1 - np.cumprod(1 - betas)
    variance = {-0.5: noise[-1], 1.0: noise[-1]}
    for i in range(999, 0, -1):
        for p in variance:
            transfer = 2 - math.sqrt(1 - betas[i]) - betas[i] * noise[i] ** p / math.sqrt(noise[i])
            variance[p] = transfer**2 * variance[p] + betas[i]
    assert variance[-0.5] < 1e-3
    assert variance[1.0] > 1


@pytest.mark.parametrize("i", [1, 10, 500, 1000])
def test_lee_marginal_variance_is_not_squared(i):
    variance = 0.0
    for beta in 1e-4 + (0.02 - 1e-4) * np.arange(i) / 999:
        variance = (1 - beta) * variance + beta
    a_bar = np.prod(1 - (1e-4 + (0.02 - 1e-4) * np.arange(i) / 999))
    assert variance == pytest.approx(1 - a_bar, rel=1e-9)
    assert ddpm().sigma(i / 1000).item() ** 2 == pytest.approx(variance, rel=1e-9)
    if i < 1000:  # at the end both are 1, to four digits
        assert abs((1 - a_bar) ** 2 / variance - 1) > 0.05


def test_lee_reverse_step_needs_the_index_i():
    process = blur_diffusion(SIZE, steps=STEPS)
    # The step that is undone from i to i - 1 is the transition to i, made with beta_i ...
    estimate = Denoiser(lambda z, t: torch.zeros_like(z), process, EPS).estimate(UNITS, 1.0)
    drift = lee_euler(estimate, STEPS).reshape(PIXELS, PIXELS).numpy()
    np.testing.assert_allclose(2 * np.eye(PIXELS) - drift, lee_steps(f_max=0.14)[-1], rtol=0, atol=1e-12)
    # ... and step N + 1 does not exist: neither its beta nor its f.
    assert len(schedules.linear_beta(STEPS)) == STEPS
    with pytest.raises(ValueError, match="defined for 1"):
        schedules.blur_exponent(torch.tensor([STEPS + 1]), STEPS, 0.14)
    with pytest.raises(ValueError, match="expected times in"):
        process.transition((STEPS + 1) / STEPS, 1.0)


def test_lee_log_form_begins_at_one():
    assert schedules.blur_exponent(torch.tensor([1]), 1000, 0.6, "log").item() == 0
    with pytest.raises(ValueError, match="defined for 1"):
        schedules.blur_exponent(torch.tensor([0]), 1000, 0.6, "log")


def test_lee_step_i_is_time_i_over_n():
    times = ddpm().times().flip(0).numpy()
    np.testing.assert_allclose(times, np.arange(1001) / 1000, rtol=0, atol=1e-15)
    np.testing.assert_allclose(np.diff(times), 1 / 1000, rtol=0, atol=1e-12)  # their Delta t
    assert len(set(times)) == 1001  # 1 / N would be one time for all


def test_ihdm_is_lees_process_of_noisy_rescaled_data():
    sigma, x = 0.02, X0.reshape(SIZE)
    process = heat_dissipation(SIZE, sigma_max=4.0, steps=STEPS, noise=sigma)
    widths = np.array([0, *np.exp(np.linspace(np.log(0.5), np.log(4.0), STEPS))])
    d = np.exp(-lam(SIZE) * widths.reshape(-1, 1, 1) ** 2 / 2)
    # Lee Eq. 2 from the first two moments of x / sigma + eps_0, with A_i = (d_i / d_{i-1})^2, one frequency each.
    mean, variance = dct(x) / sigma, np.ones(SIZE)
    clean_mean, clean_variance = dct(x), np.zeros(SIZE)  # the same from the clean image, as app. D has it
    for i in range(1, STEPS + 1):
        a2 = (d[i] / d[i - 1]) ** 2
        mean, variance = np.sqrt(a2) * mean, a2 * variance + 1 - a2
        clean_mean, clean_variance = np.sqrt(a2) * clean_mean, a2 * clean_variance + 1 - a2
        ours = process.alpha(i / STEPS)[0, 0].numpy() * dct(x), process.sigma(i / STEPS).item() ** 2
        np.testing.assert_allclose(sigma * mean, ours[0], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(sigma**2 * variance, ours[1], rtol=1e-12)
    assert clean_variance.max() > 0.99  # where IHDM has 0.0004


def test_lee_matrix_is_not_circulant():
    n, taps = 32, gaussian_kernel(0.4)
    w = kernel_matrix(n, taps, "zero")
    circulant = sum(tap * np.roll(np.eye(n), k, axis=1) for tap, k in zip(taps, (-1, 0, 1)))
    np.testing.assert_allclose(w, w.T, rtol=0, atol=0)
    assert w[0].sum() == pytest.approx(0.9596, abs=1e-4)
    assert np.linalg.eigvalsh(circulant)[-1] == pytest.approx(1, abs=1e-12)  # wrapping round keeps the mean
    assert np.linalg.eigvalsh(w)[-1] == pytest.approx(0.9996, abs=1e-4)  # the authors' value
    np.testing.assert_allclose(np.roll(circulant, 1, (0, 1)), circulant, rtol=0, atol=0)
    assert np.abs(np.roll(w, 1, (0, 1)) - w).max() > 0.04


def test_lee_variance_is_kept_for_white_data_only():
    process = blur_diffusion((8, 8), f_max=0.6, boundary="symmetric")
    image_like = 1 / (0.1 + DCT(8).freq2)
    white = torch.ones_like(image_like)
    for t in (0.1, 0.5, 1.0):
        left, noise = process.alpha(t) ** 2, process.sigma(t) ** 2
        torch.testing.assert_close(left * white + noise, white, rtol=0, atol=1e-12)
        change = (left * image_like + noise) / image_like
        assert change.flatten()[0] < 1 < change.flatten()[-1]
    assert change.flatten()[0] < 0.2
    assert change.flatten()[-1] > 5


# --- HS ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [0.4, 0.6, 1.0])
def test_hs_dissipation_time_comes_from_the_blur(t):
    # A flat edge blurred by the process: compare with scipy's Gaussian filter of the width that is meant.
    size, sigma_max = (1, 64), 6.0
    width = sigma_max * math.sin(math.pi * t / 2) ** 2
    low, high = math.atan(math.exp(-5)), math.atan(math.exp(5))
    sigma_t = math.sin(low + t * (high - low))
    edge = np.where(np.arange(64) < 32, -1.0, 1.0)[None]
    process = blurring_diffusion(size, sigma_max=sigma_max, d_min=1e-12)
    ours = process.mean(torch.from_numpy(edge)[None, None], t)[0, 0].numpy() / math.cos(low + t * (high - low))
    meant = ndimage.gaussian_filter1d(edge, width, mode="reflect", truncate=10)
    printed = ndimage.gaussian_filter1d(edge, sigma_t, mode="reflect", truncate=10)
    np.testing.assert_allclose(ours, meant, rtol=0, atol=1e-4)
    assert sigma_t <= 1
    assert np.abs(ours - printed).max() > 0.05


def test_hs_grid_runs_from_one():
    process = blurring_diffusion(SIZE)
    total = 10
    t = np.array([first for first, _ in pairs(process.times(total))])
    np.testing.assert_allclose(t, 1 - np.arange(total) / total, rtol=0, atol=1e-12)
    assert t[-1] == pytest.approx(1 / total)
    with pytest.raises(ValueError, match="expected times in"):
        process.alpha(float(total))  # as printed: t = T, the number of steps


def test_hs_sampling_cannot_begin_half_way():
    process = blurring_diffusion(SIZE, sigma_max=0.0)
    # alpha and sigma of what the prior N(0, I) stands for: white noise at t = 1, half signal at t = 1/2.
    assert process.alpha(1.0).max() < 0.01
    assert process.sigma(1.0).item() == pytest.approx(1, abs=1e-4)
    assert process.alpha(0.5).max().item() == pytest.approx(math.sqrt(0.5), abs=1e-6)
    assert process.sigma(0.5).item() == pytest.approx(math.sqrt(0.5), abs=1e-6)


def test_hs_eq_22_needs_the_variance():
    # Condition the joint Gaussian of (u_s, u_t) given x: its variance is refresh^2, and refresh is something else.
    process, t, s = blurring_diffusion(SIZE), 0.5, 0.4
    a, added = process.transition(t, s)
    var_s, var_t = process.sigma(s) ** 2, process.sigma(t) ** 2
    conditional = var_s - (a * var_s) ** 2 / (a**2 * var_s + added)
    torch.testing.assert_close(a**2 * var_s + added, var_t.expand_as(a), rtol=1e-12, atol=0)
    refresh = ancestral(process, t, s)[1]
    torch.testing.assert_close(refresh**2, conditional, rtol=1e-10, atol=0)
    assert (refresh - conditional).abs().min() > 0.05


def test_hs_clean_image_has_no_time():
    # With x at every t the conditional mean is alpha_t x; with z_t fed back in it would shrink at every reading.
    process, x = blurring_diffusion(SIZE), X0.reshape(1, 1, *SIZE)
    noise = torch.zeros(1, 1, *SIZE, dtype=torch.float64)
    z = process.sample(torch.from_numpy(x), 0.5, noise)
    expected = idct(process.alpha(0.5).numpy() * dct(x))
    np.testing.assert_allclose(z.numpy(), expected, rtol=0, atol=1e-12)
    again = process.sample(z, 0.5, noise)
    assert (again - z).abs().max() > 0.2 * z.abs().max()


def test_hs_u_0_is_noisy():
    process = heat_dissipation(SIZE, noise=0.02)
    torch.testing.assert_close(process.alpha(0.0), torch.ones(1, 1, *SIZE).double(), rtol=0, atol=0)  # d_0 = 1
    assert process.sigma(0.0).item() == 0.02  # so u_0 is not u_x, and Eq. 14 would say u_0 = u_0 + 0.02 eps


def test_hs_cosine_is_rescaled_not_clipped():
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    a, sigma = schedules.cosine(t)
    logsnr = torch.log(a**2 / sigma**2)
    assert logsnr[0].item() == pytest.approx(10)
    assert logsnr[-1].item() == pytest.approx(-10)
    assert (logsnr.diff() < 0).all()  # a clip would be flat at both ends
    plain = torch.cos(t * math.pi / 2)
    assert (a - plain).abs().max().item() == pytest.approx(0.0067, abs=1e-4)
    assert (a - plain)[50].abs() < 1e-12
    # cos(pi t / 2) alone has no bound: it is the limit of wider and wider ones.
    wide, _ = schedules.cosine(t, -40.0, 40.0)
    np.testing.assert_allclose(wide, plain, rtol=0, atol=1e-8)


# --- Bansal --------------------------------------------------------------------------------------------------
# Modes x_0 (highest) .. x_T (mean), each a number: orthonormal, so norms are sums of squares. D keeps i >= t.


def degrade(x, t):
    return np.where(np.arange(len(x)) >= t, x, 0.0)


def a9_errors(x, x_hat, t):
    """Squared errors of X_{t-1} by Algorithms 1 and 2, from the exact X_t."""
    target, now = degrade(x, t - 1), degrade(x, t)
    first = degrade(x_hat, t - 1)
    second = now - degrade(x_hat, t) + degrade(x_hat, t - 1)
    return ((target - first) ** 2).sum(), ((target - second) ** 2).sum()


def test_bansal_a9_is_strict_only_with_a_retained_error():
    x, t = RNG.standard_normal(9), 4
    for wrong, strict in (([t - 1], False), ([0, 1, t - 1], False), ([0, 1], False), ([t], True), ([1, 8], True)):
        x_hat = x.copy()
        x_hat[wrong] += 0.5
        first, second = a9_errors(x, x_hat, t)
        assert first - second == pytest.approx(((x - x_hat)[t:] ** 2).sum(), abs=1e-12)
        assert bool(first > second + 1e-12) is strict


def test_bansal_a9_unrolled_can_go_either_way():
    x = RNG.standard_normal(9)

    def walk(error, tacos):
        now = degrade(x, 8)
        for t in range(8, 0, -1):
            x_hat = x + error(t)
            now = degrade(x_hat, t - 1) + ((now - degrade(x_hat, t)) if tacos else 0)
        return ((now - x) ** 2).sum()

    # TACoS collects |x_i - x_hat_i|^2 of the step that restores i; Algorithm 1 keeps the last restoration's error.
    harder_when_blurred = lambda t: 0.1 * t * np.ones(9)  # noqa: E731
    assert walk(harder_when_blurred, True) == pytest.approx(sum((0.1 * t) ** 2 for t in range(1, 9)))
    assert walk(harder_when_blurred, False) == pytest.approx(9 * 0.01)
    wrong_mean = lambda t: np.eye(9)[8]  # noqa: E731
    assert walk(wrong_mean, True) == pytest.approx(0, abs=1e-24)
    assert walk(wrong_mean, False) == pytest.approx(1)


class Adds(Degradation):
    """D(x, t) = x + t e, the same e for all x."""

    basis, steps, name = Pixel(), 7, "adds"

    def __init__(self, e):
        self.e = e

    def degrade(self, u, t):
        return u + self.check(t) * self.e


def test_bansal_tacos_error_of_a_linear_degradation():
    process = heat_dissipation(SIZE, sigma_max=4.0, steps=STEPS, noise=0.0)
    x0 = torch.from_numpy(X0).reshape(1, 1, *SIZE)
    x_hat = torch.from_numpy(EPS_HAT).reshape(1, 1, *SIZE)
    wrong = images(NOISE)
    x_t = process.mean(x0, 0.5) + 0.1 * wrong  # an error e_t that is there already
    estimate = Denoiser(lambda z, t: x_hat, process, denoiser.X0).estimate(x_t, 0.5)
    error = step(estimate, 0.5, 0.45, tacos) - process.mean(x0, 0.45)
    difference = process.mean(x_hat - x0, 0.45) - process.mean(x_hat - x0, 0.5)
    torch.testing.assert_close(error, 0.1 * wrong + difference, rtol=0, atol=1e-12)
    assert difference.abs().max() > 0.01  # so TACoS is not immune to errors of a deblurrer
    # It is where D(x, s) = x + s e with the same e for all x.
    drift, guess = images(NOISE), images(RNG.standard_normal(PIXELS))
    adds = Adds(drift)
    walk = sample(Denoiser(lambda z, t: guess, adds, denoiser.X0), x0 + drift, adds.times(), tacos)
    for i, each in enumerate(walk, 1):
        torch.testing.assert_close(each.x, x0 + (1 - i / 7) * drift, rtol=0, atol=1e-12)


def test_bansal_band_comes_back_with_a_plus():
    line = DCT((1, 64)).freq2[0, 0, 0].numpy()
    more, less = (np.exp(-line * width**2 / 2) for width in (2.0, 1.8))
    assert (less - more >= 0).all()  # D(x, t-1) - D(x, t): a band pass, added
    assert (less - more)[[0, -1]].max() < 1e-3 < (less - more).max()
    assert (more - less).max() <= 0  # as printed it would take the band away once more


def test_ddim_of_bansal_a8_is_both_algorithms():
    # With the estimated noise D(x0_hat, t) is x_t itself: nothing for Algorithm 2 to correct.
    process, t, s = ddpm(), 0.5, 0.499
    estimate = Denoiser(lambda z, t: images(EPS_HAT), process, EPS).estimate(images(X0), t)
    alpha, sigma = process.alpha(t).item(), process.sigma(t).item()
    x_hat = estimate.x0_hat.numpy().ravel()
    np.testing.assert_allclose(alpha * x_hat + sigma * EPS_HAT, X0, rtol=0, atol=1e-12)
    again = process.alpha(s).item() * x_hat + process.sigma(s).item() * EPS_HAT
    np.testing.assert_allclose(step(estimate, t, s, ddim).numpy().ravel(), again, rtol=0, atol=1e-12)
