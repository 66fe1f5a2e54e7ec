"""The one step against the published samplers, each written out again in numpy and scipy."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import dct, idct, lam
from scipy import ndimage
from scipy.special import expit

from bdbook import samplers
from bdbook.denoiser import EPS, LESS_BLURRED, X0, Denoiser
from bdbook.processes import (
    Process,
    blur_diffusion,
    blurring_diffusion,
    cosine_diffusion,
    ddpm,
    heat_dissipation,
    soft_diffusion,
)
from bdbook.samplers import ancestral, ddim, ihdm, last, lee_euler, momentum, naive, partial_carry, sample, step, tacos
from bdbook.transforms import DCT, Circle, Pixel, Rotation, lengths

SIZE = (5, 4)
PIXELS = 20
RNG = np.random.default_rng(0)
X_T, X0_HAT, EPS_HAT, FRESH = RNG.standard_normal((4, 3, 2, *SIZE))
BETA = 1e-4 + (0.02 - 1e-4) * np.arange(1000) / 999
FLOAT32 = 2e-5


def answer(process, t, x0_hat=None, eps_hat=None, dtype=torch.float64):
    """A denoiser's answer that is given: x0_hat or eps_hat."""
    given, predicts = (x0_hat, X0) if eps_hat is None else (eps_hat, EPS)
    denoiser = Denoiser(lambda x, t: torch.from_numpy(given).to(x), process, predicts)
    return denoiser.estimate(torch.from_numpy(X_T).to(dtype), t)


def stepped(process, t, s, rule, noise=FRESH, dtype=torch.float64, **given):
    noise = None if noise is None else torch.from_numpy(noise).to(dtype)
    return step(answer(process, t, dtype=dtype, **given), t, s, rule, noise).numpy()


def hs_alpha_sigma(t, sigma_max, size=SIZE, d_min=1e-3):
    """HS app. A.1; the dissipation time from sigma_blur, where the listing prints sigma_t."""
    high, low = math.atan(math.exp(-5)), math.atan(math.exp(5))
    logsnr = -2 * math.log(math.tan((low - high) * t + high))
    width = sigma_max * math.sin(t * math.pi / 2) ** 2
    d = np.exp(-lam(size) * width**2 / 2) * (1 - d_min) + d_min
    return math.sqrt(expit(logsnr)) * d, math.sqrt(expit(-logsnr))


# --- ancestral ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("i", [1, 2, 10, 500, 1000])
def test_ancestral_is_ddpms_posterior(i):
    beta, a_bar, before = BETA[i - 1], np.prod(1 - BETA[:i]), np.prod(1 - BETA[: i - 1])
    # Ho et al. Eq. 6 and 7.
    from_x0 = math.sqrt(before) * beta / (1 - a_bar)
    from_xt = math.sqrt(1 - beta) * (1 - before) / (1 - a_bar)
    deviation = math.sqrt((1 - before) / (1 - a_bar) * beta)
    expected = from_x0 * X0_HAT + from_xt * X_T + deviation * FRESH
    times = i / 1000, (i - 1) / 1000
    ours = stepped(ddpm(), *times, ancestral, x0_hat=X0_HAT)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    # Ho et al. Eq. 11: the same mean from eps.
    mean = (X_T - beta / math.sqrt(1 - a_bar) * EPS_HAT) / math.sqrt(1 - beta)
    ours = stepped(ddpm(), *times, ancestral, eps_hat=EPS_HAT)
    np.testing.assert_allclose(ours, mean + deviation * FRESH, rtol=0, atol=1e-12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = stepped(ddpm(), *times, ancestral, x0_hat=X0_HAT, dtype=torch.float32)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=FLOAT32)


TAPS = np.exp(-0.5 * (np.arange(-1, 2) / 0.4) ** 2)
TAPS /= TAPS.sum()


def banded(n, boundary):
    """W along one axis, explicitly: zero-padded Toeplitz, or mirrored at the half sample."""
    return ndimage.correlate1d(np.eye(n), TAPS, axis=0, mode={"zero": "constant", "symmetric": "reflect"}[boundary])


def lee_dense(steps, f_max, boundary):
    """Lee's chain on flattened images: step matrices M_i = sqrt(1 - beta_i) W^f(i), from explicit matrices."""
    values, vectors = np.linalg.eigh(np.kron(*(banded(n, boundary) for n in SIZE)))
    betas = 1e-4 + (0.02 - 1e-4) * np.arange(steps) / (steps - 1)
    return [
        math.sqrt(1 - betas[i - 1]) * (vectors * values ** (f_max * (i / steps) ** 4)) @ vectors.T
        for i in range(1, steps + 1)
    ]


def run_chain(step_matrices):
    """(mean operator, covariance) of x_i given x_0 after these steps; each step adds I - M M'."""
    mean, cov = np.eye(PIXELS), np.zeros((PIXELS, PIXELS))
    for m in step_matrices:
        mean, cov = m @ mean, m @ cov @ m.T + np.eye(PIXELS) - m @ m.T
    return mean, cov


def exact_chain(size, steps, f_max, boundary):
    """lee_dense in 40 digits: at i = 1 the noise is 1e-4 beside 1, and float64 would lose four of its digits."""
    w = mpmath.matrix(np.kron(*(banded(n, boundary) for n in size)).tolist())
    values, vectors = mpmath.eigsy(w)
    betas = 1e-4 + (0.02 - 1e-4) * np.arange(steps) / (steps - 1)
    for i in range(1, steps + 1):
        f = f_max * (mpmath.mpf(i) / steps) ** 4
        step_matrix = vectors * mpmath.diag([value**f for value in values]) * vectors.T
        yield mpmath.sqrt(1 - mpmath.mpf(betas[i - 1])) * step_matrix


@pytest.mark.parametrize("boundary", ["zero", "symmetric"])
@pytest.mark.parametrize(("i", "j"), [(1, 0), (2, 1), (5, 3), (6, 5), (6, 1), (3, 0)])
def test_ancestral_is_bayes_rule_for_lee(boundary, i, j):
    size, steps, f_max = (3, 4), 6, 0.6
    pixels = 12
    process = blur_diffusion(size, f_max=f_max, steps=steps, boundary=boundary)
    x0, x_t = np.random.default_rng(i).standard_normal((2, 1, 1, *size))
    with mpmath.workdps(40):
        between = mean = one = mpmath.eye(pixels)
        cov = mpmath.zeros(pixels)
        for k, m in enumerate(exact_chain(size, steps, f_max, boundary), 1):
            mean, cov = m * mean, m * cov * m.T + one - m * m.T
            between = m * between if k > j else between
            if k == j:
                mean_s, cov_s = mean, cov
            if k == i:
                break
        if j == 0:
            mean_s, cov_s = one, mpmath.zeros(pixels)
        # Conditional of the joint Gaussian of (x_s, x_t) given x_0, all dense.
        gain = cov_s * between.T * mpmath.inverse(cov)
        column_0, column_t = (mpmath.matrix(a.ravel().tolist()) for a in (x0, x_t))
        expected = mean_s * column_0 + gain * (column_t - mean * column_0)
        covariance = cov_s - gain * between * cov_s
        expected = np.array(expected.tolist(), dtype=float).reshape(x_t.shape)
        covariance = np.array(covariance.tolist(), dtype=float)
    t, s = i / steps, j / steps
    zeros = torch.zeros(pixels, 1, *size, dtype=torch.float64)
    estimate = Denoiser(lambda x, t: torch.from_numpy(x0), process, X0).estimate(torch.from_numpy(x_t), t)
    ours = step(estimate, t, s, ancestral, zeros[:1]).numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    # The step is affine in the noise: unit images give the square root of its covariance, column by column.
    units = torch.eye(pixels, dtype=torch.float64).reshape(pixels, 1, *size)
    silent = Denoiser(lambda x, t: torch.zeros_like(x), process, X0).estimate(zeros, t)
    root = step(silent, t, s, ancestral, units).numpy().reshape(pixels, pixels)
    np.testing.assert_allclose(root.T @ root, covariance, rtol=0, atol=1e-12)


def hs_denoise(z_t, hat_eps, fresh_freq, t, steps, sigma_max, delta):
    """One reverse step as HS app. A.1 lists it, its clips included."""
    alpha_s, sigma_s = hs_alpha_sigma(t - 1 / steps, sigma_max)
    alpha_t, sigma_t = hs_alpha_sigma(t, sigma_max)
    forward = alpha_t / alpha_s
    added = sigma_t**2 - forward**2 * sigma_s**2
    precision = 1 / max(sigma_s**2, delta) + 1 / np.maximum(sigma_t**2 / forward**2 - sigma_s**2, delta)
    variance = 1 / np.maximum(precision, delta)
    u_t = dct(z_t)
    mean = idct(forward * variance / (added + delta) * u_t)
    mean += idct(variance / forward / max(sigma_s**2, delta) * (u_t - sigma_t * dct(hat_eps)))
    return mean + idct(np.sqrt(variance) * fresh_freq)


@pytest.mark.parametrize("sigma_max", [1.0, 20.0])
@pytest.mark.parametrize("steps", [10, 100])
def test_ancestral_is_hs_appendix_a1(sigma_max, steps):
    process = blurring_diffusion(SIZE, sigma_max=sigma_max)
    for k in (1, 2, steps // 2, steps - 1, steps):
        t = k / steps
        given = (X_T, EPS_HAT, dct(FRESH), t, steps, sigma_max)
        ours = stepped(process, t, t - 1 / steps, ancestral, eps_hat=EPS_HAT)
        # Without its clips (1e-14 in their place) the listing is the exact posterior ...
        exact = hs_denoise(*given, delta=1e-14)
        scale = np.abs(exact).max()  # |1 / alpha_ts| magnifies an arbitrary eps_hat up to 1e3 near t = 1
        np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-9 * scale)
        # ... and with them it is off by no more than delta / sigma_{t|s}^2, which matters only near t = 0.
        alpha_t, sigma_t = hs_alpha_sigma(t, sigma_max)
        alpha_s, sigma_s = hs_alpha_sigma(t - 1 / steps, sigma_max)
        clip = 1e-8 / np.min(sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2)
        clipped = hs_denoise(*given, delta=1e-8)
        size = np.linalg.norm(X_T, axis=(-2, -1)).max()
        np.testing.assert_allclose(ours, clipped, rtol=0, atol=1e-6 * max(1, scale) + clip * size)
        if k >= steps // 2:
            np.testing.assert_allclose(ours, clipped, rtol=0, atol=1e-6 * max(1, scale))


def test_ancestral_is_hs_appendix_a1_in_float32_under_autocast():
    process = blurring_diffusion(SIZE, sigma_max=5.0)
    for t in (0.5, 0.9):
        exact = hs_denoise(X_T, EPS_HAT, dct(FRESH), t, 10, 5.0, delta=1e-14)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            ours = stepped(process, t, t - 0.1, ancestral, eps_hat=EPS_HAT, dtype=torch.float32)
        np.testing.assert_allclose(ours, exact, rtol=0, atol=FLOAT32 * np.abs(exact).max())


# --- DDIM, TACoS, naive, momentum, IHDM -----------------------------------------------------------------------


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.9), (0.8, 0.1), (0.02, 0.0)])
def test_tacos_with_estimated_noise_is_ddim(t, s):
    # Bansal Algorithm 2 with D(x, t) = alpha_t x + sigma_t z_hat, z_hat the noise that explains x_t (their A.6).
    process = blurring_diffusion(SIZE, sigma_max=2.0)

    def degrade(x, r, z_hat):
        alpha, sigma = hs_alpha_sigma(r, 2.0)
        return idct(alpha * dct(x)) + sigma * z_hat

    alpha, sigma = hs_alpha_sigma(t, 2.0)
    z_hat = (X_T - idct(alpha * dct(X0_HAT))) / sigma
    expected = X_T - degrade(X0_HAT, t, z_hat) + degrade(X0_HAT, s, z_hat)
    ours = stepped(process, t, s, ddim, noise=None, x0_hat=X0_HAT)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    # D(x0_hat, t) is then x_t itself, so that Algorithm 1 is the same.
    np.testing.assert_allclose(degrade(X0_HAT, s, z_hat), ours, rtol=0, atol=1e-12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = stepped(process, t, s, ddim, noise=None, x0_hat=X0_HAT, dtype=torch.float32)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=FLOAT32 * np.abs(expected).max())


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("i", [2, 500, 1000])
def test_ddim_is_songs(eta, i):
    # Song et al. 2020 Eq. 12 and 16, with their alpha the running product.
    a, b = np.prod(1 - BETA[:i]), np.prod(1 - BETA[: i - 1])
    tau = eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)
    x0 = (X_T - math.sqrt(1 - a) * EPS_HAT) / math.sqrt(a)
    expected = math.sqrt(b) * x0 + math.sqrt(1 - b - tau**2) * EPS_HAT + tau * FRESH
    ours = stepped(ddpm(), i / 1000, (i - 1) / 1000, lambda *a: ddim(*a, eta=eta), eps_hat=EPS_HAT)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12 * np.abs(x0).max())


PROCESSES = {
    "ddpm": ddpm(),
    "cosine": cosine_diffusion(),
    "heat": heat_dissipation((16, 16)),
    "blurring": blurring_diffusion((16, 16)),
    "lee": blur_diffusion((16, 16)),
    "lee_log": blur_diffusion((16, 16), f_max=0.6, f_type="log"),
    "soft": soft_diffusion((16, 16)),
    "series": blurring_diffusion((24,)),
    "ring": soft_diffusion((Circle(12),)),
    "globe": heat_dissipation((4, Circle(9))),
    "volume": blur_diffusion((4, 3, Circle(5))),
    "ddpm_series": ddpm(basis=Pixel(1)),
    "cosine_volume": cosine_diffusion(DCT((2, 4, 3))),
}


def two_times(process, a, b):
    n = process.steps
    s, t = sorted(v if n is None else round(v * n) / n for v in (a, b))
    return (t, s) if s < t else (1.0, s if s < 1 else 0.5)


@given(st.sampled_from(sorted(PROCESSES)), st.floats(0, 1), st.floats(0, 1))
def test_ddim_with_eta_1_is_ancestral(name, a, b):
    process = PROCESSES[name]
    t, s = two_times(process, a, b)
    for ours, theirs in zip(ddim(process, t, s, eta=1.0), ancestral(process, t, s)):
        torch.testing.assert_close(*torch.broadcast_tensors(ours, theirs), rtol=0, atol=1e-12)


@given(st.sampled_from(sorted(PROCESSES)), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_marginal_is_kept(name, a, b, eta):
    # If u_t = alpha_t u_x + sigma_t n and x0_hat = x0, then u_s - alpha_s u_x = c sigma_t n + tau n': its variance
    # must be sigma_s^2, and its mean is 0.
    process = PROCESSES[name]
    t, s = two_times(process, a, b)
    for rule in (ancestral, ddim, lambda *times: ddim(*times, eta=eta), partial_carry(eta)):
        carry, refresh = rule(process, t, s)
        kept = carry**2 * process.sigma(t) ** 2 + refresh**2
        expected = (process.sigma(s) ** 2).expand_as(kept)
        torch.testing.assert_close(kept, expected, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("rule", [ancestral, ddim, lambda *times: ddim(*times, eta=0.5), partial_carry(0.3)])
@pytest.mark.parametrize(
    ("process", "size"),
    [
        (ddpm(), SIZE),
        (blurring_diffusion(SIZE), SIZE),
        (blur_diffusion(SIZE), SIZE),
        (ddpm(basis=Pixel(1)), (20,)),
        (blurring_diffusion((Circle(20),)), (20,)),
        (blur_diffusion((2, 5, 2)), (2, 5, 2)),
        (blurring_diffusion((2, Circle(5), 2)), (2, 5, 2)),
    ],
)
def test_marginal_is_kept_through_the_step(process, size, rule):
    # The same through `step` and pixels: at fixed x0 the step is affine, so unit images give its matrices.
    t, s = 0.6, 0.2
    x0 = torch.from_numpy(X0_HAT[:1, :1]).reshape(1, 1, *size)
    units = torch.eye(PIXELS, dtype=torch.float64).reshape(PIXELS, 1, *size)
    zero = torch.zeros_like(units)
    denoiser = Denoiser(lambda x, t: x0.expand_as(x), process, X0)

    def drawn(first, second):
        return step(denoiser.estimate(process.sample(x0.expand_as(first), t, first), t), t, s, rule, second)

    offset = drawn(zero, zero)
    torch.testing.assert_close(offset, process.mean(x0, s).expand_as(offset), rtol=0, atol=1e-12)
    kept, fresh = ((drawn(*n) - offset).reshape(PIXELS, PIXELS) for n in ((units, zero), (zero, units)))
    expected = process.basis.inverse(process.sigma(s) ** 2 * process.basis.forward(units)).reshape(PIXELS, PIXELS)
    torch.testing.assert_close(kept.T @ kept + fresh.T @ fresh, expected, rtol=0, atol=1e-12)


@given(st.sampled_from(sorted(PROCESSES)), st.floats(0, 1), st.floats(0, 1))
def test_a_part_of_ddims_carry(name, a, b):
    process = PROCESSES[name]
    t, s = two_times(process, a, b)
    whole, _ = ddim(process, t, s)
    for rho in (0.0, 0.25, 1.0):
        carry, refresh = partial_carry(rho)(process, t, s)
        torch.testing.assert_close(carry, rho * whole, rtol=1e-15, atol=0)
        assert (refresh == 0).all() == (rho == 1 or (process.sigma(s) == 0).all())


def test_momentum_does_not_keep_the_marginal_but_in_the_limit():
    process = soft_diffusion((16, 16))
    gaps = []
    for h in (0.1, 0.01, 0.001):
        carry, refresh = momentum(process, 0.5, 0.5 - h)
        kept = carry**2 * process.sigma(0.5) ** 2 + refresh**2
        gaps.append((kept / process.sigma(0.5 - h) ** 2 - 1).abs().max().item())
    assert gaps[0] > 0.1
    assert gaps[0] > 5 * gaps[1] > 25 * gaps[2]


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.9), (0.5, 0.2), (0.1, 0.0)])
def test_momentum_is_soft_diffusions_update(t, s):
    process = soft_diffusion(SIZE, sigma_max=3.0)

    def blur(x, r):
        return idct(np.exp(-lam(SIZE) * (3 * math.sin(math.pi * r / 2) ** 2) ** 2 / 2) * dct(x))

    sigma_t, sigma_s = 0.01 ** (1 - t), 0.01 ** (1 - s)
    expected = (
        X_T
        + blur(X0_HAT, s)
        - blur(X0_HAT, t)
        + (1 - sigma_s**2 / sigma_t**2) * (blur(X0_HAT, t) - X_T)
        + math.sqrt(sigma_t**2 - sigma_s**2) * FRESH
    )
    np.testing.assert_allclose(stepped(process, t, s, momentum, x0_hat=X0_HAT), expected, rtol=0, atol=1e-12)


def ihdm_blur(x, k, steps=20, low=0.5, high=4.0):
    widths = np.array([0, *np.exp(np.linspace(np.log(low), np.log(high), steps))])
    return idct(np.exp(-lam(SIZE) * widths[k] ** 2 / 2) * dct(x))


def test_cold_rules_are_bansals_algorithms():
    process = heat_dissipation(SIZE, sigma_max=4.0, steps=20, noise=0.0)
    for k, j in ((20, 19), (20, 3), (1, 0)):
        once = stepped(process, k / 20, j / 20, naive, noise=None, x0_hat=X0_HAT)
        np.testing.assert_allclose(once, ihdm_blur(X0_HAT, j), rtol=0, atol=1e-12)
        twice = stepped(process, k / 20, j / 20, tacos, noise=None, x0_hat=X0_HAT)
        np.testing.assert_allclose(twice, X_T - ihdm_blur(X0_HAT, k) + ihdm_blur(X0_HAT, j), rtol=0, atol=1e-12)


def test_ihdm_is_rissanens_step():
    process = heat_dissipation(SIZE, sigma_max=4.0, steps=20)
    for k in (20, 7, 1):
        ours = stepped(process, k / 20, (k - 1) / 20, ihdm(0.025), x0_hat=X0_HAT)
        np.testing.assert_allclose(ours, ihdm_blur(X0_HAT, k - 1) + 0.025 * FRESH, rtol=0, atol=1e-12)
        # Their network says the difference to the less blurred image.
        denoiser = Denoiser(lambda x, t: torch.from_numpy(EPS_HAT), process, LESS_BLURRED)
        estimate = denoiser.estimate(torch.from_numpy(X_T), k / 20)
        ours = step(estimate, k / 20, (k - 1) / 20, ihdm(0.025), torch.from_numpy(FRESH)).numpy()
        np.testing.assert_allclose(ours, X_T + EPS_HAT + 0.025 * FRESH, rtol=0, atol=1e-12)


@pytest.mark.parametrize("boundary", ["zero", "symmetric"])
@pytest.mark.parametrize("i", [1, 2, 11, 20])
def test_lee_euler_is_the_dense_update(boundary, i):
    steps, f_max = 20, 0.6
    chain = lee_dense(steps, f_max, boundary)
    process = blur_diffusion(SIZE, f_max=f_max, steps=steps, boundary=boundary)
    _, cov = run_chain(chain[:i])

    def power(matrix, p):
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        return (vectors * values**p) @ vectors.T

    m = chain[i - 1]  # U A_i^(1/2) U'
    x, eps, n = (a.reshape(-1, PIXELS).T for a in (X_T, EPS_HAT, FRESH))
    score = -power(cov, -0.5) @ eps
    added = np.eye(PIXELS) - m @ m
    expected = 2 * x - m @ x + added @ score + power(added, 0.5) @ n
    estimate = answer(process, i / steps, eps_hat=EPS_HAT)
    ours = lee_euler(estimate, i, torch.from_numpy(FRESH)).numpy()
    np.testing.assert_allclose(ours, expected.T.reshape(X_T.shape), rtol=0, atol=1e-11)
    quiet = lee_euler(estimate, i).numpy().reshape(-1, PIXELS).T
    np.testing.assert_allclose(quiet, expected - power(added, 0.5) @ n, rtol=0, atol=1e-11)


def test_lee_euler_approaches_ancestral():
    gaps = []
    for steps in (100, 1000):
        process = blur_diffusion(SIZE, steps=steps, f_max=14 / steps)
        estimate = answer(process, 0.5, eps_hat=EPS_HAT)
        euler = lee_euler(estimate, steps // 2)
        exact = step(estimate, 0.5, 0.5 - 1 / steps, lambda *a: (ancestral(*a)[0], torch.zeros(1)))
        gaps.append((euler - exact).abs().max().item())
    assert gaps[1] < gaps[0] * 1.01  # the betas do not shrink with N; the blur a step does
    assert gaps[1] < 1e-3


# --- rules on processes of every shape ------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [ancestral, ddim, naive, tacos, momentum, ihdm(0.1)])
def test_coloured_noise_on_unblurred_data(rule):
    # alpha one number, sigma one a frequency: a Process too (noise shaped like the data's spectrum).
    basis = DCT(SIZE)
    shape = 1 / (1 + basis.freq2)
    process = Process(basis, lambda t: 1 - 0.9 * t, lambda t: (0.01 + t) * shape, name="coloured")
    ours = stepped(process, 0.5, 0.25, rule, x0_hat=X0_HAT)
    assert np.isfinite(ours).all()


def test_rule_by_name():
    assert samplers.rule("ancestral") is ancestral
    assert set(samplers.RULES) == {"ancestral", "ddim", "naive", "tacos", "momentum", "ihdm"}


# --- the walk -------------------------------------------------------------------------------------------------


def walk(process, times, rule=ancestral, seed=0, dtype=torch.float64, net=lambda x, t: 0.5 * x):
    x = torch.from_numpy(X_T).to(dtype)
    return list(sample(Denoiser(net, process, EPS), x, times, rule, torch.Generator().manual_seed(seed)))


def test_sample_is_the_step_repeated():
    process = blurring_diffusion(SIZE, sigma_max=2.0)
    times = [1.0, 0.7, 0.2, 0.0]
    steps = walk(process, times)
    assert [point.t for point in steps] == times[1:]
    generator, x = torch.Generator().manual_seed(0), torch.from_numpy(X_T)
    denoiser = Denoiser(lambda x, t: 0.5 * x, process, EPS)
    for (t, s), point in zip(itertools.pairwise(times), steps):
        estimate = denoiser.estimate(x, t)
        x = step(estimate, t, s, ancestral, torch.randn(x.shape, generator=generator, dtype=x.dtype))
        torch.testing.assert_close(point.x, x, rtol=0, atol=0)
        torch.testing.assert_close(point.x0_hat, estimate.x0_hat, rtol=0, atol=0)


def test_sample_repeats_with_its_seed_and_leaves_torchs_alone():
    process = blurring_diffusion(SIZE)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = (last(walk(process, process.times(5), seed=seed)).x for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_sample_tracks_no_gradients_and_keeps_float32():
    process = ddpm()
    weight = torch.ones((), requires_grad=True)
    for point in walk(process, process.times(3), dtype=torch.float32, net=lambda x, t: weight * x):
        assert not point.x.requires_grad
        assert not point.x0_hat.requires_grad
        assert point.x.dtype == torch.float32
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", ["ddpm", "blurring", "lee"])
def test_sample_in_float32_under_autocast_follows_float64(name):
    process = {"ddpm": ddpm(), "blurring": blurring_diffusion(SIZE, 2.0), "lee": blur_diffusion(SIZE)}[name]
    x0_hat = torch.from_numpy(X0_HAT)

    def run(dtype, autocast):
        denoiser = Denoiser(lambda x, t: x0_hat.to(x), process, X0)
        noise = iter(torch.from_numpy(np.random.default_rng(5).standard_normal((10, *X_T.shape))))
        x = torch.from_numpy(X_T).to(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            for t, s in samplers.pairs(process.times(10)):
                x = step(denoiser.estimate(x, t), t, s, ancestral, next(noise).to(dtype))
        return x.double()

    torch.testing.assert_close(run(torch.float32, True), run(torch.float64, False), rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_every_rule_walks_every_process(name):
    process = PROCESSES[name]
    size = lengths(process.basis.size) if isinstance(process.basis, Rotation) else (16,) * process.basis.dims
    x = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(0))
    for rule in (ancestral, ddim, naive, tacos, momentum, ihdm()):
        denoiser = Denoiser(lambda x, t: 0.3 * x.tanh(), process, X0)
        end = last(sample(denoiser, x, process.times(7), rule, torch.Generator().manual_seed(1))).x
        assert end.isfinite().all()
        assert end.shape == x.shape
