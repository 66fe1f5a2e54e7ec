"""Images drawn given a view: one Gaussian in closed form, a mixture by quadrature, the rule against both; bad input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.ndimage import convolve
from scipy.stats import norm

from bdbook import cold, posteriors, processes
from bdbook.denoiser import LESS_BLURRED, Denoiser
from bdbook.mixtures import Mixture
from bdbook.oracle import Gaussian
from bdbook.page import recorded
from bdbook.posteriors import View
from bdbook.transforms import DCT, Circle, Haar

SIDE = 6
BASIS = DCT(SIDE)
MADE = {
    "ddpm": lambda: processes.ddpm(basis=BASIS),
    "cosine": lambda: processes.cosine_diffusion(BASIS),
    "heat": lambda: processes.heat_dissipation(SIDE),
    "blurring": lambda: processes.blurring_diffusion(SIDE, 2.0),
    "soft": lambda: processes.soft_diffusion(SIDE),
}


def random_of(seed):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=random_of(seed), dtype=torch.float64)


def law(seed, shape=(1, 1, SIDE, SIDE)) -> Gaussian:
    """A Gaussian of uneven variances."""
    return Gaussian(BASIS, torch.exp(normal(*shape, seed=seed) - 1), normal(*shape, seed=seed + 1))


def closed_form(spectrum, view, y):
    """(mean, variance) of u_x given y by precisions that add, in numpy."""
    v, m, h = (x.numpy() for x in (spectrum.variance, spectrum.mean, view.gain))
    variance = 1 / (1 / v + h**2 / view.noise**2)
    return variance * (m / v + h * y.numpy() / view.noise**2), variance


@given(
    system=st.sampled_from(sorted(MADE)),
    width=st.floats(0, 2),
    noise=st.floats(0.01, 1),
    steps=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_of_gaussian_data_the_walk_is_exact_at_any_number_of_steps(system, width, noise, steps, seed):
    """Mean and variance are carried through the steps, which are affine in u_t, from the exact law of u_1 given y."""
    process, spectrum, view = MADE[system](), law(seed), View.blurred(SIDE, width, noise)
    y = normal(1, 1, SIDE, SIDE, seed=seed + 2)
    times = process.times(steps)
    errors, denoiser = posteriors.gaussian_errors(spectrum, process, times), spectrum.denoiser(process)
    known, spread = closed_form(spectrum, view, y)
    alpha, sigma = process.alpha(1.0), process.sigma(1.0)
    mean, variance = alpha * torch.from_numpy(known), alpha**2 * torch.from_numpy(spread) + sigma**2
    for number, t in enumerate(times[:-1].tolist()):
        s = times[number + 1].item() if number + 1 < steps else None

        def after(u, t=t, s=s, number=number):
            estimate = denoiser.estimate(BASIS.inverse(u), t)
            return posteriors.step(estimate, view, y, errors[number : number + 1], t, s)

        (end, deviation), (further, _) = after(mean), after(mean + 1)
        slope = further - end
        mean, variance = end, slope**2 * variance + deviation**2
    np.testing.assert_allclose(mean, known, rtol=0, atol=1e-10 * max(1, np.abs(known).max()))
    np.testing.assert_allclose(variance, spread, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("system", sorted(MADE))
def test_what_is_drawn_has_that_law(system):
    """By 20,000 walks of 2 steps: as drawn, not as computed."""
    process, spectrum, view = MADE[system](), law(3), View.blurred(SIDE, 0.7, 0.3)
    y = normal(1, 1, SIDE, SIDE, seed=5)
    drawn = posteriors.sample(
        spectrum.denoiser(process),
        spectrum,
        view,
        BASIS.inverse(y),
        process.times(2),
        20_000,
        random_of(0),
        at_once=5000,
    )
    known, variance = closed_form(spectrum, view, y)
    u = BASIS.forward(drawn.squeeze(1))
    z = (u.mean(0) - torch.from_numpy(known[0])) / torch.from_numpy(variance[0]).sqrt() * len(u) ** 0.5
    assert z.abs().max() < 5
    ratio = (u.var(0) / torch.from_numpy(variance[0]) - 1) * (len(u) / 2) ** 0.5
    assert ratio.abs().max() < 5


def two_clusters(basis) -> Mixture:
    """Of pictures of two pixels, which no Gaussian is like."""
    means = torch.tensor([[-1.0, 0.5], [1.0, -0.2], [0.3, 0.3]], dtype=torch.float64).reshape(3, 1, 1, 2)
    variances = torch.tensor([[0.02, 0.3], [0.05, 0.1], [0.5, 0.01]], dtype=torch.float64).reshape(3, 1, 1, 2)
    return Mixture(basis, torch.tensor([0.3, 0.5, 0.2]), means, variances)


def other(u, mean, deviation, h, y, noise):
    """The density of u together with its view y."""
    return norm.pdf(u, mean, deviation) * norm.pdf(y, h * u, noise)


@pytest.mark.parametrize(("width", "noise"), [(0.0, 0.5), (0.8, 0.2), (3.0, 0.05)])
def test_a_mixtures_posterior_is_that_of_quadrature(width, noise):
    """The mean of the first coefficient, and how probable it is below a number, by scipy over the other's exact law."""
    basis = DCT((1, 2))
    mixture, view = two_clusters(basis), View.blurred((1, 2), width, noise)
    y = torch.tensor([0.2, 0.1], dtype=torch.float64).reshape(1, 1, 1, 2)
    found = posteriors.of_mixture(mixture, view, basis.inverse(y))
    h, seen = view.gain.flatten().tolist(), y.flatten().tolist()
    places, values = np.linspace(-3, 3, 20001), 0.0
    for weight, mean, variance in zip(mixture.weights.tolist(), mixture.means.flatten(1), mixture.variances.flatten(1)):
        (m0, m1), (s0, s1) = mean.tolist(), variance.sqrt().tolist()
        # Of the second coefficient only how probable its y is.
        rest, _ = quad(other, -6, 6, args=(m1, s1, h[1], seen[1], noise), points=[m1, seen[1]], limit=500)
        values = values + weight * rest * norm.pdf(places, m0, s0) * norm.pdf(seen[0], h[0] * places, noise)
    evidence = np.trapezoid(values, places)
    mean = np.trapezoid(values * places, places) / evidence
    assert basis.forward(found.mean).flatten()[0].item() == pytest.approx(mean, abs=1e-6)
    many = posteriors.of_mixture(mixture, view, basis.inverse(y).expand(1000, 1, 1, 2))
    drawn = basis.forward(many.sample(40, random_of(0)).flatten(0, 1))[:, 0, 0, 0]
    for edge in (-0.5, 0.1, 0.4):
        share = np.trapezoid(values[places <= edge], places[places <= edge]) / evidence
        assert (drawn <= edge).double().mean().item() == pytest.approx(
            share, abs=5 * (share * (1 - share) / 4e4) ** 0.5 + 5e-3
        )


def test_one_component_is_a_gaussian_and_many_views_are_apart():
    spectrum, view = law(1), View.blurred(SIDE, 1.0, 0.1)
    one = Mixture(BASIS, torch.ones(1), spectrum.mean, spectrum.variance)
    y = normal(4, 1, SIDE, SIDE, seed=3)
    known, _ = closed_form(spectrum, view, y)
    found = posteriors.of_mixture(one, view, BASIS.inverse(y))
    np.testing.assert_allclose(BASIS.forward(found.mean), known, atol=1e-10)
    drawn = found.sample(3, random_of(0))
    assert drawn.shape == (3, 4, 1, SIDE, SIDE)
    assert torch.equal(drawn, found.sample(3, random_of(0)))


def errors_of(mixture, process, view, count, drawn):
    """(exact, walk's mean, walk's single, Wiener's) mean square errors of views of the mixture's own images."""
    basis, spectrum = mixture.basis, mixture.gaussian()
    truth = mixture.sample(count, random_of(0))
    seen = view.sample(truth, normal(*truth.shape, seed=1))
    denoiser, times = mixture.denoiser(process), posteriors.grid(process, spectrum, 10)
    walked = posteriors.sample(denoiser, spectrum, view, seen, times, drawn, random_of(4), at_once=2000)
    wiener = view.combined(spectrum.mean.expand_as(seen), basis.forward(seen), spectrum.variance)[0]
    exact = posteriors.of_mixture(mixture, view, seen).mean
    found = (exact, walked.mean(0), walked, basis.inverse(wiener))
    return [(each - truth).square().mean().item() for each in found]


@pytest.mark.parametrize("make", [processes.cosine_diffusion, lambda basis: processes.blurring_diffusion(16, 5.0)])
def test_on_a_mixture_fitted_to_clothes_the_walk_is_as_good_as_the_exact_posterior(make):
    mixture = recorded.mixture("fashion")
    exact, mean, single, wiener = errors_of(mixture, make(mixture.basis), View.blurred(16, 1.0, 0.02), 30, 9)
    assert mean == pytest.approx((1 + 1 / 9) * exact, rel=0.1)
    assert single == pytest.approx(2 * exact, rel=0.15)
    assert wiener > 1.2 * exact, "which takes the data for Gaussian"


def test_between_kinds_far_apart_the_walk_decides_worse_than_the_exact_posterior():
    """What the module says of itself: better than one Gaussian, and several times as far off as the exact."""
    means = torch.stack([normal(1, SIDE, SIDE, seed=k) for k in range(4)])
    mixture = Mixture(BASIS, torch.ones(4) / 4, means, torch.full_like(means, 0.02))
    exact, mean, _, wiener = errors_of(mixture, MADE["cosine"](), View.blurred(SIDE, 1.0, 0.3), 60, 20)
    assert 3 * exact < mean < wiener


# --- the view ---------------------------------------------------------------------------------------------------


@given(height=st.integers(3, 9), width=st.integers(3, 9), seed=st.integers(0, 99))
def test_a_kernels_gain_is_its_convolution(height, width, seed):
    """Against scipy's convolution with a mirrored border, of every picture."""
    half = np.abs(normal(2, 3, seed=seed).numpy())
    kernel = np.block([[half[:, ::-1], half[:, 1:]], [half[:1, ::-1], half[:1, 1:]]])
    assert kernel.shape == (3, 5)
    kernel = (kernel + kernel[::-1]) / 2
    kernel /= kernel.sum()
    picture = normal(height, width, seed=seed + 1)
    view = View.of_kernel((height, width), torch.from_numpy(kernel), 0.1)
    blurred = view.sample(picture[None, None], torch.zeros(1, 1, height, width))[0, 0]
    np.testing.assert_allclose(blurred, convolve(picture.numpy(), kernel, mode="reflect"), atol=1e-12)


def test_around_a_circle_a_kernel_wraps_and_along_a_series_it_is_one_row():
    kernel = torch.tensor([0.1, 0.2, 0.4, 0.2, 0.1], dtype=torch.float64)
    series = normal(1, 1, 11)
    for size, mode in (((11,), "reflect"), ((Circle(11),), "wrap")):
        blurred = View.of_kernel(size, kernel, 0.1).sample(series, torch.zeros(1, 1, 11))[0, 0]
        np.testing.assert_allclose(blurred, convolve(series[0, 0].numpy(), kernel.numpy(), mode=mode), atol=1e-12)


def test_the_width_is_heat_dissipations():
    """exp(-lambda width^2 / 2), and noise of the size that is said."""
    view, zeros = View.blurred(16, 1.5, 0.3), torch.zeros(500, 1, 16, 16, dtype=torch.float64)
    blurred = cold.dct_blur(16, 1.5, steps=1).mean(normal(1, 1, 16, 16), 1.0)
    torch.testing.assert_close(view.sample(normal(1, 1, 16, 16), zeros[:1]), blurred, atol=1e-10, rtol=0)
    assert view.sample(zeros, normal(*zeros.shape)).std().item() == pytest.approx(0.3, rel=0.01)


@pytest.mark.parametrize("system", ["cosine", "ddpm"])
def test_a_grid_has_equal_steps_of_the_mean_clock(system):
    process, spectrum = MADE[system](), law(2)
    times = posteriors.grid(process, spectrum, 8)
    clocks = spectrum.clock(process, times).flatten(1).mean(1)
    np.testing.assert_allclose(clocks.diff(), (clocks[-1] - clocks[0]) / 8, rtol=0.05)
    assert times[0] == 1
    assert times[-1] == 0


def test_measured_errors_of_gaussian_data_are_the_formulas():
    process, spectrum = MADE["cosine"](), law(4)
    times = posteriors.grid(process, spectrum, 4)
    images = spectrum.sample(4000, random_of(0))
    found = posteriors.measured_errors(spectrum.denoiser(process), images, times, random_of(1))
    formula = posteriors.gaussian_errors(spectrum, process, times)
    assert ((found / formula - 1).abs() < 6 * math.sqrt(2 / 4000)).all()


# --- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: View.blurred(8, 1.0, 0.0), "noise was 0.0; expected .* above 0"),
        (lambda: View.blurred(8, 1.0, math.nan), "noise was nan"),
        (lambda: View.blurred(8, -1.0, 0.1), "width was -1.0; expected .* 0 or more"),
        (lambda: View.blurred(8, math.inf, 0.1), "width was inf"),
        (lambda: View(DCT(4), torch.full((1, 1, 4, 4), math.nan), 0.1), "the gain had NaN or infinity"),
        (lambda: posteriors.gain_of(8, torch.ones(2, 3)), r"shape \(2, 3\); expected an odd number of taps"),
        (lambda: posteriors.gain_of(8, torch.ones(3)), r"shape \(3,\); expected .* each of 2 axes"),
        (lambda: posteriors.gain_of(8, torch.ones(3, 3)), r"sum was 9; .* kernel / kernel.sum\(\)"),
        (lambda: posteriors.gain_of(8, torch.full((3, 3), math.nan)), "sum was nan"),
        (lambda: posteriors.gain_of(8, torch.eye(3) / 3), "differs from its mirror image by up to 0.333"),
        (lambda: posteriors.gain_of(8, torch.tensor([[0.2, 0.5, 0.3]])), "differs from its mirror image by up to 0.1"),
    ],
)
def test_what_is_no_view_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_cannot_be_drawn_is_refused():
    view, spectrum, x = View.blurred(SIDE, 1.0, 0.1), law(1), torch.zeros(1, 1, SIDE, SIDE)
    cosine = MADE["cosine"]()

    def draw(denoiser, view=view, count=2, steps=2, **more):
        posteriors.sample(denoiser, spectrum, view, x, denoiser.process.times(steps), count, random_of(0), **more)

    def nothing(x, t):
        return torch.zeros_like(x)

    with pytest.raises(ValueError, match="adds no noise, so nothing is drawn"):
        draw(Denoiser(nothing, cold.dct_blur(SIDE, 2.0, steps=4)))
    with pytest.raises(ValueError, match="knows no clean image"):
        draw(Denoiser(nothing, MADE["heat"](), LESS_BLURRED))
    with pytest.raises(ValueError, match=r"the view is diagonal in DCT.* but the prior in Pixel"):
        draw(Denoiser(nothing, processes.ddpm()))
    with pytest.raises(ValueError, match="count was 0; expected at least 1"):
        draw(spectrum.denoiser(cosine), count=0)
    with pytest.raises(ValueError, match="errors were given at 3 times; expected 2"):
        draw(spectrum.denoiser(cosine), errors=torch.ones(3, 1, 1, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="steps was 1001; expected 1 to 1000"):
        posteriors.grid(MADE["ddpm"](), spectrum, 1001)
    haar = Mixture(Haar(SIDE), torch.ones(1), torch.zeros(1, 1, SIDE, SIDE), torch.ones(1, 1, SIDE, SIDE))
    with pytest.raises(ValueError, match="the prior in Haar"):
        posteriors.of_mixture(haar, view, x)
