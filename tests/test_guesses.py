"""Extrapolated and clipped guesses, against the papers' own formulas in numpy."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn, idctn

from bdbook import guesses, oracle, processes, samplers
from bdbook.denoiser import LESS_BLURRED, X0, Denoiser
from bdbook.transforms import DCT

SIZE = 6


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth_net(x_t, t):
    """Any smooth function will do for a network."""
    return torch.tanh(1.3 * x_t + 0.2 * torch.roll(x_t, 1, -1)) * (1 - 0.5 * t.reshape(-1, 1, 1, 1))


@pytest.mark.parametrize(
    "process", [processes.cosine_diffusion(), processes.blurring_diffusion(SIZE, 3.0)], ids=lambda p: p.name
)
def test_ddim_of_order_2_is_dpm_solver_plus_plus_2m_in_each_frequency(process):
    """Lu et al. 2022, Algorithm 2, written out: x_s = sigma_s/sigma_t x_t - alpha_s (e^-h - 1) D."""
    x = noise(1, 1, SIZE, SIZE)
    times = torch.tensor([1.0, 0.8, 0.55, 0.5, 0.2, 0.0], dtype=torch.float64)
    ours = samplers.last(
        samplers.sample(Denoiser(smooth_net, process, X0), x, times, samplers.ddim, order=2),
    ).x

    blurs = isinstance(process.basis, DCT)
    forward = (lambda a: dctn(a, norm="ortho")) if blurs else (lambda a: a)
    inverse = (lambda a: idctn(a, norm="ortho")) if blurs else (lambda a: a)
    grid = times.tolist()
    level = [np.log((process.alpha(t) / process.sigma(t)).numpy()[0, 0]) for t in grid]
    u, before = forward(x.numpy()[0, 0]), None
    for i in range(len(grid) - 1):
        image = torch.from_numpy(inverse(u))[None, None]
        answer = forward(smooth_net(image, torch.tensor([grid[i]], dtype=torch.float64)).numpy()[0, 0])
        h, guess = level[i + 1] - level[i], answer
        if before is not None:
            r = (level[i] - level[i - 1]) / h
            guess = (1 + 1 / (2 * r)) * answer - before / (2 * r)
        alpha_s, sigma_s = (q(grid[i + 1]).numpy()[0, 0] for q in (process.alpha, process.sigma))
        u = sigma_s / process.sigma(grid[i]).numpy()[0, 0] * u - alpha_s * np.expm1(-h) * guess
        before = answer
    np.testing.assert_allclose(ours.numpy()[0, 0], inverse(u), atol=1e-10)


@pytest.mark.parametrize("rule", ["ancestral", "ddim", "momentum"])
@pytest.mark.parametrize(
    "process", [processes.blurring_diffusion(SIZE, 3.0), processes.soft_diffusion(SIZE, 3.0)], ids=lambda p: p.name
)
@pytest.mark.parametrize("order", [1, 2])
def test_the_laboratory_propagates_the_covariance_of_each_order(process, rule, order):
    """Forward, with a dense covariance of (e_t, previous guess) per frequency, where the library goes backward."""
    generator = np.random.default_rng(0)
    v = torch.from_numpy(generator.uniform(0.05, 3, (1, 1, SIZE, SIZE)))
    m = torch.from_numpy(generator.normal(size=(1, 1, SIZE, SIZE)))
    law = oracle.Gaussian(DCT(SIZE), v, m)
    times = torch.tensor([1.0, 0.9, 0.6, 0.55, 0.3, 0.0], dtype=torch.float64)
    start = (torch.full_like(v, 0.3), torch.full_like(v, 1.7))
    error = law.sampler_error(process, times, samplers.rule(rule), start, order)
    grid = times.tolist()
    for n, k in ((0, 0), (1, 3), (5, 5)):

        def at(q, t, n=n, k=k):
            value = q(t)
            return value.expand(1, 1, SIZE, SIZE)[0, 0, n, k].item()

        vk, mk = v[0, 0, n, k].item(), m[0, 0, n, k].item()
        mean = np.array([0.3 - at(process.alpha, 1.0) * mk, 0.0])
        cov = np.diag([1.7, 0.0])
        for i, (t, s) in enumerate(itertools.pairwise(grid)):
            a_t, s_t, a_s, s_s = (at(q, r) for r in (t, s) for q in (process.alpha, process.sigma))
            carry = {"ancestral": a_t / a_s * s_s**2 / s_t**2, "ddim": s_s / s_t, "momentum": s_s**2 / s_t**2}[rule]
            fresh = {
                "ancestral": s_s**2 * (1 - a_t**2 * s_s**2 / (a_s**2 * s_t**2)),
                "ddim": 0.0,
                "momentum": s_t**2 - s_s**2,
            }[rule]
            gain, k2 = a_t * vk / (a_t**2 * vk + s_t**2), 0.0
            if order == 2 and i:
                ell = [np.log(at(process.alpha, r) / at(process.sigma, r)) for r in (grid[i - 1], t, s)]
                k2 = (ell[2] - ell[1]) / (2 * (ell[1] - ell[0]))
            weight = a_s - carry * a_t
            move = np.array([[carry + weight * (1 + k2) * gain, -weight * k2], [gain, 0.0]])
            mean, cov = move @ mean, move @ cov @ move.T + np.diag([fresh, 0.0])
        np.testing.assert_allclose(error.variance[0, 0, n, k], cov[0, 0], rtol=1e-9)
        np.testing.assert_allclose(error.mean[0, 0, n, k], mean[0] + at(process.alpha, 0.0) * mk, rtol=1e-9, atol=1e-12)


def test_the_laboratory_is_the_sampler_for_a_rule_without_noise():
    """A deterministic walk of order 2 is a linear map of the start; it is applied to one image per frequency."""
    process, times = processes.blurring_diffusion(SIZE, 3.0), torch.linspace(1, 0, 9)
    law = oracle.Gaussian(DCT(SIZE), noise(1, 1, SIZE, SIZE) ** 2 + 0.1)
    units = torch.eye(SIZE * SIZE, dtype=torch.float64).reshape(-1, 1, SIZE, SIZE)
    walk = samplers.sample(law.denoiser(process), DCT(SIZE).inverse(units), times, samplers.ddim, order=2)
    gains = DCT(SIZE).forward(samplers.last(walk).x).reshape(SIZE**2, -1)
    assert (gains - torch.diag(gains.diagonal())).abs().max() < 1e-10
    expected = gains.diagonal().reshape(1, 1, SIZE, SIZE) ** 2 * law.marginal(process, 1.0)[1]
    error = law.sampler_error(process, times, samplers.ddim, order=2)
    assert (error.variance / expected - 1).abs().max() < 1e-9


def test_blocks_do_not_show():
    """A grid of several blocks of schedules gives what single steps give."""
    process, law = processes.blurring_diffusion(4, 3.0), oracle.Gaussian(DCT(4), noise(1, 1, 4, 4) ** 2 + 0.1)
    times = process.times(2 * oracle.BLOCK + 7)
    whole = law.sampler_error(process, times, samplers.ddim, order=2)
    before, oracle.BLOCK = oracle.BLOCK, 1
    try:
        single = law.sampler_error(process, times, samplers.ddim, order=2)
    finally:
        oracle.BLOCK = before
    assert (whole.variance / single.variance - 1).abs().max() < 1e-12


def test_extrapolation_stops_where_there_is_nothing_to_draw_on():
    k = guesses.extrapolation(processes.ddpm(), 0.6, 0.3, 0.0)  # no noise at 0: the log-SNR has no end
    assert k.item() == 0
    heat = processes.heat_dissipation(SIZE, steps=10)
    k = guesses.extrapolation(heat, 0.6, 0.3, 0.1)
    assert k[0, 0, 0, 0] == 0  # the mean never changes under blur
    assert (k.flatten()[1:] > 0).all()
    assert torch.isfinite(guesses.extrapolation(processes.heat_dissipation(64, 400.0), 1.0, 0.995, 0.99)).all()


def test_extrapolation_halves_the_ratio_of_log_snr_steps():
    k = guesses.extrapolation(processes.cosine_diffusion(), 0.9, 0.5, 0.3).item()
    level = [
        np.log(1 / np.tan(np.arctan(np.exp(-5)) + t * (np.pi / 2 - 2 * np.arctan(np.exp(-5))))) for t in (0.9, 0.5, 0.3)
    ]
    assert k == pytest.approx((level[2] - level[1]) / (2 * (level[1] - level[0])), rel=1e-9)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 12), st.integers(0, 10**6))
def test_the_analytic_rule_is_exact_for_gaussian_data_at_any_number_of_steps(steps, seed):
    law = oracle.Gaussian(DCT(SIZE), noise(1, 1, SIZE, SIZE, seed=seed) ** 2 + 1e-3)
    for process in (processes.blurring_diffusion(SIZE), processes.soft_diffusion(SIZE)):
        error = law.sampler_error(process, process.times(steps), samplers.analytic(law.variance))
        assert (error.ratio - 1).abs().max() < 1e-9


def test_clipping_without_blur_is_the_usual_clamp_of_x0():
    process, x_t, fresh = processes.ddpm(), noise(3, 2, SIZE, SIZE), noise(3, 2, SIZE, SIZE, seed=1)
    wild = 3 * noise(3, 2, SIZE, SIZE, seed=2)
    estimate = Denoiser(lambda x, t: wild, process, X0).estimate(x_t, 0.5)
    clamped = Denoiser(lambda x, t: wild.clamp(-1, 1), process, X0).estimate(x_t, 0.5)
    ours = samplers.step(guesses.Clipped(estimate, 0.4), 0.5, 0.4, samplers.ancestral, fresh)
    usual = samplers.step(clamped, 0.5, 0.4, samplers.ancestral, fresh)
    assert (ours - usual).abs().max() < 1e-12


def test_a_clipped_guess_stays_in_the_range_of_degraded_images_and_leaves_good_ones_alone():
    process = processes.blurring_diffusion(SIZE)
    wild = Denoiser(lambda x, t: 30 * noise(*x.shape, seed=3), process).estimate(noise(2, 1, SIZE, SIZE), 0.5)
    for s in (0.45, 0.0):
        guess = guesses.Clipped(wild, s)
        limit = (process.alpha(s)).max()  # flat images are not blurred: D(1, s) is flat too
        assert process.basis.inverse(guess.mean(s)).abs().max() <= limit + 1e-12
        assert process.basis.inverse(wild.mean(s)).abs().max() > limit
        ratio = (process.alpha(0.5) / process.alpha(s)).double()
        assert (guess.mean(0.5) - ratio * guess.mean(s)).abs().max() < 1e-12
    good = Denoiser(lambda x, t: torch.full_like(x, 0.7), process, X0).estimate(noise(2, 1, SIZE, SIZE), 0.5)
    assert (guesses.Clipped(good, 0.4).mean(0.4) - good.mean(0.4)).abs().max() < 1e-12


def test_sample_takes_order_and_clip():
    process, x = processes.blurring_diffusion(SIZE), noise(2, 1, SIZE, SIZE)
    wild = Denoiser(lambda x, t: -40 * x, process)
    end = samplers.last(samplers.sample(wild, x, process.times(5), samplers.ddim, order=2, clip=True)).x
    assert end.abs().max() < 2  # a_0 <= 1 plus what little noise is carried
    free = samplers.last(samplers.sample(wild, x, process.times(5), samplers.ddim)).x
    assert free.abs().max() > 100


@pytest.mark.parametrize("order", [0, 3, 1.5])
def test_other_orders_are_refused(order):
    process = processes.cosine_diffusion()
    law = oracle.Gaussian(process.basis, torch.ones(1, 1, 2, 2))
    with pytest.raises(ValueError, match=f"order was {order}; expected 1, or 2"):
        law.sampler_error(process, process.times(2), samplers.ddim, order=order)
    with pytest.raises(ValueError, match=f"order was {order}"):
        next(samplers.sample(law.denoiser(process), noise(1, 1, 2, 2), process.times(2), order=order))


def test_a_network_without_x0_cannot_be_extrapolated():
    process = processes.heat_dissipation(SIZE, steps=4)
    model = Denoiser(lambda x, t: 0 * x, process, LESS_BLURRED)
    with pytest.raises(ValueError, match="knows the mean at t - 1/4 only"):
        samplers.last(samplers.sample(model, noise(1, 1, SIZE, SIZE), process.times(), samplers.ihdm(0.0), order=2))


def test_a_walk_of_order_2_clips_what_it_extrapolates_at_the_time_it_goes_to():
    """Without blur: x0_hat drawn on from two answers, clamped to [-1, 1], then DDIM; each step in numpy."""
    process, x = processes.cosine_diffusion(), noise(2, 1, SIZE, SIZE)
    times = [0.9, 0.6, 0.35, 0.1]
    wild = Denoiser(lambda x, t: 3 * smooth_net(x, t), process, X0)
    walk = samplers.sample(wild, x, torch.tensor(times, dtype=torch.float64), "ddim", order=2, clip=True)
    level = [np.log((process.alpha(t) / process.sigma(t)).item()) for t in times]
    before, clipped = None, 0
    for i, found in enumerate(walk):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (
            (process.alpha(t).item(), process.sigma(t).item()) for t in times[i : i + 2]
        )
        answer = 3 * smooth_net(x, torch.tensor([times[i]], dtype=torch.float64))
        guess = answer
        if before is not None:
            guess = answer + (level[i + 1] - level[i]) / (2 * (level[i] - level[i - 1])) * (answer - before)
            clipped += ((guess.abs() > 1) & (answer.abs() < 1)).sum().item()
        guess = guess.clamp(-1, 1)
        x = alpha_s * guess + sigma_s / sigma_t * (x - alpha_t * guess)
        before = answer
        torch.testing.assert_close(found.x, x, rtol=0, atol=1e-12)
    assert clipped > 0, "some guess is out of range though both answers were in it"


def test_the_range_is_that_of_the_time_the_step_goes_to():
    """One step of DDIM under blur, in numpy: D(x0_hat, s) is clamped, and mean_t is that, damped further."""
    process, x_t = processes.blurring_diffusion(SIZE, 3.0), noise(1, 1, SIZE, SIZE)
    wild = Denoiser(lambda x, t: 3 * smooth_net(x, t), process, X0)
    t, s = 0.6, 0.3
    step = samplers.last(samplers.sample(wild, x_t, torch.tensor([t, s], dtype=torch.float64), "ddim", clip=True))
    alpha_t, alpha_s = (process.alpha(r)[0, 0].numpy() for r in (t, s))
    guess = 3 * smooth_net(x_t, torch.tensor([t], dtype=torch.float64))[0, 0].numpy()
    degraded = idctn(alpha_s * dctn(guess, norm="ortho"), norm="ortho")
    limit = idctn(alpha_s * dctn(np.ones((SIZE, SIZE)), norm="ortho"), norm="ortho")
    assert (np.abs(degraded) > limit).any()
    mean_s = dctn(np.clip(degraded, -limit, limit), norm="ortho")
    u_t = dctn(x_t[0, 0].numpy(), norm="ortho")
    u_s = mean_s + (process.sigma(s) / process.sigma(t)).item() * (u_t - alpha_t / alpha_s * mean_s)
    np.testing.assert_allclose(step.x[0, 0], idctn(u_s, norm="ortho"), rtol=0, atol=1e-10)
