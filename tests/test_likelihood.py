"""The bound against the exact likelihood of Gaussian data, and its parts against independent formulas."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, norm

from bdbook import cold, likelihood, oracle, processes
from bdbook.denoiser import EPS, X0, Denoiser
from bdbook.transforms import DCT


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(process) -> oracle.Gaussian:
    """Data far wider than a bin of 8 bits in every frequency, and well within [-1, 1]."""
    return oracle.Gaussian(process.basis, 0.02 / (0.2 + DCT(4).freq2))


def exact_bits(spectrum: oracle.Gaussian, x: torch.Tensor) -> torch.Tensor:
    """-log2 of the density times the volume of a bin, per dimension, (B,)."""
    u, v = spectrum.basis.forward(x.double()), spectrum.variance
    nats = 0.5 * (u**2 / v + torch.log(2 * math.pi * v)).flatten(1).sum(1) - x[0].numel() * math.log(2 / 255)
    return nats / (x[0].numel() * math.log(2))


PROCESSES = {
    "cosine": lambda: processes.cosine_diffusion(basis=DCT(4)),
    "blurring": lambda: processes.blurring_diffusion(4, sigma_max=3.0),
    "soft": lambda: processes.soft_diffusion(4, sigma_max=3.0),
    "equal_snr": lambda: processes.EqualSNR(DCT(4), 0.02 / (0.2 + DCT(4).freq2), kappa=0.5),
}


@pytest.mark.parametrize("name", PROCESSES)
def test_for_gaussian_data_the_bound_becomes_the_likelihood(name):
    """With the exact denoiser, many steps and the right prior nothing is lost, whatever is blurred."""
    process = PROCESSES[name]()
    spectrum = smooth(process)
    x = spectrum.sample(1024, seeded(1)).float()
    found = likelihood.bound(
        spectrum.denoiser(process), x, seeded(), steps=20_000, draws=16, prior=spectrum.marginal(process, 1.0)
    )
    gap = found.total_bits - exact_bits(spectrum, x)
    error = gap.std().item() / math.sqrt(len(gap))
    assert error < 0.04
    assert abs(gap.mean().item()) < 4 * error


def test_fewer_steps_are_a_looser_bound():
    process = PROCESSES["blurring"]()
    spectrum = smooth(process)
    x = spectrum.sample(512, seeded(1)).float()
    few, many = (likelihood.bound(spectrum.denoiser(process), x, seeded(), n, draws=16) for n in (20, 1000))
    assert few.mean > many.mean + 0.5


def test_any_worse_denoiser_has_a_looser_bound():
    process = PROCESSES["cosine"]()
    spectrum = smooth(process)
    x = spectrum.sample(512, seeded(1)).float()
    blind = Denoiser(lambda x_t, t: torch.zeros_like(x_t), process, X0)
    good, bad = (likelihood.bound(d, x, seeded(), 500, draws=8) for d in (spectrum.denoiser(process), blind))
    assert (bad.steps > good.steps).double().mean() > 0.95


def test_the_sum_over_all_steps_by_brute_force():
    """Every step of a short walk, posterior against sampler, by the general divergence of two Gaussians."""
    process = processes.blurring_diffusion(4, sigma_max=2.0)
    spectrum = smooth(process)
    denoiser, steps = spectrum.denoiser(process), 6
    x = torch.round(127.5 * (spectrum.sample(1, seeded(3)) + 1)) / 127.5 - 1
    copies = x.expand(40_000, 1, 4, 4).float()
    u, grid, total = process.basis.forward(x), process.times(steps).flip(0).tolist(), 0.0
    for s, t in pairwise(grid):
        x_t = process.sample(x.expand(4000, 1, 4, 4), t, torch.randn(4000, 1, 4, 4, generator=seeded(5)).double())
        u_t, u_hat = process.basis.forward(x_t), process.basis.forward(denoiser(x_t, t))
        alpha_t, sigma_t, alpha_s, sigma_s = process.coefficients(t, s)
        a = alpha_t / alpha_s
        step = sigma_t**2 - a**2 * sigma_s**2
        variance = 1 / (1 / sigma_s**2 + a**2 / step)  # HS Eq. 18
        mean, guess = (variance * (a / step * u_t + alpha_s / sigma_s**2 * y) for y in (u, u_hat))
        total += ((mean - guess) ** 2 / (2 * variance)).flatten(1).sum(1).mean().item()
    found = likelihood.bound(denoiser, copies, seeded(), steps, draws=1)
    error = found.steps.std().item() / math.sqrt(len(copies))
    assert error < 0.02 * total
    assert abs(found.steps.mean().item() - total) < 4 * error + 0.02 * total


def test_the_prior_against_torch_distributions():
    process = PROCESSES["blurring"]()
    spectrum = smooth(process)
    x = spectrum.sample(3, seeded(3)).float()
    quantised = torch.round(127.5 * (x.double() + 1)) / 127.5 - 1
    u = process.basis.forward(quantised)
    alpha, sigma = process.alpha(1.0), process.sigma(1.0)
    posterior = torch.distributions.Normal(alpha * u, sigma.expand_as(u))
    for prior in (None, spectrum.marginal(process, 1.0)):
        mean, variance = (torch.zeros(()), torch.ones(())) if prior is None else prior
        expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(mean, variance.sqrt()))
        found = likelihood.bound(spectrum.denoiser(process), x, seeded(), 10, 1, prior)
        torch.testing.assert_close(found.prior, expected.flatten(1).sum(1))


def test_the_data_term_against_scipy():
    """A network that knows the image to a constant; values at both ends of the range have all of the tail."""
    process = processes.cosine_diffusion(basis=DCT(4))
    x = torch.tensor([-1.0, -0.5, 0.0, 1.0]).repeat(4)[None, None].reshape(1, 1, 4, 4)
    exact = torch.round(127.5 * (x.double() + 1)) / 127.5 - 1
    knows = Denoiser(lambda x_t, t: exact.to(x_t) + 0.004, process, X0)
    width = (process.sigma(0.0) / process.alpha(0.0)).item()
    # The denoiser works in float32.
    values, guess = exact.flatten().numpy(), (exact.float() + 0.004).double().flatten().numpy()
    upper = np.where(values > 0.999, np.inf, (values + 1 / 255 - guess) / width)
    lower = np.where(values < -0.999, -np.inf, (values - 1 / 255 - guess) / width)
    expected = -np.log(norm.cdf(upper) - norm.cdf(lower)).sum()
    assert likelihood.bound(knows, x, seeded(), 10, 1).data.item() == pytest.approx(expected, rel=1e-4)


def test_a_process_that_begins_without_noise_has_a_bound_too():
    process = processes.ddpm(100, DCT(4))
    spectrum = smooth(process)
    x = spectrum.sample(64, seeded(1)).float()
    found = likelihood.bound(spectrum.denoiser(process), x, seeded(), 100, 4, spectrum.marginal(process, 1.0))
    assert found.total_bits.isfinite().all()
    assert found.mean > exact_bits(spectrum, x).mean().item()


def test_blur_that_underflows_still_has_a_bound():
    """Heat dissipation: alpha^2 is 0 in float64 for most frequencies at the end, and their steps carry nothing."""
    process = processes.heat_dissipation(16, sigma_max=8.0, steps=100, noise=0.05)
    assert (process.snr(1.0) == 0).any()
    spectrum = oracle.Gaussian(process.basis, 0.02 / (0.2 + process.basis.freq2))
    x = spectrum.sample(256, seeded(1)).float()
    prior = spectrum.marginal(process, 1.0)
    found = likelihood.bound(spectrum.denoiser(process), x, seeded(), draws=16, prior=prior)
    gap = found.total_bits - exact_bits(spectrum, x)
    assert 0 < gap.mean().item() < 0.5, "a hundred steps cost something"
    sudden = processes.heat_dissipation(16, sigma_max=30.0, sigma_min=30.0, steps=1)
    with pytest.raises(ValueError, match="loses a frequency at once"):
        likelihood.bound(spectrum.denoiser(sudden), x, seeded(), draws=1)


def test_what_has_no_bound_says_so():
    x = torch.zeros(2, 1, 8, 8)
    with pytest.raises(ValueError, match="bound is infinite"):
        likelihood.bound(Denoiser(None, cold.blur(8, 4), X0), x, seeded())
    with pytest.raises(ValueError, match="bound is infinite"):
        likelihood.bound(Denoiser(None, cold.dct_blur(8, 4), X0), x, seeded(), 4)
    with pytest.raises(ValueError, match="draws was 0"):
        likelihood.bound(Denoiser(None, PROCESSES["cosine"](), EPS), x, seeded(), draws=0)


def test_steps_are_drawn_by_their_chances_for_every_image():
    """Evenly over the images together; for each image alone as by a die."""
    chances = torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=torch.float64)
    drawn = torch.stack([likelihood._spread(chances, 10, seeded(k)) for k in range(600)])
    for each in drawn:
        assert ((each.bincount(minlength=4) - 10 * chances).abs() < 1 + 1e-9).all()
    for image in range(10):
        counted = drawn[:, image].bincount(minlength=4).numpy()
        assert chisquare(counted, 600 * chances.numpy()).pvalue > 1e-4


def test_no_step_is_drawn_less_than_half_as_often_as_the_average():
    process = PROCESSES["cosine"]()
    u = process.basis.forward(smooth(process).sample(64, seeded(1)))
    grid = process.times(50).flip(0)
    chances = likelihood._chances(process, grid, u)
    assert chances.sum().item() == pytest.approx(1)
    assert chances.min() >= 0.5 / 50
    snr, v = process.snr(grid).numpy().ravel(), u.var(0, correction=0).numpy().ravel()
    left = [((a - b) * v / (b * v + 1)).sum() for a, b in pairwise(snr)]
    np.testing.assert_allclose(chances, 0.01 + 0.5 * np.array(left) / np.sum(left), rtol=1e-9)


def test_the_standard_error_is_of_the_mean_over_images():
    parts = torch.rand(3, 9, generator=seeded(2), dtype=torch.float64)
    bits = parts.numpy().sum(0) / (48 * np.log(2))
    found = likelihood.Bound(*parts, dimensions=48)
    np.testing.assert_allclose(found.total_bits, bits)
    assert found.mean == pytest.approx(bits.mean())
    assert found.standard_error == pytest.approx(bits.std(ddof=1) / 3)
