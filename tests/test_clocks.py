"""One clock per frequency against numpy, mpmath and sympy: the clocks, equal SNR, the flow, `matched`, DDIM's floor.

Data that are not Gaussian are a mixture of two Gaussians in every pair of coefficients, whose exact denoiser is here.
"""

import functools
import itertools
import math
import pickle
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bdbook import clocks, data, guesses, losses, oracle, priors, processes, samplers, timegrids
from bdbook.denoiser import EPS, LESS_BLURRED, X0, Denoiser, V
from bdbook.processes import EqualSNR, equal_snr
from bdbook.transforms import DCT, Pixel

SIZE = 8
VARIANCE = data.power_law_variance(SIZE)
LAW = oracle.Gaussian(DCT(SIZE), VARIANCE)
SYSTEMS = {
    "ddpm": processes.ddpm(basis=DCT(SIZE)),
    "cosine": processes.cosine_diffusion(DCT(SIZE)),
    "heat": processes.heat_dissipation(SIZE),
    "blurring": processes.blurring_diffusion(SIZE),
    "lee": processes.blur_diffusion(SIZE),
    "soft": processes.soft_diffusion(SIZE),
    "equal": equal_snr(LAW),
    "bent": equal_snr(LAW, kappa=0.8),
}
MEAN = torch.from_numpy(np.random.default_rng(0).normal(0, 0.3, (1, 1, SIZE, SIZE)))


def law(process, variance=VARIANCE, mean=MEAN):
    return oracle.Gaussian(process.basis, variance, mean)


def random_images(count=3, seed=0, size=SIZE):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, 1, size, size)))


def answers(process, x0_hat, x_t, t):
    """The estimate of a network that says x0_hat, in pixels."""
    return Denoiser(lambda x, _: x0_hat.to(x), process, X0).estimate(x_t, t)


def in_angles(process, t, variance=VARIANCE):
    """(S, phi) in numpy, (H, W)."""
    alpha, sigma = (c(t).expand(1, 1, SIZE, SIZE)[0, 0].numpy() for c in (process.alpha, process.sigma))
    signal = alpha * np.sqrt(variance[0, 0].numpy())
    return np.sqrt(signal**2 + sigma**2), np.arctan2(sigma, signal)


# --- clocks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_clock_is_its_tangent_and_runs_forward(name):
    process = SYSTEMS[name]
    times = process.times(20).flip(0)
    phi = law(process).clock(process, times)
    assert phi.shape == (21, 1, SIZE, SIZE)
    assert phi.dtype == torch.float64
    assert (phi.diff(dim=0) >= -1e-15).all()
    assert (phi >= 0).all()
    assert (phi <= math.pi / 2).all()
    for t, row in zip(times.tolist(), phi):
        np.testing.assert_allclose(row[0].numpy(), in_angles(process, t)[1], rtol=1e-14, atol=0)


def test_the_clock_is_exact_at_both_ends():
    alpha, sigma = torch.tensor([1.0, 1.0, 1e-150, 1e-9]).double(), torch.tensor([1e-9, 1e-200, 1.0, 1.0]).double()
    process = processes.Process(Pixel(), lambda t: alpha.reshape(1, 1, 1, 4), lambda t: sigma.reshape(1, 1, 1, 4))
    phi = oracle.Gaussian(Pixel(), torch.full((1, 1, 1, 4), 0.25)).clock(process, 0.5).flatten()
    with mpmath.workdps(40):
        exact = [float(mpmath.atan2(s, mpmath.mpf(a) / 2)) for a, s in zip(alpha.tolist(), sigma.tolist())]
    np.testing.assert_allclose(phi.numpy(), exact, rtol=1e-15)


def test_the_clock_of_what_is_lost_and_of_what_is_known():
    alpha = torch.tensor([0.0, 0.0, 0.7, 0.7]).double().reshape(1, 1, 1, 4)
    sigma = torch.tensor([0.5, 0.0, 0.5, -0.0]).double().reshape(1, 1, 1, 4)
    variance = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 1, 4)
    phi = clocks.angle(alpha, sigma, variance.double()).flatten()
    np.testing.assert_allclose(phi.numpy(), [math.pi / 2, math.pi / 2, math.pi / 2, 0], rtol=0, atol=0)


def test_channels_have_their_own_clocks():
    process = processes.cosine_diffusion(DCT(SIZE))
    colour = oracle.Gaussian(DCT(SIZE), VARIANCE * torch.tensor([1.0, 4.0, 9.0]).reshape(1, 3, 1, 1))
    phi = colour.clock(process, torch.tensor([0.3, 0.6]))
    assert phi.shape == (2, 3, SIZE, SIZE)
    torch.testing.assert_close(torch.tan(phi[:, :1]) / torch.tan(phi[:, 2:]), torch.full_like(phi[:, :1], 3.0))


# --- equal SNR ------------------------------------------------------------------------------------------------


def test_one_clock_serves_all_frequencies_and_uniform_times_are_equal_angles():
    process = SYSTEMS["equal"]
    phi = LAW.clock(process, process.times(10)).flatten(1)
    np.testing.assert_allclose(phi.amax(1), phi.amin(1), rtol=1e-12)
    low, high = math.atan(math.exp(-5)), math.atan(math.exp(5))
    np.testing.assert_allclose(phi[:, 0], np.linspace(high, low, 11), rtol=1e-12)
    snr = process.snr(torch.tensor([0.0, 1.0])) * VARIANCE
    np.testing.assert_allclose(snr.log().flatten(1).numpy(), np.repeat([[10.0], [-10.0]], SIZE**2, 1), rtol=1e-11)


@given(st.floats(0, 1), st.floats(-2, 2))
def test_every_coefficient_keeps_its_variance(t, kappa):
    process = equal_snr(LAW, kappa=kappa)
    torch.testing.assert_close(LAW.marginal(process, t)[1], VARIANCE, rtol=1e-13, atol=0)


def test_for_white_data_equal_snr_is_cosine_diffusion():
    white, cosine = EqualSNR(DCT(SIZE), torch.ones(1, SIZE, SIZE)), SYSTEMS["cosine"]
    times = torch.linspace(0, 1, 7)
    torch.testing.assert_close(white.alpha(times), cosine.alpha(times), rtol=0, atol=0)
    torch.testing.assert_close(white.sigma(times), cosine.sigma(times).expand(-1, 1, SIZE, SIZE), rtol=0, atol=0)


def test_bent_clocks_are_powers_of_time_by_rank():
    size = (3, 4)
    lam = [(math.pi * i / 3) ** 2 + (math.pi * j / 4) ** 2 for i in range(3) for j in range(4)]
    # The mean place among equals, from -1 to 1: by scipy.
    rank = 2 * (stats.rankdata(np.round(lam, 9)) - 1) / 11 - 1
    got = processes.rank(DCT(size).freq2)
    np.testing.assert_allclose(got.flatten().numpy(), rank, rtol=0, atol=1e-14)
    variance = torch.from_numpy(np.random.default_rng(1).uniform(0.1, 2, (1, 1, *size)))
    process, t, kappa = EqualSNR(DCT(size), variance, kappa=0.9), 0.3, 0.9
    low, high = math.atan(math.exp(-5)), math.atan(math.exp(5))
    phi = low + (high - low) * t ** (2 ** (-kappa * rank))
    np.testing.assert_allclose(
        oracle.Gaussian(DCT(size), variance).clock(process, t).flatten().numpy(), phi, rtol=1e-12
    )
    assert phi[-1] > phi[0]  # the highest frequency is further in noise: coarse first on the way back
    square = processes.rank(DCT(6).freq2)[0, 0]
    assert torch.equal(square, square.T)
    assert square[3, 4] == square[4, 3] == square[0, 5]  # 3^2 + 4^2 = 5^2
    assert (processes.rank(Pixel().freq2) == 0).all()


def test_equal_snr_is_a_value():
    process = equal_snr(law(SYSTEMS["equal"]), kappa=0.4, logsnr_max=8.0)
    assert process == EqualSNR(DCT(SIZE), VARIANCE[0], logsnr_max=8.0, kappa=0.4)
    for copy in (pickle.loads(pickle.dumps(process)), eval(repr(process)), replace(process)):
        assert copy == process
        assert hash(copy) == hash(process)
        assert torch.equal(copy.sigma(0.4), process.sigma(0.4))
    assert replace(process, kappa=0.0) != process


def test_what_equal_snr_cannot_be_made_of_is_explained():
    with pytest.raises(ValueError, match=r"variance was 0 somewhere; .* Give\s+equal_snr a floor"):
        EqualSNR(DCT(2), torch.tensor([[[1.0, 0.0], [1.0, 1.0]]]))
    with pytest.raises(ValueError, match=r"variance was given for \(2, 2\) coefficients"):
        EqualSNR(DCT(3), torch.ones(1, 2, 2))
    with pytest.raises(ValueError, match=r"variance had shape \(2, 2\)"):
        EqualSNR(DCT(2), torch.ones(2, 2))
    with pytest.raises(ValueError, match="kappa was nan"):
        EqualSNR(DCT(2), torch.ones(1, 2, 2), kappa=math.nan)
    with pytest.raises(ValueError, match="logsnr was 10"):
        EqualSNR(DCT(2), torch.ones(1, 2, 2), logsnr_min=10.0)
    floored = equal_snr(oracle.Gaussian(DCT(2), torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]])), floor=0.25)
    np.testing.assert_allclose(
        (floored.sigma(1.0) ** 2).flatten(), math.sin(math.atan(math.exp(5))) ** 2 * np.array([1, 0.25, 1, 1])
    )


def test_a_walk_starts_from_the_datas_own_spectrum():
    process = SYSTEMS["equal"]
    assert process.start.kind == "marginal"
    prior = priors.of_process(process, (1, SIZE, SIZE), law(process), lambda: pytest.fail("no images are needed"))
    u = process.basis.forward(prior(20_000, torch.Generator().manual_seed(0)).double())
    chi2 = (20_000 * u.var(0, correction=0) / VARIANCE[0]).flatten()
    low, high = stats.chi2.isf([1 - 5e-10, 5e-10], 19_999)
    assert ((low < chi2) & (chi2 < high)).all()
    # log SNR is -10 there: the mean is all but gone, e^-5 of it.
    mean = law(process).marginal(process, 1.0)[0]
    np.testing.assert_allclose(mean.numpy(), math.cos(math.atan(math.exp(5))) * MEAN.numpy(), rtol=1e-10)


@pytest.mark.parametrize("predicts", ["eps", "x0", "v", "spectral"])
def test_equal_snr_trains_and_samples_as_the_others(predicts):
    """The loss of a network that is right is 0, and its walk is that of the exact denoiser."""
    process, x0 = SYSTEMS["bent"], LAW.sample(5, torch.Generator().manual_seed(0)).float()
    made = LAW.prediction() if predicts == "spectral" else predicts
    t, noise = torch.linspace(0.1, 0.9, 5), torch.randn(5, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    blank = Denoiser(lambda x, t: torch.zeros_like(x), process, made)
    target = blank.predicts.target(blank.estimate(process.sample(x0, t, noise), t).seen, x0, noise)
    knowing = Denoiser(lambda x, t: target, process, made)
    assert losses.loss(knowing, x0, t, noise).max() < 1e-10
    assert (losses.loss(blank, x0, t, noise) > 1e-3).all()
    torch.testing.assert_close(knowing(process.sample(x0, t, noise), t), x0, rtol=0, atol=1e-4)
    for rule in ("ancestral", "ddim", samplers.flow(LAW)):
        start = priors.marginal(LAW, process)(4, torch.Generator().manual_seed(0))
        end = samplers.last(
            samplers.sample(knowing, start[:1].expand(5, -1, -1, -1), process.times(3), rule, order=2)
        ).x
        assert end.isfinite().all()


# --- the flow -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", SYSTEMS)
def test_one_step_of_the_flow_is_exact_for_gaussian_data(name, order):
    process = SYSTEMS[name]
    gaussian = law(process)
    for eta, steps in itertools.product((0.0, 0.6, 1.0), (1, 4)):
        found = gaussian.sampler_error(process, process.times(steps), samplers.flow(gaussian, eta), order=order)
        assert (found.ratio - 1).abs().max() < 1e-12
        assert (found.mean - found.target_mean).abs().max() < 1e-12
        assert found.kl.abs().max() < 1e-12
    # And in pixels: the walk keeps y, and the clocks alone turn.
    (m1, v1), (m0, v0) = (gaussian.marginal(process, t) for t in (1.0, 0.0))
    y = random_images(5)
    start = process.basis.inverse(m1 + v1.sqrt() * y)
    for steps in (1, 4):
        walk = samplers.sample(
            gaussian.denoiser(process), start, process.times(steps), samplers.flow(gaussian), order=order
        )
        expected = process.basis.inverse(m0 + v0.sqrt() * y)
        np.testing.assert_allclose(samplers.last(walk).x.numpy(), expected.numpy(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_step_of_the_flow_is_its_formula(name):
    """Any answer, whatever it is of: y_s = y_t + (phi_t - phi_s) F in numpy."""
    process = SYSTEMS[name]
    t, s = (process.times(10)[k].item() for k in (6, 7))
    x_t, x0_hat = random_images(seed=1), random_images(seed=2)
    u, p = (process.basis.forward(x).numpy()[:, 0] - 0 for x in (x_t, x0_hat))
    (before, phi_t), (after, phi_s) = in_angles(process, t), in_angles(process, s)
    m, root = MEAN[0, 0].numpy(), np.sqrt(VARIANCE[0, 0].numpy())
    alpha_t, alpha_s = (process.alpha(r).expand(1, 1, SIZE, SIZE)[0, 0].numpy() for r in (t, s))
    y = (u - alpha_t * m) / before
    flow = ((p - m) / root - np.cos(phi_t) * y) / np.sin(phi_t)
    expected = alpha_s * m + after * (y + (phi_t - phi_s) * flow)
    rule = samplers.flow(law(process))
    got = samplers.step(answers(process, x0_hat, x_t, t), t, s, rule)
    np.testing.assert_allclose(process.basis.forward(got)[:, 0].numpy(), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        rule.velocity(answers(process, x0_hat, x_t, t))[:, 0].numpy(), flow, rtol=1e-9, atol=1e-9
    )
    # Second order: F + (F - F') r / 2, with the ratio of the common times.
    r = process.times(10)[4].item()
    x_r, before_hat = random_images(seed=3), random_images(seed=4)
    u, q = (process.basis.forward(x).numpy()[:, 0] for x in (x_r, before_hat))
    s_r, phi_r = in_angles(process, r)
    alpha_r = process.alpha(r).expand(1, 1, SIZE, SIZE)[0, 0].numpy()
    earlier = ((q - m) / root - np.cos(phi_r) * (u - alpha_r * m) / s_r) / np.sin(phi_r)
    better = flow + (flow - earlier) * (t - s) / (r - t) / 2
    guess = rule.extrapolated(answers(process, x0_hat, x_t, t), answers(process, before_hat, x_r, r), t, s)
    got = process.basis.forward(samplers.step(guess, t, s, rule))[:, 0].numpy()
    np.testing.assert_allclose(got, alpha_s * m + after * (y + (phi_t - phi_s) * better), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["cosine", "blurring", "bent"])
def test_the_flow_takes_whatever_the_network_predicts(name):
    """The same x0_hat said in four ways is the same step, and the same F."""
    process, t, s, x_t, x0_hat = SYSTEMS[name], 0.6, 0.4, random_images(seed=1), random_images(seed=2)
    gaussian = law(process)
    rule = samplers.flow(gaussian)
    expected, flow = None, None
    for predicts in (X0, EPS, V, gaussian.prediction()):
        seen = answers(process, x0_hat, x_t, t).seen
        alpha, sigma, u = seen.alpha, seen.sigma, seen.u_t
        noise = process.basis.inverse((u - alpha * process.basis.forward(x0_hat)) / sigma)
        said = predicts.target(seen, x0_hat, noise)
        answer = Denoiser(lambda x, _, said=said: said, process, predicts).estimate(x_t, t)
        step = samplers.step(answer, t, s, rule)
        expected, flow = (step, rule.velocity(answer)) if expected is None else (expected, flow)
        torch.testing.assert_close(step, expected, rtol=0, atol=1e-10)
        torch.testing.assert_close(rule.velocity(answer), flow, rtol=0, atol=1e-9)


def test_the_flow_passes_where_blur_has_underflowed():
    process = processes.soft_diffusion(32)
    assert (process.alpha(0.9) == 0).any()
    gaussian = oracle.Gaussian(DCT(32), data.power_law_variance(32))
    x_t, x0_hat = random_images(2, 1, 32), random_images(2, 2, 32)
    for t, s in ((1.0, 0.9), (0.9, 0.3)):
        got = samplers.step(answers(process, x0_hat, x_t, t), t, s, samplers.flow(gaussian))
        u, p = process.basis.forward(x_t), process.basis.forward(x0_hat)
        for at in ((0, 0), (31, 31), (0, 5)):
            index = (slice(None), 0, *at)
            alpha_t, alpha_s = (process.alpha(r)[0, 0, *at].item() for r in (t, s))
            sigma_t, sigma_s = (process.sigma(r).item() for r in (t, s))
            with mpmath.workdps(400):
                root = mpmath.sqrt(gaussian.variance[0, 0, *at].item())
                tangents = [(mpmath.mpf(a) * root, mpmath.mpf(b)) for a, b in ((alpha_t, sigma_t), (alpha_s, sigma_s))]
                (phi_t, before), (phi_s, after) = ((mpmath.atan2(b, a), mpmath.hypot(a, b)) for a, b in tangents)
                for k in range(2):
                    y = u[index][k].item() / before
                    flow = (p[index][k].item() / root - mpmath.cos(phi_t) * y) / mpmath.sin(phi_t)
                    expected = float(after * (y + (phi_t - phi_s) * flow))
                    ours = process.basis.forward(got)[index][k].item()
                    assert ours == pytest.approx(expected, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize("name", ["cosine", "heat", "blurring", "bent"])
def test_the_laboratory_knows_a_flow_with_another_spectrum(name, eta, order):
    """Mean and spread of a walk by `step` are those of the laboratory.

    The walk is affine: a start moved by one unit and a noise moved by one unit show every weight.
    """
    process, steps = SYSTEMS[name], 4
    gaussian = law(process)
    other = law(process, 1.7 * VARIANCE**1.2, MEAN.flip(-1))
    rule, times = samplers.flow(other, eta), process.times(steps)
    denoiser = gaussian.denoiser(process)

    def walked(start, unit=None):
        x, before = start, None
        for number, (t, s) in enumerate(samplers.pairs(times)):
            now = denoiser.estimate(process.basis.inverse(x), t)
            guess = now if order == 1 or before is None else rule.extrapolated(now, before, t, s)
            noise = torch.ones_like(x) if number == unit else torch.zeros_like(x)
            x = process.basis.forward(samplers.step(guess, t, s, rule, process.basis.inverse(noise)))
            before = now
        return x

    mean, variance = gaussian.marginal(process, 1.0)
    middle = walked(mean)
    spread = (walked(mean + 1) - middle) ** 2 * variance + sum((walked(mean, k) - middle) ** 2 for k in range(steps))
    found = gaussian.sampler_error(process, times, rule, order=order)
    torch.testing.assert_close(found.mean, middle, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.variance, spread, rtol=1e-9, atol=1e-9)
    if eta == 0:
        once = samplers.last(samplers.sample(denoiser, process.basis.inverse(mean), times, rule, order=order)).x
        torch.testing.assert_close(process.basis.forward(once), middle, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["cosine", "blurring", "equal"])
def test_short_steps_are_those_of_the_reverse_equation(name, eta):
    """du = f u - (g^2 + h^2) s / 2 back in time, with noise of strength h^2 = eta^2 g^2, for any answer: as ddim's."""
    process, t, h = SYSTEMS[name], 0.4, 1e-6
    x_t, x0_hat = random_images(seed=1), random_images(seed=2)
    rule = samplers.flow(law(process), eta)

    def slope(of):
        return (of(t + 1e-4) - of(t - 1e-4)) / 2e-4

    f = slope(lambda r: torch.log(process.alpha(r)))
    g2 = -(process.sigma(t) ** 2) * slope(lambda r: torch.log(process.snr(r)))
    u, p = process.basis.forward(x_t), process.basis.forward(x0_hat)
    score = -(u - process.alpha(t) * p) / process.sigma(t) ** 2
    drift = f * u - (1 + eta**2) * g2 * score / 2
    answer = answers(process, x0_hat, x_t, t)
    moved = process.basis.forward(samplers.step(answer, t, t - h, rule, torch.zeros_like(x_t))) - u
    torch.testing.assert_close(moved / -h, drift, rtol=2e-3, atol=2e-3 * drift.abs().max().item())
    _, refresh = rule(process, t, t - h)
    torch.testing.assert_close(refresh**2 / h, (eta**2 * g2).expand_as(refresh), rtol=2e-3, atol=1e-9)
    _, ddims = samplers.ddim(process, t, t - h, eta)
    torch.testing.assert_close(
        refresh.expand(1, 1, SIZE, SIZE) ** 2 / h, (ddims**2 / h).expand(1, 1, SIZE, SIZE), rtol=2e-3, atol=1e-9
    )


def test_no_rule_of_carry_alone_is_the_flow():
    """e is of second order in the step, and not 0: the halves of a step tell which."""
    rule, t = samplers.flow(LAW), 0.5
    sizes = [rule.extra(SYSTEMS["equal"], t, t - h).abs().max().item() for h in (0.08, 0.04, 0.02)]
    assert sizes[-1] > 1e-5
    for early, late in itertools.pairwise(sizes):
        assert early / late == pytest.approx(4, rel=0.15)


def test_what_the_flow_cannot_take_is_explained():
    with pytest.raises(ValueError, match=r"eta was 2; expected 0"):
        samplers.flow(LAW, eta=2)
    with pytest.raises(ValueError, match=r"cosine_diffusion is defined in pixels; make it with basis=DCT"):
        samplers.flow(LAW)(processes.cosine_diffusion(), 0.5, 0.4)
    bare = processes.Process(DCT(SIZE), lambda t: 1 - t, lambda t: 0 * t)
    with pytest.raises(ValueError, match="has no noise at t; use tacos or naive"):
        samplers.flow(LAW)(bare, 0.5, 0.4)
    heat = SYSTEMS["heat"]
    said = Denoiser(lambda x, t: x, heat, LESS_BLURRED).estimate(random_images(), 1.0)
    with pytest.raises(ValueError, match="LESS_BLURRED network knows the mean"):
        samplers.step(said, 1.0, 0.995, samplers.flow(LAW))
    assert not {"flow", "matched"} & set(samplers.RULES)


def test_coefficients_that_never_vary_are_drawn_as_they_are():
    variance, mean = VARIANCE.clone(), MEAN
    variance[0, 0, 2, 3] = 0
    for name in ("ddpm", "cosine", "heat", "blurring"):
        process = SYSTEMS[name]
        gaussian = oracle.Gaussian(process.basis, variance, mean)
        flow, noisy, matched = samplers.flow(gaussian), samplers.flow(gaussian, 1.0), samplers.matched(variance)
        for rule, order in ((flow, 1), (flow, 2), (noisy, 2), (matched, 1)):
            found = gaussian.sampler_error(process, process.times(5), rule, order=order)
            assert (found.variance - found.target_variance).abs().max() < 1e-13
            assert (found.mean - found.target_mean).abs().max() < 1e-13


def test_the_flow_works_in_float32_and_with_clipping():
    process = SYSTEMS["blurring"]
    centres, within = mixture()
    start = priors.marginal(LAW, process)(4, torch.Generator().manual_seed(0))
    ends = {}
    for dtype, clip in ((torch.float32, False), (torch.float64, False), (torch.float32, True)):
        denoiser = of_mixture(process, centres, within)
        walk = samplers.sample(denoiser, start.to(dtype), process.times(10), samplers.flow(LAW), order=2, clip=clip)
        ends[dtype, clip] = samplers.last(walk).x
    assert ends[torch.float32, False].dtype == torch.float32
    torch.testing.assert_close(ends[torch.float32, False].double(), ends[torch.float64, False], rtol=0, atol=2e-3)
    assert ends[torch.float32, True].isfinite().all()


def test_clipping_bounds_the_guess_that_the_flow_extrapolates():
    """`Clipped` of a guess that is far out of range is the same as a clipped x0_hat, where nothing blurs."""
    process, t, s = SYSTEMS["cosine"], 0.6, 0.4
    x_t, x0_hat = random_images(seed=1), 3 * random_images(seed=2)
    rule = samplers.flow(LAW)
    clipped = samplers.step(guesses.Clipped(answers(process, x0_hat, x_t, t), s), t, s, rule)
    expected = samplers.step(answers(process, x0_hat.clamp(-1, 1), x_t, t), t, s, rule)
    torch.testing.assert_close(clipped, expected, rtol=0, atol=1e-10)


# --- data that are not Gaussian -------------------------------------------------------------------------------

WEIGHTS = torch.tensor([0.3, 0.7]).double()


def mixture(spread=0.25):
    """Two Gaussians in every pair of neighbouring coefficients: centres (2, H, W), and the variance around them (H, W).

    Mean 0 and variance VARIANCE overall, of which `spread` lies within.
    """
    between, root = math.sqrt(1 - spread), VARIANCE[0, 0].sqrt()
    sign = torch.ones(SIZE**2).double()
    sign[3::4] = -1  # every other pair leans the other way
    first = between * (WEIGHTS[1] / WEIGHTS[0]).sqrt() * root * sign.reshape(SIZE, SIZE)
    return torch.stack([first, -first * WEIGHTS[0] / WEIGHTS[1]]), spread * VARIANCE[0, 0]


def of_mixture(process, centres, within):
    """The exact denoiser: how likely each component is, then one Wiener filter a component."""

    def net(x, t):
        u = process.basis.forward(x.double())
        alpha, sigma = process.alpha(t.double()), process.sigma(t.double())
        total = alpha**2 * within + sigma**2
        off = u - alpha * centres[:, None, None]  # (2, B, 1, H, W)
        pairs = (-(off**2) / total / 2).unflatten(-1, (-1, 2)).sum(-1)
        likely = torch.softmax(pairs + WEIGHTS.log().reshape(2, 1, 1, 1, 1), 0).repeat_interleave(2, -1)
        return process.basis.inverse((likely * (centres[:, None, None] + alpha * within / total * off)).sum(0)).to(x)

    return Denoiser(net, process, X0)


def test_the_denoiser_of_the_mixture_is_bayes_rule():
    """One pair of coefficients, by quadrature over what the data may have been."""
    process, t = SYSTEMS["blurring"], 0.1
    centres, within = mixture()
    x = random_images(1, 5)
    got = process.basis.forward(of_mixture(process, centres, within)(x, t))[0, 0, 1, 2:4].numpy()
    u = process.basis.forward(x)[0, 0, 1, 2:4].numpy()
    alpha, sigma = process.alpha(t)[0, 0, 1, 2:4].numpy(), process.sigma(t).item()
    at = np.linspace(-6, 6, 1201)
    a, b = np.meshgrid(at, at, indexing="ij")
    density = (
        sum(
            w * stats.norm.pdf(a, c[0], s[0] ** 0.5) * stats.norm.pdf(b, c[1], s[1] ** 0.5)
            for w, c, s in zip(WEIGHTS.numpy(), centres[:, 1, 2:4].numpy(), [within[1, 2:4].numpy()] * 2)
        )
        * stats.norm.pdf(u[0], alpha[0] * a, sigma)
        * stats.norm.pdf(u[1], alpha[1] * b, sigma)
    )
    np.testing.assert_allclose(
        got, [(a * density).sum() / density.sum(), (b * density).sum() / density.sum()], rtol=1e-6
    )


@functools.cache
def errors(name, rule, order, steps, grid="uniform", finest=160):
    """Root mean square distance, in standard deviations, from where a fine walk takes the same starts."""
    process = SYSTEMS[name]
    denoiser = of_mixture(process, *mixture())
    rules = {"ddim": samplers.ddim, "flow": samplers.flow(LAW), "matched": samplers.matched(VARIANCE)}
    mean, variance = LAW.marginal(process, 1.0)
    start = process.basis.inverse(mean + variance.sqrt() * random_images(24, 7))
    times = process.times(steps) if grid == "uniform" else timegrids.equal_angle(process, LAW, steps)
    end = process.basis.forward(samplers.last(samplers.sample(denoiser, start, times, rules[rule], order=order)).x)
    if steps == finest:
        return end
    fine = errors(name, "flow", 2, finest)
    return ((end - fine) ** 2 / LAW.marginal(process, 0.0)[1]).mean().sqrt().item()


def test_the_flow_has_its_orders():
    for rule, order, low, high in (("flow", 1, 1.7, 2.3), ("flow", 2, 3.2, 5.0), ("matched", 1, 1.7, 2.3)):
        ratio = errors("equal", rule, order, 20) / errors("equal", rule, order, 40)
        assert low < ratio < high, (rule, order)


@pytest.mark.parametrize("name", ["cosine", "blurring", "equal"])
def test_at_every_number_of_steps_the_flow_is_nearer_than_ddim(name):
    for steps in (5, 10, 20):
        flow, matched, ddim = (errors(name, rule, 1, steps) for rule in ("flow", "matched", "ddim"))
        assert flow < matched < ddim


def test_where_order_2_is_worse_than_order_1():
    """What the docstring of `flow` says."""
    ten, fifty = (errors("cosine", "flow", 2, n) / errors("cosine", "flow", 1, n) for n in (10, 50))
    assert ten == pytest.approx(1.4, abs=0.15)
    assert fifty == pytest.approx(0.4, abs=0.1)
    even = errors("cosine", "flow", 2, 10, "angles") / errors("cosine", "flow", 1, 10, "angles")
    assert even == pytest.approx(0.6, abs=0.15)


# --- matched --------------------------------------------------------------------------------------------------


def test_the_carry_of_matched_is_derived():
    """Of u_s = mean_s + c (u_t - mean_t), in y, ask that y keep its weight 1: by sympy."""
    phi_t, phi_s, y, flow, c, root = sympy.symbols("phi_t phi_s y F c sqrt_v", positive=True)
    alpha_t, alpha_s = sympy.cos(phi_t) / root, sympy.cos(phi_s) / root  # in units of S_t, S_s
    x0_hat = root * (sympy.cos(phi_t) * y + sympy.sin(phi_t) * flow)
    y_s = sympy.expand(alpha_s * x0_hat + c * (y - alpha_t * x0_hat))
    (carry,) = sympy.solve(sympy.diff(y_s, y) - 1, c)
    expected = (1 - sympy.cos(phi_s) * sympy.cos(phi_t)) / sympy.sin(phi_t) ** 2
    assert sympy.simplify(carry - expected) == 0
    weight = sympy.diff(y_s, flow).subs(c, carry)
    assert sympy.simplify(weight - (sympy.cos(phi_s) - sympy.cos(phi_t)) / sympy.sin(phi_t)) == 0
    half = sympy.symbols("x", positive=True)
    last = sympy.expand_trig(weight.subs({phi_s: 0, phi_t: 2 * half}) - sympy.tan(half))
    assert sympy.simplify(last.rewrite(sympy.sin).rewrite(sympy.exp)) == 0


@pytest.mark.parametrize("name", SYSTEMS)
def test_matched_is_exact_and_alone(name):
    process = SYSTEMS[name]
    gaussian, rule = law(process), samplers.matched(VARIANCE)
    for steps in (1, 5):
        found = gaussian.sampler_error(process, process.times(steps), rule)
        assert (found.ratio - 1).abs().max() < 1e-12
        assert (found.mean - found.target_mean).abs().max() < 1e-12

    def other(*at):
        carry, refresh = rule(*at)
        return 0.99 * carry, refresh

    assert gaussian.sampler_error(process, process.times(5), other).kl.sum() > 1e-5


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_step_of_matched_is_its_formula(name):
    process = SYSTEMS[name]
    t, s = (process.times(10)[k].item() for k in (6, 7))
    x_t, x0_hat = random_images(seed=1), random_images(seed=2)
    u, p = (process.basis.forward(x).numpy()[:, 0] for x in (x_t, x0_hat))
    (before, phi_t), (after, phi_s) = in_angles(process, t), in_angles(process, s)
    y = u / before
    flow = (p / np.sqrt(VARIANCE[0, 0].numpy()) - np.cos(phi_t) * y) / np.sin(phi_t)
    expected = after * (y + flow * (np.cos(phi_s) - np.cos(phi_t)) / np.sin(phi_t))
    got = samplers.step(answers(process, x0_hat, x_t, t), t, s, samplers.matched(VARIANCE))
    np.testing.assert_allclose(process.basis.forward(got)[:, 0].numpy(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("t", "s"), [(0.5, 0.4999), (1e-9, 5e-10), (1e-6, 1e-7), (1 - 1e-9, 0.5)])
def test_the_carry_of_matched_is_exact_near_both_ends(t, s):
    process = processes.Process(Pixel(), lambda t: torch.cos(math.pi / 2 * t), lambda t: torch.sin(math.pi / 2 * t))
    got, _ = samplers.matched(torch.ones(1, 1, 1, 1))(process, t, s)
    with mpmath.workdps(50):
        turned = [mpmath.mpf(math.pi / 2 * r) for r in (t, s)]
        exact = (1 - mpmath.cos(turned[0]) * mpmath.cos(turned[1])) / mpmath.sin(turned[0]) ** 2
    assert got.item() == pytest.approx(float(exact), rel=1e-13)


# --- DDIM's floor ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SYSTEMS)
def test_ddim_multiplies_by_the_cosine_of_the_turn(name):
    process = SYSTEMS[name]
    gaussian = law(process)
    for t, s in ((1.0, 0.5), (0.5, 0.25), (1.0, 0.0), (0.25, 0.0)):
        t, s = (round(r * (process.steps or 100)) / (process.steps or 100) for r in (t, s))
        found = gaussian.sampler_error(process, torch.tensor([t, s]).double(), "ddim")
        shrunk = np.cos(in_angles(process, t)[1] - in_angles(process, s)[1])
        np.testing.assert_allclose(found.ratio.sqrt()[0, 0].numpy(), shrunk, rtol=0, atol=1e-12)


WIDE = equal_snr(LAW, logsnr_min=-70.0, logsnr_max=70.0)  # clocks from e^-35 to pi / 2 - e^-35


@pytest.mark.parametrize("steps", [2, 3, 10, 100])
def test_equal_steps_of_equal_clocks_reach_the_floor(steps):
    found = LAW.sampler_error(WIDE, WIDE.times(steps), "ddim")
    share = math.cos(math.pi / (2 * steps)) ** (2 * steps)
    assert oracle.ddim_share(steps) == pytest.approx(share, rel=1e-14)
    np.testing.assert_allclose(found.ratio.numpy(), share, rtol=0, atol=1e-12)
    assert found.kl.sum().item() == pytest.approx(oracle.ddim_floor(SIZE**2, steps), rel=1e-10)
    assert oracle.ddim_floor(SIZE**2, steps) == pytest.approx(SIZE**2 / 2 * (share - 1 - math.log(share)), rel=1e-12)


def test_no_clock_goes_below_the_floor():
    """1,000 random monotone clocks over the whole range, a frequency each, walked by the library.

    And clocks that go back and forth, which the concavity of log cos on (-pi / 2, pi / 2) covers too.
    """
    random = np.random.default_rng(0)
    for steps in (2, 5, 17):
        turns = random.dirichlet(np.full(steps, 0.7), 1000)
        phi = math.pi / 2 * np.concatenate([np.zeros((1000, 1)), turns.cumsum(1)], 1)
        phi[:, -1] = math.pi / 2
        # Clocks as tables: phi at t = k / steps.
        table = torch.from_numpy(phi.T.reshape(steps + 1, 1, 1, 1000).copy())

        def at(t, table=table, steps=steps):
            return table[torch.round(t * steps).long().flatten()]

        variance = torch.from_numpy(random.uniform(0.1, 3, (1, 1, 1, 1000)))
        process = processes.Process(
            Pixel(), lambda t, at=at, v=variance: torch.cos(at(t)) / v.sqrt(), lambda t, at=at: torch.sin(at(t)), steps
        )
        found = oracle.Gaussian(Pixel(), variance).sampler_error(process, process.times(), "ddim")
        share = oracle.ddim_share(steps)
        assert (found.ratio <= share * (1 + 1e-12)).all()
        assert found.ratio.max() > 0.5 * share  # some come near
        assert found.kl.sum() >= oracle.ddim_floor(1000, steps)
        wild = random.uniform(0, math.pi / 2, (1000, steps + 1))
        wild[:, 0], wild[:, -1] = 0, math.pi / 2
        assert (np.cos(np.diff(wild)).prod(1) ** 2 <= share).all()


def test_the_floor_is_concavity():
    """(log cos)'' = -1 / cos^2 < 0, so by Jensen N equal angles leave most; and the limit of the floor."""
    x = sympy.symbols("x")
    assert sympy.simplify(sympy.diff(sympy.log(sympy.cos(x)), x, 2) + 1 / sympy.cos(x) ** 2) == 0
    assert 1000**2 * oracle.ddim_floor(1, 1000) == pytest.approx(math.pi**4 / 64, rel=5e-3)
    assert oracle.ddim_share(1) == 0
    assert oracle.ddim_floor(3, 1) == math.inf
    with pytest.raises(ValueError, match="steps was 0"):
        oracle.ddim_floor(3, 0)


def test_second_order_is_not_bound_by_the_floor():
    process = SYSTEMS["equal"]
    first, second = (LAW.sampler_error(process, process.times(20), "ddim", order=n).kl.sum() for n in (1, 2))
    assert second < 0.2 * oracle.ddim_floor(SIZE**2, 20)
    assert 0.95 * oracle.ddim_floor(SIZE**2, 20) < first < oracle.ddim_floor(SIZE**2, 20)  # its ends are cut
