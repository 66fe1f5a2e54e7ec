"""Equations of the ledger through the functions that it names, each against matrices and laws written out here."""

import itertools
import math

import numpy as np
import pytest
import torch
from reference import dct, idct, lam
from test_errata import EPS_HAT, NOISE, PIXELS, SIZE, STEPS, X0, a9_errors, images, lee_marginal, lee_steps, power
from test_train import some_images, tiny

from bdbook import cold, losses, priors, schedules, training
from bdbook.denoiser import EPS, LESS_BLURRED, Denoiser
from bdbook.denoiser import X0 as PREDICTS_X0
from bdbook.oracle import Gaussian
from bdbook.processes import Process, blur_diffusion, blurring_diffusion, cosine_diffusion, heat_dissipation
from bdbook.samplers import ancestral, last, lee_euler, naive, sample, step, tacos
from bdbook.transforms import Pixel


def score_of(mean, covariance, x):
    """Gradient of the log density of a Gaussian, by torch."""
    x = torch.from_numpy(np.asarray(x)).requires_grad_()
    law = torch.distributions.MultivariateNormal(torch.from_numpy(mean), torch.from_numpy(covariance))
    return torch.autograd.grad(law.log_prob(x), x)[0].numpy()


# --- Lee -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("i", [1, 7, STEPS])
def test_the_score_that_lee_euler_takes_is_that_of_the_noisy_image(i):
    """Eq. 7, 8: what the step adds besides the drift is (I - M M') times the gradient of log q(x_i | x)."""
    mean, covariance = lee_marginal(i)
    x_i = mean @ X0 + power(covariance, 0.5) @ NOISE
    score = score_of(mean @ X0, covariance, x_i)
    process, m = blur_diffusion(SIZE, f_max=0.6, steps=STEPS), lee_steps()[i - 1]
    estimate = Denoiser(lambda z, t: images(NOISE), process, EPS).estimate(images(x_i), i / STEPS)
    added = lee_euler(estimate, i).numpy().ravel() - (2 * x_i - m @ x_i)
    np.testing.assert_allclose(np.linalg.solve(np.eye(PIXELS) - m @ m, added), score, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("i", [1, 7, STEPS])
def test_lee_euler_is_andersons_equation_over_one_step(i):
    """Eq. 25, 26: x - f + G G' grad log p_i + G n, f = M x - x and G G' = I - M M', p_i the law of Gaussian data."""
    process, m = blur_diffusion(SIZE, f_max=0.6, steps=STEPS), lee_steps()[i - 1]
    variance = np.linspace(0.2, 3, PIXELS)
    data = Gaussian(process.basis, torch.from_numpy(variance).reshape(1, 1, *SIZE))
    units = torch.eye(PIXELS, dtype=torch.float64).reshape(PIXELS, 1, *SIZE)
    v = process.basis.inverse(units).reshape(PIXELS, PIXELS).T.numpy()
    mean, covariance = lee_marginal(i)
    law = mean @ (v * variance) @ v.T @ mean.T + covariance
    score = score_of(np.zeros(PIXELS), (law + law.T) / 2, X0)
    g2 = np.eye(PIXELS) - m @ m
    expected = X0 - (m @ X0 - X0) + g2 @ score + power(g2, 0.5) @ EPS_HAT
    estimate = data.denoiser(process).estimate(images(X0), i / STEPS)
    ours = lee_euler(estimate, i, images(EPS_HAT)).numpy().ravel()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("i", "j"), [(1, 0), (8, 7), (STEPS, STEPS - 1)])
def test_f_and_g_of_lees_difference_equation(i, j):
    """Eq. 22 to 24: over a step dx = f + G n with f = -(I - M) x and G G' = I - M M', column by column."""
    process, m = blur_diffusion(SIZE, f_max=0.6, steps=STEPS), lee_steps()[i - 1]
    a, variance = process.transition(i / STEPS, j / STEPS)
    units = torch.eye(PIXELS, dtype=torch.float64).reshape(PIXELS, 1, *SIZE)
    u = process.basis.forward(units)
    f, g2 = (process.basis.inverse(c * u).reshape(PIXELS, PIXELS).T.numpy() for c in (a - 1, variance))
    np.testing.assert_allclose(f, m - np.eye(PIXELS), rtol=0, atol=1e-12)
    np.testing.assert_allclose(g2, np.eye(PIXELS) - m @ m, rtol=0, atol=1e-12)


@pytest.mark.parametrize("boundary", ["zero", "symmetric"])
def test_fine_to_coarse_begins_with_all_of_the_image(boundary):
    """I - D is 0 for a frequency that W leaves as it is; no step has been taken at t = 0, and one takes all of it."""
    process = blur_diffusion(SIZE, steps=STEPS, boundary=boundary, order="fine_to_coarse")
    assert (process.alpha(0.0) == 1).all()
    assert (process.sigma(0.0) == 0).all()
    kept = process.alpha(1.0)
    assert kept.isfinite().all()
    assert kept.min() < (0.5 if boundary == "symmetric" else 1)


def test_the_schedules_have_their_own_numbers():
    """The papers' betas, the ends of the log-SNR, and both blurs by numpy."""
    betas = schedules.linear_beta().numpy()
    np.testing.assert_allclose(betas, np.linspace(1e-4, 0.02, 1000), rtol=1e-12)
    ends = [torch.log(a**2 / s**2).item() for a, s in (schedules.cosine(torch.tensor(t).double()) for t in (0, 1))]
    np.testing.assert_allclose(ends, [10, -10], atol=1e-9)
    t = np.linspace(0, 1, 9)
    for blur, exponent in ((schedules.sin_blur, 1), (schedules.sin2_blur, 2)):
        np.testing.assert_allclose(
            blur(torch.from_numpy(t), 7.0).numpy(), 7 * np.sin(np.pi * t / 2) ** exponent, atol=1e-12
        )


# --- HS ------------------------------------------------------------------------------------------------------


def test_less_blurred_adds_what_the_network_says():
    """IHDM's network says what one step of blur took: the guess of a network that says x is 2 x."""
    x = torch.randn(2, 1, *SIZE, dtype=torch.float64)
    answer = Denoiser(lambda x_t, t: x_t, heat_dissipation(SIZE), LESS_BLURRED).estimate(x, 0.5)
    torch.testing.assert_close(answer.x0_hat, 2 * x, rtol=0, atol=1e-12)


def test_the_first_step_of_a_table_has_the_slope_of_its_interval():
    """At t = 0 the slope of the log-SNR is that of the interval from 0 to 1/1000."""
    process = cosine_diffusion()
    fall = np.log(process.snr(0.001).item()) - np.log(process.snr(0.0).item())
    np.testing.assert_allclose(losses.slope_of_log_snr(process, 0.0).item(), 1000 * fall, rtol=1e-9)


def alpha_sigma(t, sigma_max):
    """HS app. A.1 for sigma_B,max, d_min = 0.001."""
    low, high = math.atan(math.exp(-5)), math.atan(math.exp(5))
    angle = low + t * (high - low)
    width = sigma_max * math.sin(math.pi * t / 2) ** 2
    d = (1 - 1e-3) * np.exp(-lam(SIZE) * width**2 / 2) + 1e-3
    return math.cos(angle) * d, math.sin(angle)


def by_bayes_rule(times=(1.0, 0.6, 0.3, 0.0)):
    """Data, process and times; and the mean and variance per frequency after HS Eq. 18 with the exact denoiser."""
    process = blurring_diffusion(SIZE, 2.0)
    mean, variance = np.linspace(-1, 1, PIXELS).reshape(SIZE), np.linspace(0.3, 2, PIXELS).reshape(SIZE)
    data = Gaussian(process.basis, *(torch.from_numpy(m)[None, None] for m in (variance, mean)))
    m, p = np.zeros(SIZE), np.ones(SIZE)  # of white noise
    for t, s in itertools.pairwise(times):
        (a_t, s_t), (a_s, s_s) = alpha_sigma(t, 2.0), alpha_sigma(s, 2.0)
        forward = a_t / a_s
        added = s_t**2 - forward**2 * s_s**2
        fresh = 1 / (1 / s_s**2 + forward**2 / added)
        gain = a_t * variance / (a_t**2 * variance + s_t**2)
        from_x, from_u = fresh * a_s / s_s**2, fresh * forward / added
        m = from_u * m + from_x * (mean + gain * (m - a_t * mean))
        p = (from_u + from_x * gain) ** 2 * p + fresh
    return data, process, torch.tensor(times, dtype=torch.float64), m, p


def test_algorithm_1_from_white_noise_has_the_law_that_bayes_rule_gives():
    """Three steps from `priors.normal`, the exact denoiser: mean and variance per frequency, against 4,000 draws."""
    data, process, times, m, p = by_bayes_rule()
    count, random = 4000, torch.Generator().manual_seed(1)
    start = priors.normal((1, *SIZE))(count, random).double()
    drawn = dct(last(sample(data.denoiser(process), start, times, ancestral, random)).x.numpy()[:, 0])
    # 24 numbers, each a normal deviate: beyond 4.5 once in six thousand seeds.
    assert np.abs((drawn.mean(0) - m) / np.sqrt(p / count)).max() < 4.5
    assert np.abs((drawn.var(0) / p - 1) / math.sqrt(2 / count)).max() < 4.5


def test_the_oracle_walks_from_white_noise_as_bayes_rule_does():
    """The same three steps without a draw, from a start that is not the marginal: mean, variance and their targets."""
    data, process, times, m, p = by_bayes_rule()
    zeros, ones = torch.zeros(1, 1, *SIZE).double(), torch.ones(1, 1, *SIZE).double()
    error = data.sampler_error(process, times, ancestral, start=(zeros, ones))
    np.testing.assert_allclose(error.mean[0, 0].numpy(), m, rtol=0, atol=1e-9)
    np.testing.assert_allclose(error.variance[0, 0].numpy(), p, rtol=1e-9)
    alpha, sigma = alpha_sigma(0.0, 2.0)
    mean, variance = data.mean[0, 0].numpy(), data.variance[0, 0].numpy()
    np.testing.assert_allclose(error.target_mean[0, 0].numpy(), alpha * mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(error.target_variance[0, 0].numpy(), alpha**2 * variance + sigma**2, rtol=1e-12)


@pytest.mark.parametrize("steps", [63, 64, 65, 130])
def test_the_oracle_walks_as_far_as_you_like(steps):
    """It takes 64 steps at once; what lies at the borders between them is not lost."""
    data, process, times, m, p = by_bayes_rule(np.linspace(1, 0, steps + 1).tolist())
    zeros, ones = torch.zeros(1, 1, *SIZE).double(), torch.ones(1, 1, *SIZE).double()
    error = data.sampler_error(process, times, ancestral, start=(zeros, ones))
    np.testing.assert_allclose(error.mean[0, 0].numpy(), m, rtol=0, atol=1e-8)
    np.testing.assert_allclose(error.variance[0, 0].numpy(), p, rtol=1e-8)


def test_without_a_warm_up_the_first_step_is_of_full_length():
    """Adam's first step moves a weight by the learning rate, whatever its gradient (where it has one)."""
    for warmup, share in ((0, 1), (1, 1), (4, 1 / 4)):
        recipe = tiny(learning_rate=0.01, warmup=warmup)
        state = training.start(recipe, some_images())
        before = [weight.detach().clone() for weight in state.net.parameters()]
        next(training.train(recipe, some_images(), state))
        moved = [(weight - old).abs().max().item() for weight, old in zip(state.net.parameters(), before)]
        assert max(moved) == pytest.approx(0.01 * share, rel=1e-3)


# --- Bansal --------------------------------------------------------------------------------------------------


def test_the_first_kernel_of_a_blur_has_its_own_width():
    """0.35 px and a hundredth more a step, by numpy: one picture point after the first step."""
    point = torch.zeros(1, 1, 15, 15, dtype=torch.float64)
    point[0, 0, 7, 7] = 1
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 0.36) ** 2)
    across = cold.blur(15).mean(point, 1 / 50)[0, 0, 7, 2:13].numpy()
    np.testing.assert_allclose(across / across.sum(), taps / taps.sum(), atol=1e-6)


def test_a_step_of_tacos_adds_the_band_between_two_blurs():
    """Sec. 4.1: D(x_hat, t - 1) - D(x_hat, t), of one frequency at a time, is added with a plus."""
    size, x = (1, 12), np.random.default_rng(3).standard_normal((2, 1, 1, 12))
    process = heat_dissipation(size, sigma_max=4.0, steps=20, noise=0.0)
    widths = np.concatenate([[0], np.exp(np.linspace(math.log(0.5), math.log(4), 20))])
    for k in (20, 9, 1):
        more, less = (np.exp(-lam(size) * widths[j] ** 2 / 2) for j in (k, k - 1))
        estimate = Denoiser(lambda z, t: torch.from_numpy(x[:1]), process, PREDICTS_X0).estimate(
            torch.from_numpy(x[1:]), k / 20
        )
        ours = step(estimate, k / 20, (k - 1) / 20, tacos).numpy()
        np.testing.assert_allclose(ours, x[1:] + idct((less - more) * dct(x[:1])), rtol=0, atol=1e-12)
        assert (less - more >= 0).all()
        assert (less - more).max() > 1e-3


def test_the_toy_blur_of_a9_and_one_step_of_either_algorithm():
    """App. A.9 in pixels that are the modes: D(x, t) keeps i >= t; the errors of one step are its two sums."""
    modes, t = 9, 4

    def kept(t):
        return (torch.arange(modes) >= torch.round(8 * t)).double().reshape(-1, 1, 1, modes)

    process = Process(Pixel(), kept, lambda t: torch.zeros_like(t), steps=8, name="toy")
    x, x_hat = np.random.default_rng(4).standard_normal((2, modes))
    now = process.mean(torch.from_numpy(x).reshape(1, 1, 1, -1), t / 8)
    np.testing.assert_array_equal(now.numpy().ravel(), np.where(np.arange(modes) >= t, x, 0))
    given = torch.from_numpy(x_hat).reshape(1, 1, 1, -1)
    estimate = Denoiser(lambda z, r: given, process, PREDICTS_X0).estimate(now, t / 8)
    target = np.where(np.arange(modes) >= t - 1, x, 0)
    errors = [
        ((step(estimate, t / 8, (t - 1) / 8, rule).numpy().ravel() - target) ** 2).sum() for rule in (naive, tacos)
    ]
    difference = (x - x_hat) ** 2
    assert errors[0] == pytest.approx(difference[t - 1 :].sum(), rel=1e-12)
    assert errors[1] == pytest.approx(difference[t - 1], rel=1e-12)
    assert errors == pytest.approx(a9_errors(x, x_hat, t), rel=1e-12)
