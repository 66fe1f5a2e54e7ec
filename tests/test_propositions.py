"""What the chapters prove of errors, limits and losses, against the library's own steps, walks and chains."""

import functools
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bdbook import data, denoiser, losses, oracle, processes, samplers, schedules
from bdbook.denoiser import Denoiser
from bdbook.transforms import DCT, gaussian_kernel

SIZE = 8
LAW = oracle.Gaussian(DCT(SIZE), data.power_law_variance(SIZE))
BLURRING = processes.blurring_diffusion(SIZE, 5.0)


def biased(rule, eta):
    """The rule of a network that finds the share 1 - eta of the noise: chapter 12, prop-bias."""

    def with_bias(process, t, s):
        carry, refresh = rule(process, t, s)
        alpha_t, _, alpha_s, _ = process.coefficients(t, s)
        return carry + eta * (alpha_s / alpha_t - carry), refresh

    return with_bias


def finds(share, process):
    """The exact network of LAW, which finds a share of the noise."""
    exact = LAW.denoiser(process)

    def eps(x_t, t):
        return share * (x_t - process.mean(exact(x_t, t), t)) / process.sigma(t[:1])

    return Denoiser(eps, process)


# --- errors: chapters 5 and 12 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [samplers.ancestral, samplers.ddim, samplers.momentum])
def test_a_biased_network_is_another_rule_of_the_exact_one(rule):
    x_t = torch.randn(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    process = processes.soft_diffusion(SIZE) if rule is samplers.momentum else BLURRING
    t, s = 0.3, 0.25
    off = samplers.step(finds(0.9, process).estimate(x_t, t), t, s, rule, noise)
    exact = samplers.step(finds(1.0, process).estimate(x_t, t), t, s, biased(rule, 0.1), noise)
    torch.testing.assert_close(off, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.03, 0.1])
@pytest.mark.parametrize("zeta", [0.0, 0.3, 1.0])
def test_a_bias_saturates_under_the_posterior_rule_and_grows_under_ddim(zeta, eta):
    """The variance of pure noise over a walk against the solution of dV/dl = z^2 - (z^2 - eta (1 + z^2)) V."""
    process = processes.cosine_diffusion()
    rule, grid, v = biased(functools.partial(samplers.ddim, eta=zeta), eta), np.linspace(0.98, 0.5, 4001), 1.0
    for t, s in itertools.pairwise(grid):
        carry, refresh = (k.item() for k in rule(process, t, s))
        _, sigma_t, _, sigma_s = (k.item() for k in process.coefficients(t, s))
        v = (carry**2 * sigma_t**2 * v + refresh**2) / sigma_s**2
    length = np.log(process.snr(0.5).item() / process.snr(0.98).item())
    rate = zeta**2 - eta * (1 + zeta**2)
    end = zeta**2 / rate
    assert v == pytest.approx(end + (1 - end) * np.exp(-rate * length), rel=5e-3)
    if zeta == 1:
        assert v < 1 / (1 - 2 * eta) + 1e-2
    if zeta == 0:
        assert v == pytest.approx(np.exp(eta * length), rel=5e-3)


def test_the_floor_is_for_ddim():
    """The numbers of chapter 12: KL of 250 steps, a bias of three per cent, floors of 0.1, 0.001 and 0.00001."""
    law = oracle.Gaussian(DCT(32), data.power_law_variance(32))
    found = {}
    for rule in (samplers.ancestral, samplers.ddim):
        for floor in (1e-1, 1e-3, 1e-5):
            process = processes.blurring_diffusion(32, 20.0, d_min=floor)
            error = law.sampler_error(process, process.times(250), biased(rule, 0.03))
            found[rule.__name__, floor] = error.kl.sum().item()
    assert [round(kl, 3) for kl in list(found.values())[:3]] == [0.576, 0.748, 0.749]
    assert [round(kl) for kl in list(found.values())[3:]] == [75, 233, 593]


@pytest.mark.parametrize("rule", [samplers.ancestral, samplers.ddim])
def test_what_one_step_makes_of_an_error(rule):
    t, s = 0.4, 0.37
    random = torch.Generator().manual_seed(0)
    x_t, eps, off = torch.randn(3, 1, 1, SIZE, SIZE, generator=random, dtype=torch.float64)
    alpha_t, sigma_t, alpha_s, _ = BLURRING.coefficients(t, s)
    carry, _ = rule(BLURRING, t, s)

    def stepped(seen, said):
        answer = Denoiser(lambda x, time: said, BLURRING).estimate(seen, t)
        return BLURRING.basis.forward(samplers.step(answer, t, s, rule, torch.zeros_like(seen)))

    usual, error = stepped(x_t, eps), BLURRING.basis.forward(off)
    in_eps = stepped(x_t, eps + off) - usual
    torch.testing.assert_close(in_eps, -sigma_t * (alpha_s / alpha_t - carry) * error, rtol=1e-8, atol=1e-9)
    unnoticed = stepped(x_t + off, eps) - usual
    torch.testing.assert_close(unnoticed, alpha_s / alpha_t * error, rtol=1e-8, atol=1e-9)
    taken_for_noise = stepped(x_t + off, eps + off / sigma_t.squeeze()) - usual
    torch.testing.assert_close(taken_for_noise, carry * error, rtol=1e-8, atol=1e-9)


# --- one number for the noise: chapter 4 ------------------------------------------------------------------------


def test_the_right_delta_of_heat_dissipation():
    """sigma^2 (1 + q_s / (1 + q_t)) keeps every variance on any grid; a twentieth more or less does not."""
    heat = processes.heat_dissipation(SIZE, sigma_max=6.0, steps=7, noise=0.05)

    def rule(times_right):
        def with_delta(process, t, s):
            alpha_t, sigma, alpha_s, _ = process.coefficients(t, s)
            q_t, q_s = (alpha**2 * LAW.variance / sigma**2 for alpha in (alpha_t, alpha_s))
            return torch.zeros_like(alpha_t), times_right * sigma * torch.sqrt(1 + q_s / (1 + q_t))

        return with_delta

    assert (LAW.sampler_error(heat, heat.times(), rule(1.0)).ratio - 1).abs().max() < 1e-12
    for wrong in (0.95, 1.05):
        assert (LAW.sampler_error(heat, heat.times(), rule(wrong)).ratio - 1).abs().max() > 0.09


# --- soft diffusion: chapter 7 ----------------------------------------------------------------------------------


@given(st.floats(0.05, 0.95), st.integers(0, 9))
def test_the_soft_loss_is_that_of_the_noise(t, seed):
    process = processes.soft_diffusion(SIZE)
    random = torch.Generator().manual_seed(seed)
    x0, noise, answer = torch.randn(3, 2, 1, SIZE, SIZE, generator=random, dtype=torch.float64)
    model = Denoiser(lambda x_t, time: answer, process, denoiser.X0)
    soft = losses.soft_loss(model, x0, t, noise)
    x_t = process.sample(x0, t, noise)
    eps_hat = (x_t - process.mean(answer, t)) / process.sigma(t)
    usual = (eps_hat - noise).square().flatten(1).mean(1)
    torch.testing.assert_close(soft, process.sigma(t).squeeze() ** 2 * usual, rtol=1e-9, atol=1e-12)


def test_momentums_noise_is_the_forward_steps_only_without_blur():
    process, t, s = processes.soft_diffusion(32), 0.2, 0.19
    forward, momentum = process.transition(t, s)[1], samplers.momentum(process, t, s)[1] ** 2
    times = (forward / momentum).flatten()
    assert times[0].item() == pytest.approx(1, abs=1e-6), "the mean of the picture, which no blur changes"
    assert round(times.median().item()) == 11
    assert (times > 1 - 1e-9).all()


def test_momentum_is_eulers_step_of_a_reverse_equation():
    """With noise of strength d sigma^2 / dt: a short step against the drift of chapter 2's equation."""
    process, t, h = processes.soft_diffusion(SIZE), 0.3, 1e-5
    random = torch.Generator().manual_seed(0)
    x_t = torch.randn(1, 1, SIZE, SIZE, generator=random, dtype=torch.float64)
    answer = LAW.denoiser(process).estimate(x_t, t)
    stepped = samplers.step(answer, t, t - h, samplers.momentum, torch.zeros_like(x_t))
    alpha, sigma = process.alpha(t), process.sigma(t)
    slope, growth = (
        (process.alpha(t + h) - process.alpha(t - h)) / (2 * h),
        2 * sigma * (process.sigma(t + h) - process.sigma(t - h)) / (2 * h),
    )
    u_t = process.basis.forward(x_t)
    x_hat = answer.mean(t) / alpha
    score = (alpha * x_hat - u_t) / sigma**2
    f = slope / alpha
    g2 = growth - 2 * f * sigma**2
    drift = f * u_t - 0.5 * (g2 + growth) * score
    moved = (process.basis.forward(stepped) - u_t) / -h
    torch.testing.assert_close(moved, drift, rtol=2e-3, atol=2e-3)


# --- limits: chapters 2 and 6 -----------------------------------------------------------------------------------


def two_points(t, s, z_t):
    """KL of the true step back of x = +-1 from the posterior at the mean, by quadrature in the library's numbers."""
    process = processes.cosine_diffusion()
    alpha_t, sigma_t, alpha_s, _ = (k.item() for k in process.coefficients(t, s))
    carry, tau = (k.item() for k in samplers.ancestral(process, t, s))
    x_hat = np.tanh(alpha_t * z_t / sigma_t**2)

    def law(x, z):
        return np.exp(-((z - alpha_s * x - carry * (z_t - alpha_t * x)) ** 2) / (2 * tau**2)) / tau / np.sqrt(2 * np.pi)

    centre = alpha_s * x_hat + carry * (z_t - alpha_t * x_hat)
    z = np.linspace(centre - 10 * tau, centre + 10 * tau, 20001)
    true, model = (1 + x_hat) / 2 * law(1, z) + (1 - x_hat) / 2 * law(-1, z), law(x_hat, z)
    gap = process.snr(s).item() - process.snr(t).item()
    return np.trapezoid(true * np.log(true / model), z), gap**2 * (1 - x_hat**2) ** 2 / 2


@pytest.mark.parametrize(("t", "z_t"), [(0.5, 0.0), (0.5, 0.8), (0.7, 1.5), (0.35, 0.4)])
def test_the_true_step_tends_to_the_posterior_at_the_mean(t, z_t):
    found = [two_points(t, t - h, z_t) for h in (0.02, 0.01, 0.005)]
    assert all(0 <= kl < most * 1.1 for kl, most in found)
    assert np.log2(found[1][0] / found[2][0]) == pytest.approx(2, abs=0.15)


def test_ddim_is_eulers_step_of_the_flow():
    x_t = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t, s = 0.6, 0.5
    answer = LAW.denoiser(BLURRING).estimate(x_t, t)
    alpha_t, sigma_t, alpha_s, sigma_s = BLURRING.coefficients(t, s)
    u_t = BLURRING.basis.forward(x_t)
    eps = (u_t - answer.mean(t)) / sigma_t
    euler = alpha_s * (u_t / alpha_t + (sigma_s / alpha_s - sigma_t / alpha_t) * eps)
    torch.testing.assert_close(BLURRING.basis.forward(samplers.step(answer, t, s, samplers.ddim)), euler)


def test_the_probability_flow_carries_gaussians_to_gaussians():
    """Many steps of DDIM with the exact guess multiply each coefficient by the ratio of the deviations."""
    grid = torch.linspace(0.9, 0.1, 4001, dtype=torch.float64)
    start, end = (LAW.marginal(BLURRING, t)[1] for t in (0.9, 0.1))
    error = LAW.sampler_error(BLURRING, grid, samplers.ddim, start=(torch.zeros(1), start))
    assert (error.variance / end - 1).abs().max() < 0.02


def test_lees_chain_tends_to_its_equation_if_f_falls():
    """Chapter 6, prop-lee-limit (1): drift, noise and marginals of the library's chain, f(i) = phi(i / N) / N."""
    chain = processes.blur_diffusion(SIZE)
    loss = -torch.log(chain.basis.eigenvalues)
    for t in (0.3, 0.6):
        gamma = 0.1 + 19.9 * t + 2 * 140 * t**4 * loss
        assert gamma.max() > 1.1 * gamma.min(), "blur is seen"
        a, noise = chain.transition(t, t - 1e-3)
        torch.testing.assert_close(1000 * (1 - a), (gamma / 2).expand_as(a), rtol=0.015, atol=0)
        torch.testing.assert_close(1000 * noise, gamma.expand_as(noise), rtol=0.015, atol=0)
    for t in (0.5, 1.0):
        without = np.exp(-(0.1 * t + 19.9 * t**2 / 2) / 2)
        limit = without * torch.exp(-140 * t**5 / 5 * loss)
        assert (chain.alpha(t) - limit).abs().max() < 2e-3
        offs = [abs(blur_alone(n, 140 / n, t) - 140 * t**5 / 5) for n in (250, 1000, 4000)]
        assert [a / b for a, b in itertools.pairwise(offs)] == pytest.approx([4, 4], rel=0.01), "falls as 1 / N"


def blur_alone(steps, f_max, t):
    """The sum of Lee's f up to t, read off the library's alpha with and without blur."""
    blurred, plain = (processes.blur_diffusion(SIZE, f_max=f, steps=steps) for f in (f_max, 0.0))
    powers = torch.log(blurred.alpha(t) / plain.alpha(t)) / torch.log(blurred.basis.eigenvalues)
    assert (powers.max() - powers.min()).abs() < 1e-6 * powers.max()
    return powers.mean().item()


def test_lees_chain_has_no_limit_if_f_stays():
    """prop-lee-limit (2) and (3): f falling faster than 1 / N blurs nothing in the limit; f(N) = 0.14 takes all."""
    for t in (0.5, 1.0):
        falls, stays = (
            [blur_alone(n, f(n), t) for n in (250, 1000, 4000)] for f in (lambda n: 70 / n**1.5, lambda n: 0.14)
        )
        assert [b / a for a, b in itertools.pairwise(falls)] == pytest.approx([0.5, 0.5], rel=0.02)
        assert [b / a for a, b in itertools.pairwise(stays)] == pytest.approx([4, 4], rel=0.02)
    taps = gaussian_kernel(0.4)
    totals = [
        schedules.blur_exponent(torch.arange(1, n + 1), n, 0.14, "quartic").sum().item() for n in (10**3, 10**4, 10**5)
    ]
    assert [round(float(np.sqrt(2 * taps[0] * total)), 1) for total in totals] == [1.5, 4.8, 15.0]


def test_lees_local_error_changes_its_sign():
    """b^2 (1 / M - M / 2), the exact step expanded; so the lowest frequencies of pictures have a negative one."""
    for of_signal, sign in ((0.5, 1), (1.2, 1), (1.5, -1), (46.0, -1)):
        for noise in (1e-3, 1e-4):
            step = (2 - np.sqrt(1 - noise) - noise / of_signal) ** 2 * of_signal + noise
            off = step - (of_signal - noise) / (1 - noise)
            assert off == pytest.approx(noise**2 * (1 / of_signal - of_signal / 2), rel=0.05)
            assert np.sign(off) == sign


def test_lees_local_error_against_the_posteriors():
    """The numbers at i = 100 and M = 49, and the posterior rule's own loss of variance by the library's steps."""
    process = processes.blur_diffusion(32)
    noise, sigma2 = schedules.linear_beta(1000)[99].item(), (process.sigma(0.1) ** 2).min().item()
    assert f"{noise**2 * (1 / 49 - 49 / 2):.3g}" == "-0.000105"
    assert f"{noise**2 / 49:.1e}" == "8.8e-08", "which a book might take for it"
    assert f"{-(noise**2) * (49 - sigma2) / (sigma2 * 49):.1e}" == "-4.2e-05"
    chain = processes.ddpm()
    t, s = 0.1, 0.099
    alpha_t, sigma_t, alpha_s, sigma_s = (k.item() for k in chain.coefficients(t, s))
    carry, refresh = (k.item() for k in samplers.ancestral(chain, t, s))
    for v in (0.02, 1.0, 50.0):
        of_signal = alpha_t**2 * v + sigma_t**2
        guess = alpha_t * v / of_signal
        variance = (alpha_s * guess + carry * (1 - alpha_t * guess)) ** 2 * of_signal + refresh**2
        off = variance - (alpha_s**2 * v + sigma_s**2)
        assert off == pytest.approx(-(noise**2) * (of_signal - sigma_t**2) / (sigma_t**2 * of_signal), rel=0.03)


@pytest.mark.parametrize("t", [0.05, 0.12, 0.3, 0.7])
def test_drift_and_noise_of_blurring_diffusion(t):
    """Chapter 5: f = a'/a + d'/d and g^2 = (sigma^2)' - 2 sigma^2 f, by automatic slopes, against short transitions."""
    h = 1e-6
    time = torch.tensor(t, dtype=torch.float64)

    def parts(moment):
        a, sigma = schedules.cosine(moment)
        tau = schedules.dissipation_time(schedules.sin2_blur(moment, 5.0))
        return a.reshape(1), schedules.frequency_scaling(DCT(SIZE).freq2, tau, 1e-3).flatten(), sigma.reshape(1) ** 2

    (a, d, sigma2), (da, dd, dsigma2) = torch.func.jvp(parts, (time,), (torch.ones_like(time),))
    f, g2 = da / a + dd / d, dsigma2 - 2 * sigma2 * (da / a) - 2 * sigma2 * (dd / d)
    short, fresh = (k.flatten() for k in BLURRING.transition(t + h / 2, t - h / 2))
    torch.testing.assert_close((short - 1) / h, f, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(fresh / h, g2, rtol=1e-4, atol=1e-6)
