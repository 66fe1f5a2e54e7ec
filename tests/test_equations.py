"""Equations of the sources that no other test covers, each against brute force: dense matrices, quadrature, ODEs."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import torch
from reference import dct, idct, lam
from scipy import ndimage
from scipy.integrate import quad, solve_ivp

from bdbook.denoiser import EPS, X0, Denoiser
from bdbook.losses import loss
from bdbook.oracle import Gaussian
from bdbook.processes import (
    Process,
    blur_diffusion,
    blurring_diffusion,
    cosine_diffusion,
    ddpm,
    heat_dissipation,
    soft_diffusion,
)
from bdbook.samplers import ancestral, lee_euler, step
from bdbook.schedules import sin2_blur, sin_blur
from bdbook.transforms import DCT, gaussian_kernel

SIZE, PIXELS, STEPS = (4, 3), 12, 20
RNG = np.random.default_rng(0)
X, EPS_HAT, NOISE = RNG.standard_normal((3, PIXELS))
MEAN, VARIANCE = RNG.standard_normal(SIZE), RNG.uniform(0.1, 3, SIZE)
UNITS = torch.eye(PIXELS, dtype=torch.float64).reshape(PIXELS, 1, *SIZE)
BETA = 1e-4 + (0.02 - 1e-4) * np.arange(STEPS) / (STEPS - 1)


def image(vector):
    return torch.from_numpy(np.asarray(vector)).reshape(1, 1, *SIZE)


def dense_w(boundary):
    """W on a flattened image: scipy convolves every unit image."""
    w = np.eye(PIXELS).reshape(-1, *SIZE)
    for axis in (-2, -1):
        mode = {"zero": "constant", "symmetric": "reflect"}[boundary]
        w = ndimage.correlate1d(w, gaussian_kernel(0.4), axis=axis, mode=mode)
    return w.reshape(PIXELS, PIXELS)


def in_pixels(process, coefficients):
    """V diag(coefficients) V' on flattened images."""
    return process.basis.inverse(coefficients * process.basis.forward(UNITS)).reshape(PIXELS, PIXELS).T.numpy()


def fixed(process, t, x_t, eps_hat):
    """The answer of a network that says eps_hat."""
    return Denoiser(lambda x, t: image(eps_hat), process, EPS).estimate(image(x_t), t)


# --- Lee Eq. 1, 2, 13, 14, 18: the chain, one step at a time --------------------------------------------------


@pytest.mark.parametrize("i", [1, 2, 500, 1000])
def test_ddpm_takes_lees_first_step(i):
    beta = 1e-4 + (0.02 - 1e-4) * (i - 1) / 999
    a, variance = ddpm(basis=DCT(SIZE)).transition(i / 1000, (i - 1) / 1000)
    assert a.item() == pytest.approx(math.sqrt(1 - beta), rel=1e-12)
    assert variance.item() == pytest.approx(beta, rel=1e-9)
    assert a.numel() == 1  # Eq. 14: every frequency loses the same share, 1 - sqrt(1 - beta)


@pytest.mark.parametrize("boundary", ["zero", "symmetric"])
@pytest.mark.parametrize("i", [1, 13, STEPS])
def test_lee_step_is_diagonal_in_the_eigenbasis(boundary, i):
    process = blur_diffusion(SIZE, f_max=0.6, steps=STEPS, boundary=boundary)
    a, variance = process.transition(i / STEPS, (i - 1) / STEPS)
    eigenvalues = np.linalg.eigvalsh(dense_w(boundary))
    kept = (1 - BETA[i - 1]) * eigenvalues ** (2 * 0.6 * (i / STEPS) ** 4)  # A_i
    np.testing.assert_allclose(np.sort((a**2).numpy().ravel()), np.sort(kept), rtol=1e-10)
    np.testing.assert_allclose(np.sort(variance.numpy().ravel()), np.sort(1 - kept), rtol=0, atol=1e-12)  # B_i


@pytest.mark.parametrize("boundary", ["zero", "symmetric"])
@pytest.mark.parametrize("i", [1, 13, STEPS])
def test_lee_step_in_pixels_blurs_and_keeps_unit_variance(boundary, i):
    # Eq. 5, 6 and 19 to 21: powers by scipy, whose algorithms know nothing of a basis.
    process = blur_diffusion(SIZE, f_max=0.6, steps=STEPS, boundary=boundary)
    a, variance = process.transition(i / STEPS, (i - 1) / STEPS)
    w_i = scipy.linalg.fractional_matrix_power(dense_w(boundary), 0.6 * (i / STEPS) ** 4).real
    c_i = np.eye(PIXELS) - (1 - BETA[i - 1]) * w_i @ w_i
    np.testing.assert_allclose(in_pixels(process, a), math.sqrt(1 - BETA[i - 1]) * w_i, rtol=0, atol=1e-10)
    np.testing.assert_allclose(in_pixels(process, variance), c_i, rtol=0, atol=1e-10)
    high_pass = np.eye(PIXELS) - math.sqrt(1 - BETA[i - 1]) * w_i  # H(., i - 1)
    one_step = X - high_pass @ X + scipy.linalg.sqrtm(c_i).real @ NOISE
    # x_{i-1} + f + G z; and f-bar = N f, G-bar G-bar' = N G G', of a step Delta t = 1 / N (Eq. 22, 23).
    drift, spread = -STEPS * high_pass @ X, math.sqrt(STEPS) * scipy.linalg.sqrtm(c_i).real
    np.testing.assert_allclose(in_pixels(process, STEPS * (a - 1)) @ X, drift, rtol=0, atol=1e-8)
    np.testing.assert_allclose(in_pixels(process, STEPS * variance), spread @ spread.T, rtol=0, atol=1e-6)
    ours = in_pixels(process, a) @ X + in_pixels(process, variance.sqrt()) @ NOISE
    np.testing.assert_allclose(ours, one_step, rtol=0, atol=1e-7)  # scipy's root of a nearly singular C_1


def test_lee_h_lets_high_frequencies_pass():
    process = blur_diffusion((8, 8), f_max=0.6, steps=STEPS, boundary="symmetric")
    a, _ = process.transition(1.0, 1 - 1 / STEPS)
    gain = (1 - a)[0, 0].diagonal()  # H along the diagonal of frequencies
    assert (gain.diff() > 0).all()
    assert gain[0].item() == pytest.approx(1 - math.sqrt(1 - 0.02), rel=1e-9)  # not 0: "unnormalized"
    signal = process.alpha(0.5)[0, 0].diagonal()
    assert (signal.diff() < 0).all()  # high frequencies go first
    assert (ddpm(steps=STEPS).alpha(0.5) > signal[1:]).all()


def test_processes_end_in_white_noise():
    # KL(q(z_1 | x) || N(0, I)) for the brightest image: half the sum of alpha^2 u^2 + sigma^2 - 1 - log sigma^2.
    x = np.ones((32, 32))
    for process, most in (
        (blurring_diffusion(32), 0.03),
        (cosine_diffusion(DCT(32)), 0.03),
        (blur_diffusion(32), 0.03),
    ):
        u = process.basis.forward(torch.from_numpy(x)[None, None])
        variance = process.sigma(1.0) ** 2
        kl = 0.5 * (process.alpha(1.0) ** 2 * u**2 + variance - 1 - torch.log(variance)).sum()
        assert 0 < kl < most


# --- Lee Eq. 7 to 10, 16: the score --------------------------------------------------------------------------


@pytest.mark.parametrize("i", [1, 9, STEPS])
def test_error_of_the_score_is_a_weighted_error_of_eps(i):
    # |s_theta - s|^2 = |U (I - A-bar)^(-1/2) U' (eps_theta - eps)|^2: Eq. 7 becomes Eq. 9.
    process, t = blur_diffusion(SIZE, f_max=0.6, steps=STEPS), i / STEPS
    mean, covariance = np.eye(PIXELS), np.zeros((PIXELS, PIXELS))
    for k in range(1, i + 1):
        w = scipy.linalg.fractional_matrix_power(dense_w("zero"), 0.6 * (k / STEPS) ** 4).real
        m = math.sqrt(1 - BETA[k - 1]) * w
        mean, covariance = m @ mean, m @ covariance @ m + np.eye(PIXELS) - m @ m
    values, vectors = np.linalg.eigh(covariance)
    root, inverse_root = ((vectors * values**p) @ vectors.T for p in (0.5, -0.5))
    x_i = mean @ X + root @ NOISE  # Eq. 4
    np.testing.assert_allclose(process.sample(image(X), t, image(NOISE)).numpy().ravel(), x_i, rtol=0, atol=1e-9)
    true_score = -np.linalg.solve(covariance, x_i - mean @ X)
    answer = fixed(process, t, x_i, EPS_HAT)
    score = process.basis.inverse((answer.mean(t) - answer.seen.u_t) / process.sigma(t) ** 2).numpy().ravel()
    np.testing.assert_allclose(score, -inverse_root @ EPS_HAT, rtol=1e-7, atol=1e-7)  # Eq. 8
    weighted = np.sum((inverse_root @ (EPS_HAT - NOISE)) ** 2)
    assert np.sum((score - true_score) ** 2) == pytest.approx(weighted, rel=1e-6)
    # Eq. 10 drops the weight; the network is asked at Eq. 4's x_i.
    asked = []

    def net(x, t):
        asked.append(x)
        return image(EPS_HAT)

    ours = loss(Denoiser(net, process, EPS), image(X), torch.tensor([t]), image(NOISE))
    assert ours.item() == pytest.approx(np.mean((EPS_HAT - NOISE) ** 2), rel=1e-12)
    np.testing.assert_allclose(asked[0].numpy().ravel(), x_i, rtol=0, atol=1e-9)


def test_score_matching_finds_the_score_of_the_marginal():
    # Eq. 16 on data that are not Gaussian, two grey values: its minimiser is the average of the conditional score.
    process, t = cosine_diffusion(), 0.4
    alpha, sigma = process.alpha(t).item(), process.sigma(t).item()
    values, weights = np.array([-1.0, 0.5]), np.array([0.3, 0.7])

    def posterior(x):
        p = weights * np.exp(-((x - alpha * values) ** 2) / (2 * sigma**2))
        return p / p.sum()

    def log_density(x):
        return math.log((weights * np.exp(-((x - alpha * values) ** 2) / (2 * sigma**2))).sum())

    for x in (-1.2, -0.1, 0.3, 2.0):
        average = (posterior(x) * -(x - alpha * values) / sigma**2).sum()
        numerical = (log_density(x + 1e-5) - log_density(x - 1e-5)) / 2e-5
        assert average == pytest.approx(numerical, rel=1e-6)
        # The library's: the score that the best x0_hat implies.
        x_t = torch.full((1, 1, 1, 1), x, dtype=torch.float64)
        best = torch.full((1, 1, 1, 1), float((posterior(x) * values).sum()), dtype=torch.float64)
        answer = Denoiser(lambda z, t, best=best: best, process, X0).estimate(x_t, t)
        assert ((answer.mean(t) - answer.seen.u_t) / sigma**2).item() == pytest.approx(numerical, rel=1e-6)


@pytest.mark.parametrize("kind", [blurring_diffusion, blur_diffusion, soft_diffusion])
def test_exact_denoiser_implies_the_score_of_the_marginal(kind):
    process, t = kind(SIZE), 0.4
    data = Gaussian(process.basis, torch.from_numpy(VARIANCE)[None, None], torch.from_numpy(MEAN)[None, None])
    mean = in_pixels(process, process.alpha(t)) @ process.basis.inverse(data.mean).numpy().ravel()
    covariance = in_pixels(process, process.alpha(t) ** 2 * data.variance + process.sigma(t) ** 2)
    x = torch.from_numpy(X.copy()).requires_grad_()
    law = torch.distributions.MultivariateNormal(
        torch.from_numpy(mean), torch.from_numpy((covariance + covariance.T) / 2)
    )
    (score,) = torch.autograd.grad(law.log_prob(x), x)
    answer = data.denoiser(process).estimate(image(X), t)
    ours = process.basis.inverse((answer.mean(t) - answer.seen.u_t) / process.sigma(t) ** 2)
    np.testing.assert_allclose(ours.numpy().ravel(), score.numpy(), rtol=0, atol=1e-9)


# --- Lee Eq. 17, 24 to 27: differential equations ------------------------------------------------------------


@pytest.mark.parametrize("i", [1, 500, 1000])
def test_lee_euler_without_blur_is_the_reverse_diffusion_sampler(i):
    beta = 1e-4 + (0.02 - 1e-4) * (i - 1) / 999
    noise = 1 - np.prod(1 - (1e-4 + (0.02 - 1e-4) * np.arange(i) / 999))
    score = -EPS_HAT / math.sqrt(noise)
    expected = X - (math.sqrt(1 - beta) - 1) * X + beta * score + math.sqrt(beta) * NOISE
    for process in (ddpm(), blur_diffusion(SIZE, f_max=0.0)):
        ours = lee_euler(fixed(process, i / 1000, X, EPS_HAT), i, image(NOISE)).numpy().ravel()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)


def drift_and_spread(process, t, h=1e-5):
    """(f, g^2) per frequency: the linear drift and the diffusion of the SDE, from one short transition around t."""
    a, variance = process.transition(t + h / 2, t - h / 2)
    return (a.numpy().ravel() - 1) / h, variance.numpy().ravel() / h


@pytest.mark.parametrize("kind", [lambda: blurring_diffusion(SIZE, 2.0), lambda: soft_diffusion(SIZE, 2.0)])
def test_short_transitions_are_an_sde(kind):
    # Eq. 24: integrate dm = f m dt and dP = (2 f P + g^2) dt; the marginals must come out.
    process, start, end = kind(), 0.05, 0.9

    def slope(t, state):
        f, g2 = drift_and_spread(process, t)
        return np.concatenate([f * state[:PIXELS], 2 * f * state[PIXELS:] + g2])

    first = np.concatenate([process.alpha(start).numpy().ravel(), np.full(PIXELS, process.sigma(start).item() ** 2)])
    last = solve_ivp(slope, (start, end), first, rtol=1e-6, atol=1e-9).y[:, -1]
    np.testing.assert_allclose(last[:PIXELS], process.alpha(end).numpy().ravel(), rtol=1e-3, atol=1e-8)
    np.testing.assert_allclose(last[PIXELS:], process.sigma(end).item() ** 2, rtol=5e-4)


@pytest.mark.parametrize("kind", [lambda: blurring_diffusion(SIZE, 2.0), lambda: soft_diffusion(SIZE, 2.0)])
def test_andersons_reverse_sde_has_the_same_marginals(kind):
    # Eq. 25 with the exact score of Gaussian data: dx = (f x - g^2 s) dt backwards, moment by moment.
    process, start, end = kind(), 0.9, 0.1
    v, m = VARIANCE.ravel(), MEAN.ravel()

    def law(t):
        alpha = process.alpha(t).numpy().ravel()
        return alpha * m, alpha**2 * v + process.sigma(t).item() ** 2

    def slope(t, state):
        f, g2 = drift_and_spread(process, t)
        mean, variance = law(t)
        pull = f + g2 / variance  # f x - g^2 s, s = -(x - mean) / variance
        return np.concatenate(
            [f * state[:PIXELS] + g2 / variance * (state[:PIXELS] - mean), 2 * pull * state[PIXELS:] - g2]
        )

    last = solve_ivp(slope, (start, end), np.concatenate(law(start)), rtol=1e-6, atol=1e-9).y[:, -1]
    expected = np.concatenate(law(end))
    np.testing.assert_allclose(last, expected, rtol=1e-3, atol=1e-4)


def test_lee_euler_walks_to_the_data():
    # Eq. 26, 27 with the exact denoiser, N = 1000: the law of what is drawn, by probing each step with unit images.
    process = blur_diffusion(SIZE)
    variance = torch.from_numpy(VARIANCE)[None, None]
    data = Gaussian(process.basis, variance)
    denoiser = data.denoiser(process)
    probe, zero = process.basis.inverse(torch.ones(1, 1, *SIZE).double()), torch.zeros(1, 1, *SIZE).double()
    spread = torch.ones(1, 1, *SIZE).double()
    for i in range(1000, 0, -1):
        t = i / 1000
        transfer = process.basis.forward(lee_euler(denoiser.estimate(probe, t), i))
        fresh = process.basis.forward(lee_euler(denoiser.estimate(zero, t), i, probe))
        spread = transfer**2 * spread + fresh**2
    assert (spread / variance - 1).abs().max() < 0.05


# --- HS Eq. 2 to 7: Bayes by quadrature ----------------------------------------------------------------------


@pytest.mark.parametrize(("t", "s"), [(0.9, 0.8), (0.5, 0.1), (0.1, 0.09)])
def test_posterior_is_bayes_rule_by_quadrature(t, s):
    process, x, z_t = cosine_diffusion(), 0.7, -0.4
    alpha_t, sigma_t, alpha_s, sigma_s = (c.item() for c in process.coefficients(t, s))
    a = alpha_t / alpha_s
    added = sigma_t**2 - a**2 * sigma_s**2
    middle, width = ancestral(process, t, s)
    middle, width = alpha_s * x + middle.item() * (z_t - alpha_t * x), width.item()

    def density(z_s):
        """q(z_t | z_s) q(z_s | x), up to a factor that is 1 in the middle."""
        return math.exp(energy(middle) - energy(z_s))

    def energy(z_s):
        return (z_t - a * z_s) ** 2 / (2 * added) + (z_s - alpha_s * x) ** 2 / (2 * sigma_s**2)

    def moment(k):
        # Each half by itself: a whole one that is odd would have no relative error to stop at.
        halves = ((middle - 12 * width, middle), (middle, middle + 12 * width))
        return sum(quad(lambda z: ((z - middle) / width) ** k * density(z), *half, epsrel=1e-10)[0] for half in halves)

    mass = moment(0)
    assert moment(1) / mass == pytest.approx(0, abs=1e-8)
    assert moment(2) / mass == pytest.approx(1, rel=1e-8)
    # and HS's own form of it
    variance = 1 / (1 / sigma_s**2 + a**2 / added)
    assert variance == pytest.approx(width**2, rel=1e-9)
    assert variance * (a / added * z_t + alpha_s / sigma_s**2 * x) == pytest.approx(middle, rel=1e-9)


def test_true_reverse_tends_to_the_posterior_at_the_mean():
    # HS sec. 2.1: for s -> t, q(z_s | z_t) -> q(z_s | z_t, x = E[x | z_t]); both are closed forms for Gaussian data.
    process, t, v = blurring_diffusion(SIZE, 2.0), 0.5, torch.from_numpy(VARIANCE)
    gaps = []
    for h in (0.1, 0.01, 0.001):
        alpha_t, sigma_t, alpha_s, sigma_s = process.coefficients(t, t - h)
        before, now = alpha_s**2 * v + sigma_s**2, alpha_t**2 * v + sigma_t**2
        a = alpha_t / alpha_s
        true_variance, true_gain = before - (a * before) ** 2 / now, a * before / now
        carry, refresh = ancestral(process, t, t - h)
        gain = carry + (alpha_s - carry * alpha_t) * alpha_t * v / now
        gaps.append([(true_variance / refresh**2 - 1).abs().max().item(), (true_gain - gain).abs().max().item()])
    assert all(late[0] < 0.2 * early[0] for early, late in itertools.pairwise(gaps))
    assert all(gap[1] < 1e-12 for gap in gaps)  # the means agree at every step: the estimate is linear in z_t


def test_weight_of_the_bound_is_minus_half_the_slope_of_log_snr():
    # HS Eq. 7: sum the divergences of many small steps for a network that is always 1 off in eps.
    process = cosine_diffusion()
    total = 0.0
    for t, s in itertools.pairwise(torch.linspace(0.9, 0.1, 1001, dtype=torch.float64).tolist()):
        alpha_t, sigma_t, alpha_s, _ = (c.item() for c in process.coefficients(t, s))
        carry, refresh = (c.item() for c in ancestral(process, t, s))
        shift = (alpha_s - carry * alpha_t) * sigma_t / alpha_t  # of the mean, for an error of 1 in eps
        total += shift**2 / (2 * refresh**2)
    low, high = math.atan(math.exp(-5)), math.atan(math.exp(5))
    angle = [low + t * (high - low) for t in (0.1, 0.9)]
    weight = quad(
        lambda t: (high - low) * (math.tan(low + t * (high - low)) + 1 / math.tan(low + t * (high - low))), 0.1, 0.9
    )
    assert total == pytest.approx(weight[0], rel=5e-3)
    assert weight[0] == pytest.approx(math.log(math.tan(angle[1]) / math.tan(angle[0])), rel=1e-9)  # -1/2 of log SNR


# --- HS Eq. 8 to 18: heat ------------------------------------------------------------------------------------


def test_heat_equation_by_finite_differences():
    # Eq. 8 on a grid 40 times finer with insulated ends, by a matrix exponential; read at the pixels' centres.
    pixels, fine = 8, 40
    n = pixels * fine
    laplace = np.diag(np.full(n, -2.0)) + np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)
    laplace[0, 0] = laplace[-1, -1] = -1
    laplace *= fine**2  # cells are 1 / fine px wide
    x = RNG.standard_normal(pixels)
    cosines = np.cos(np.pi * np.outer((np.arange(n) + 0.5) / fine, np.arange(pixels)) / pixels)
    at_pixels = np.cos(np.pi * np.outer(np.arange(pixels) + 0.5, np.arange(pixels)) / pixels)
    start = cosines @ np.linalg.solve(at_pixels, x)  # the smooth picture whose samples are x
    process = heat_dissipation((1, pixels), sigma_max=3.0, steps=STEPS)
    widths = np.array([0, *np.exp(np.linspace(np.log(0.5), np.log(3.0), STEPS))])
    for k in (1, 10, STEPS):
        heated = scipy.linalg.expm(laplace * widths[k] ** 2 / 2) @ start
        centres = heated.reshape(pixels, fine)[:, fine // 2 - 1 : fine // 2 + 1].mean(1)
        ours = process.mean(torch.from_numpy(x).reshape(1, 1, 1, -1), k / STEPS).numpy().ravel()
        np.testing.assert_allclose(ours, centres, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("k", "j"), [(1, 0), (10, 9), (20, 3)])
def test_heat_transition_and_reverse(k, j):
    process = heat_dissipation(SIZE, sigma_max=4.0, steps=STEPS, noise=0.02)
    widths = np.array([0, *np.exp(np.linspace(np.log(0.5), np.log(4.0), STEPS))])
    d_t, d_s = (np.exp(-lam(SIZE) * widths[n] ** 2 / 2) for n in (k, j))
    a, variance = (c[0, 0].numpy() for c in process.transition(k / STEPS, j / STEPS))
    np.testing.assert_allclose(a, d_t / d_s, rtol=1e-10)  # Eq. 15, 16
    np.testing.assert_allclose(variance, (1 - (d_t / d_s) ** 2) * 0.02**2, rtol=1e-9, atol=1e-18)
    order = np.argsort(lam(SIZE).ravel(), kind="stable")
    assert (np.diff(variance.ravel()[order]) >= -1e-18).all()  # more noise on higher frequencies
    # Eq. 17, 18: condition the joint Gaussian of (u_s, u_t) given x, 2 x 2 a frequency.
    u_x, u_t = dct(X.reshape(SIZE)), dct(NOISE.reshape(SIZE))
    covariance, total = a * 0.02**2, 0.02**2
    mean = d_s * u_x + covariance / total * (u_t - d_t * u_x)
    spread = np.sqrt(0.02**2 - covariance**2 / total)
    estimate = Denoiser(lambda x, t: image(X), process, X0).estimate(image(NOISE), k / STEPS)
    ours = step(estimate, k / STEPS, j / STEPS, ancestral, image(EPS_HAT))[0, 0].numpy()
    np.testing.assert_allclose(ours, idct(mean + spread * dct(EPS_HAT.reshape(SIZE))), rtol=0, atol=1e-9)
    assert spread[0, 0] < 1e-8 < 0.019 < spread[-1, -1]  # not isotropic: none for the mean, all for the finest


def test_only_the_ratio_of_alpha_and_sigma_matters():
    # HS sec. 3: rescale heat dissipation by r_t to variance preserving; every step is the same step, rescaled.
    heat = heat_dissipation(SIZE, sigma_max=4.0, steps=STEPS, noise=0.02)

    def scale(t):
        return (heat.alpha(t.flatten()) ** 2 + heat.sigma(t.flatten()) ** 2).rsqrt()

    moved = Process(
        heat.basis,
        lambda t: scale(t) * heat.alpha(t.flatten()),
        lambda t: scale(t) * heat.sigma(t.flatten()),
        STEPS,
    )
    t, s = 0.5, 0.45
    r_t, r_s = (scale(torch.tensor([r], dtype=torch.float64)) for r in (t, s))
    torch.testing.assert_close(moved.alpha(t) ** 2 + moved.sigma(t) ** 2, torch.ones(1, 1, *SIZE).double())
    torch.testing.assert_close(moved.snr(t), heat.snr(t), rtol=1e-10, atol=0)
    seen = image(NOISE)
    rescaled = heat.basis.inverse(r_t * heat.basis.forward(seen))
    ours = []
    for process, z in ((heat, seen), (moved, rescaled)):
        estimate = Denoiser(lambda x, t: image(X), process, X0).estimate(z, t)
        ours.append(process.basis.forward(step(estimate, t, s, ancestral, image(EPS_HAT))))
    torch.testing.assert_close(ours[1], r_s * ours[0], rtol=0, atol=1e-10)


# --- HS Eq. 25, 28, 29, and what sections 4 and 6 say of them --------------------------------------------------


def test_the_floor_bounds_what_a_step_divides_by():
    for d_min in (0.1, 1e-3):
        process, plain = blurring_diffusion((1, 32), 20.0, d_min=d_min), cosine_diffusion()
        for t, s in itertools.pairwise(process.times(50).tolist()):
            blur = process.transition(t, s)[0] / plain.transition(t, s)[0]
            assert (blur >= d_min).all()
    bare = np.exp(-((np.pi * 31 / 32) ** 2) * 20.0**2 / 2)
    assert bare < 1e-300  # without it


def test_sin2_blurs_later_than_sin():
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert (sin2_blur(t, 20.0)[1:-1] < sin_blur(t, 20.0)[1:-1]).all()
    assert sin2_blur(t, 20.0)[-1] == sin_blur(t, 20.0)[-1] == 20.0
    assert (sin2_blur(t[1:3], 20.0) / sin_blur(t[1:3], 20.0) < 0.04).all()


def test_blur_breaks_variance_preservation():
    process = blurring_diffusion((8, 8), 5.0)
    total = process.alpha(0.5) ** 2 + process.sigma(0.5) ** 2
    assert total[0, 0, 0, 0].item() == pytest.approx(1, abs=1e-12)
    assert (total.flatten()[1:] < 0.9).all()
    plain = cosine_diffusion()
    assert (plain.alpha(0.5) ** 2 + plain.sigma(0.5) ** 2).item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("orthonormal", [True, False])
def test_any_invertible_basis_gives_a_gaussian_diffusion(orthonormal):
    # Eq. 28, 29: push u = alpha u_x + sigma n through z = P u. For an orthonormal P that is the library's process.
    process = blur_diffusion(SIZE, f_max=0.6, f_type="log")  # noise that is not white: sigma is a vector
    units = UNITS.reshape(PIXELS, PIXELS).numpy()
    p = process.basis.inverse(UNITS).reshape(PIXELS, PIXELS).T.numpy()
    if not orthonormal:
        p = p @ (units + 0.2 * RNG.standard_normal((PIXELS, PIXELS)))
    alpha, sigma = (c(0.5).numpy().ravel() for c in (process.alpha, process.sigma))
    draw = p @ (alpha * np.linalg.solve(p, X) + sigma * NOISE)
    mean, covariance = p @ np.diag(alpha) @ np.linalg.inv(p) @ X, p @ np.diag(sigma**2) @ p.T
    # The noise of the draw is L n with L L' the stated covariance, and its mean is the stated mean.
    np.testing.assert_allclose(draw - mean, p @ (sigma * NOISE), rtol=0, atol=1e-10)
    np.testing.assert_allclose((p * sigma) @ (p * sigma).T, covariance, rtol=0, atol=1e-10)
    library_mean = process.mean(image(X), 0.5).numpy().ravel()
    probe = process.sample(torch.zeros_like(UNITS), 0.5, UNITS).reshape(PIXELS, PIXELS).numpy()
    same = np.allclose(library_mean, mean, atol=1e-10) and np.allclose(probe.T @ probe, covariance, atol=1e-10)
    assert same is orthonormal
