"""The bound and the equations of chapter 2, and their use in chapters 4 and 7, against dense or propagated laws."""

import numpy as np
import pytest
import torch

from bdbook import data, denoiser, oracle, processes, samplers
from bdbook.transforms import DCT

SIZE = 8
LAW = oracle.Gaussian(DCT(SIZE), data.power_law_variance(SIZE))
PROCESSES = {
    "blurring": processes.blurring_diffusion(SIZE, 3.0),
    "soft": processes.soft_diffusion(SIZE, sigma_max=2.0),
    "cosine": processes.cosine_diffusion(DCT(SIZE)),
}


def slopes(process, t, h=1e-4):
    """d ln alpha / dt, d sigma^2 / dt and d ln SNR / dt, by differences of the library's schedules."""

    def slope(of):
        return (of(t + h) - of(t - h)) / (2 * h)

    return (
        slope(lambda r: torch.log(process.alpha(r))),
        slope(lambda r: process.sigma(r) ** 2),
        slope(lambda r: torch.log(process.snr(r))),
    )


@pytest.mark.parametrize("name", PROCESSES)
def test_the_way_out_is_its_equation(name):
    """Many Euler steps of du = f u dt + g dw, with g^2 from the slope of ln SNR, against one transition."""
    process, s, t, steps = PROCESSES[name], 0.3, 0.4, 600
    kept, spread = 1.0, 0.0
    for k in range(steps):
        f, _, fall = slopes(process, s + (k + 0.5) / steps * (t - s))
        h = (t - s) / steps
        g2 = -(process.sigma(s + (k + 0.5) * h) ** 2) * fall
        kept, spread = (1 + f * h) * kept, (1 + f * h) ** 2 * spread + g2 * h
    a, variance = process.transition(t, s)
    torch.testing.assert_close(kept.expand_as(a), a, rtol=0.02, atol=1e-4)
    torch.testing.assert_close(spread.expand_as(variance), variance, rtol=0.02, atol=0)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize(
    ("rule", "strength"),
    [
        (samplers.ddim, lambda process, t: torch.zeros((), dtype=torch.float64)),
        (samplers.ancestral, lambda process, t: -(process.sigma(t) ** 2) * slopes(process, t)[2]),
        (samplers.momentum, lambda process, t: slopes(process, t)[1]),
    ],
)
def test_three_rules_are_three_noises_of_one_reverse_equation(name, rule, strength):
    """Drift f u - (g^2 + h^2) s / 2 and noise h, for h = 0, g and the root of d sigma^2 / dt, and any answer."""
    process, t, h = PROCESSES[name], 0.3, 1e-6
    random = torch.Generator().manual_seed(0)
    x_t, said = torch.randn(2, 1, 1, SIZE, SIZE, generator=random, dtype=torch.float64)
    answer = denoiser.Denoiser(lambda x, time: said, process, denoiser.X0).estimate(x_t, t)
    u_t, moved = (process.basis.forward(z) for z in (x_t, samplers.step(answer, t, t - h, rule, torch.zeros_like(x_t))))
    f, _, fall = slopes(process, t)
    score = (process.alpha(t) * process.basis.forward(said) - u_t) / process.sigma(t) ** 2
    g2, h2 = -(process.sigma(t) ** 2) * fall, strength(process, t)
    torch.testing.assert_close((u_t - moved) / h, f * u_t - 0.5 * (g2 + h2) * score, rtol=5e-3, atol=5e-3)
    refresh = rule(process, t, t - h)[1]
    torch.testing.assert_close((refresh**2 / h).expand_as(u_t), h2.expand_as(u_t), rtol=5e-3, atol=1e-9)


def test_the_gap_of_the_bound_is_the_divergence_of_two_dense_laws():
    """A whole short chain with x, the way out and the way back of the model, as two dense Gaussian laws."""
    process, v, steps = processes.cosine_diffusion(), 0.3, 6
    times = np.linspace(0, 1, steps + 1)
    alpha, sigma = (np.array([k(t).item() for t in times]) for k in (process.alpha, process.sigma))
    # Out: x, then z_0, then each from the one before; coefficients over independent normal draws.
    out = np.zeros((steps + 2, steps + 2))
    out[0, 0] = np.sqrt(v)
    out[1] = alpha[0] * out[0]
    out[1, 1] = sigma[0]
    for k in range(1, steps + 1):
        a, variance = (c.item() for c in process.transition(times[k], times[k - 1]))
        out[k + 1] = a * out[k]
        out[k + 1, k + 1] = np.sqrt(variance)
    # Back: z_1 standard normal, the library's steps with the exact guess, x from z_0 as it really is.
    back = np.zeros_like(out)
    back[-1, -1] = 1.0
    wiener = alpha * v / (alpha**2 * v + sigma**2)
    for k in range(steps, 0, -1):
        c, tau = (k_.item() for k_ in samplers.ancestral(process, times[k], times[k - 1]))
        back[k] = (c + (alpha[k - 1] - c * alpha[k]) * wiener[k]) * back[k + 1]
        back[k, k] = tau
    back[0] = wiener[0] * back[1]
    back[0, 0] = np.sqrt(v * sigma[0] ** 2 / (alpha[0] ** 2 * v + sigma[0] ** 2))
    true, model = out @ out.T, back @ back.T
    dense = 0.5 * (
        np.trace(np.linalg.solve(model, true)) - len(true) + np.linalg.slogdet(model)[1] - np.linalg.slogdet(true)[1]
    )
    snr, left = alpha**2 / sigma**2, v * sigma**2 / (alpha**2 * v + sigma**2)
    known = (snr[:-1] - snr[1:]) * left[1:]
    last = alpha[-1] ** 2 * v + sigma[-1] ** 2
    formula = 0.5 * (last - 1 - np.log(last)) + 0.5 * (known - np.log1p(known)).sum()
    assert formula == pytest.approx(dense, rel=1e-5)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("carry", [0.0, 0.4, 0.9])
def test_what_the_guess_lacks_is_what_must_be_drawn(name, carry):
    """One step of the laboratory from the true law: the refresh of prop-missing and no other keeps every variance."""
    process, t, s = PROCESSES[name], 0.5, 0.45
    alpha_t, sigma_t, alpha_s, sigma_s = process.coefficients(t, s)
    c = carry * (sigma_s / sigma_t) * torch.ones_like(alpha_t)
    P = LAW.variance * sigma_t**2 / (alpha_t**2 * LAW.variance + sigma_t**2)
    needed = sigma_s**2 - c**2 * sigma_t**2 + (alpha_s - c * alpha_t) ** 2 * P

    def off(times):
        grid = torch.tensor([t, s], dtype=torch.float64)
        found = LAW.sampler_error(
            process, grid, lambda *_: (c, (times * needed).sqrt()), start=LAW.marginal(process, t)
        )
        return (found.variance / LAW.marginal(process, s)[1] - 1).abs()

    assert off(1.0).max() < 1e-12
    assert off(1.05).max() > 0.005


def test_the_last_mean_of_a_rule_that_carries_ends_at_the_noise_of_u_0():
    """Chapter 4: with fine steps the last draw becomes right, and the last mean keeps the noise sigma."""
    sigma, floor = 0.05, []
    for steps in (2000, 4000):
        heat = processes.heat_dissipation(SIZE, sigma_max=6.0, sigma_min=0.01, steps=steps, noise=sigma)
        grid = heat.times()
        drawn = LAW.sampler_error(heat, grid, samplers.ddim).variance / (LAW.variance + sigma**2)

        def quiet(process, t, s):
            c, tau = samplers.ddim(process, t, s)
            return c, tau * (torch.as_tensor(s).reshape(-1, 1, 1, 1) > 0)

        mean = LAW.sampler_error(heat, grid, quiet).variance / LAW.variance
        floor.append([0.5 * (r - 1 - torch.log(r)).sum().item() for r in (drawn, mean)])
    noise = sigma**2 / LAW.variance
    limit = 0.5 * (noise - torch.log1p(noise)).sum().item()
    assert floor[0][0] / floor[1][0] > 3, "the last draw's error falls as 1 / K^2"
    # The last mean's distance from its limit falls as 1 / K: extrapolate.
    assert 2 * floor[1][1] - floor[0][1] == pytest.approx(limit, rel=0.03)
    assert (limit - floor[0][1]) / (limit - floor[1][1]) == pytest.approx(2, abs=0.25)
    assert floor[1][1] > 10 * floor[1][0]


def test_no_one_delta_keeps_every_variance_however_fine_the_steps():
    sigma, best = 0.05, []
    for steps in (500, 2000):
        heat = processes.heat_dissipation(SIZE, sigma_max=6.0, sigma_min=0.01, steps=steps, noise=sigma)
        kls = [
            LAW.sampler_error(heat, heat.times(), samplers.ihdm(r * sigma)).kl.sum().item()
            for r in (1.25, 1.3, 1.35, 1.4, 1.45)
        ]
        best.append(min(kls))
    posterior = LAW.sampler_error(heat, heat.times(), samplers.ancestral).kl.sum().item()
    assert best[1] > 0.5 * best[0]
    assert posterior < best[1]
