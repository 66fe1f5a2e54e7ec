"""How linear denoisers learn, against simulated gradient descent, an ODE solver, sympy and dense convolutions."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.ndimage
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bdbook import data, degradations, denoiser, learning, losses, oracle, processes, samplers
from bdbook.transforms import DCT

SIZE = 4
BASIS = DCT(SIZE)
VARIANCE = data.power_law_variance(SIZE)
BLURRING = processes.blurring_diffusion(SIZE, 2.0)
PREDICTIONS = {
    "eps": denoiser.EPS,
    "x0": denoiser.X0,
    "v": denoiser.V,
    "residual": denoiser.RESIDUAL,
    "step_mean": denoiser.PredictStepMean(20),
    "spectral": denoiser.Spectral(torch.zeros_like(VARIANCE), VARIANCE),
}
every_prediction = pytest.mark.parametrize("name", PREDICTIONS)


class Diagonal(nn.Module):
    """A linear network: it multiplies each frequency by its weight, from 0."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1, SIZE, SIZE, dtype=torch.float64))

    def forward(self, x_t, t):
        return BASIS.inverse(self.weight * BASIS.forward(x_t))


def four_images():
    """Images and noise whose coefficients have exactly the moments of the law: all signs of each pair."""
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    u_x, u_eps = (signs[:, k, None, None, None] * torch.ones_like(VARIANCE) for k in (0, 1))
    return BASIS.inverse(u_x * VARIANCE.sqrt()), BASIS.inverse(u_eps)


@every_prediction
def test_the_flow_is_gradient_descent_on_the_librarys_loss(name):
    """Small steps by autograd on `losses.loss`, of which each weight has the share 1 / SIZE^2."""
    t, lr, net = 0.4, 2e-3, Diagonal()
    model = denoiser.Denoiser(net, BLURRING, PREDICTIONS[name])
    x0, noise = four_images()
    known = learning.descent(BLURRING, t, VARIANCE, PREDICTIONS[name])
    for step in range(1, 61):
        loss = SIZE**2 * losses.loss(model, x0, torch.full((4,), t, dtype=torch.float64), noise).mean()
        (gradient,) = torch.autograd.grad(loss, net.weight)
        net.weight.data -= lr * gradient
        if step in (20, 60):
            gain = known.start + known.scale * net.weight.detach()
            off, promised = gain - known.best, known.gain(step * lr) - known.best
            # In steps of lr the error shrinks by (1 - lr rate)^n and not by exp(-n lr rate).
            exact = (known.start - known.best) * (1 - lr * known.rate) ** step
            torch.testing.assert_close(off, exact, rtol=1e-9, atol=1e-12)
            moved = (gain - known.start).abs().max().item()
            torch.testing.assert_close(off, promised, rtol=0, atol=0.01 * moved + 1e-12)


@pytest.mark.parametrize("name", [name for name in PREDICTIONS if name != "spectral"])  # which starts at its end
def test_the_rate_of_a_simulated_descent_is_the_flows_to_a_per_cent(name):
    t, lr, net = 0.6, 1e-4, Diagonal()
    model = denoiser.Denoiser(net, BLURRING, PREDICTIONS[name])
    x0, noise = four_images()
    known = learning.descent(BLURRING, t, VARIANCE, PREDICTIONS[name])
    for _ in range(20):
        loss = SIZE**2 * losses.loss(model, x0, torch.full((4,), t, dtype=torch.float64), noise).mean()
        (gradient,) = torch.autograd.grad(loss, net.weight)
        net.weight.data -= lr * gradient
    left = (net.weight.detach() - known.weight) / -known.weight
    rate = -torch.log(left) / (20 * lr)
    torch.testing.assert_close(rate, known.rate, rtol=0.01, atol=0)


def test_an_ode_solver_finds_the_same_gain():
    """dw/dtime = -2 (S w - sigma) of eps at one frequency, by scipy."""
    alpha, sigma = (c.squeeze()[..., 1, 2].item() if c.numel() > 1 else c.item() for c in moments(0.3))
    v = VARIANCE[0, 0, 1, 2].item()
    total = alpha**2 * v + sigma**2
    end = scipy.integrate.solve_ivp(lambda _, w: -2 * (total * w - sigma), (0, 1.7), [0.0], rtol=1e-10, atol=1e-12)
    gain = (1 - sigma * end.y[0, -1]) / alpha
    known = learning.descent(BLURRING, 0.3, VARIANCE, denoiser.EPS).gain(1.7)[0, 0, 1, 2].item()
    assert gain == pytest.approx(known, rel=1e-7)


def moments(t):
    return BLURRING.alpha(t), BLURRING.sigma(t)


def test_what_each_prediction_starts_from_by_sympy():
    """(start - best)^2 S / v from the definitions of u_t and x0_hat; HS and this book's chapter 19."""
    alpha, sigma, v = sympy.symbols("alpha sigma v", positive=True)
    total = alpha**2 * v + sigma**2
    q = alpha**2 * v / sigma**2
    starts = {
        "eps": (1 / alpha, 1 / (q * (1 + q))),
        "x0": (0, q / (1 + q)),
        "v": (
            alpha / (alpha**2 + sigma**2),
            alpha**2 * sigma**4 * (1 - v) ** 2 / ((alpha**2 + sigma**2) ** 2 * total * v),
        ),
        "residual": (1, (total - alpha * v) ** 2 / (total * v)),
        "spectral": (alpha * v / total, 0),
    }
    for name, (start, error) in starts.items():
        assert sympy.simplify((start - alpha * v / total) ** 2 * total / v - error) == 0
        a, s = moments(0.35)
        known = learning.descent(BLURRING, 0.35, VARIANCE, PREDICTIONS[name])
        for promised, formula in ((known.start, start), (known.error(known.gain(0.0)), error)):
            value = sympy.lambdify((alpha, sigma, v), formula, "numpy")(a.numpy(), s.numpy(), VARIANCE.numpy())
            np.testing.assert_allclose(promised.numpy(), np.broadcast_to(value, promised.shape), rtol=1e-9, atol=1e-12)


@every_prediction
def test_the_weight_at_the_end_is_the_regression_of_the_target_on_the_input(name):
    x0, noise = four_images()
    t = torch.full((4,), 0.5, dtype=torch.float64)
    x_t = BLURRING.sample(x0, t, noise)
    seen = denoiser.Observed(BLURRING, x_t, BASIS.forward(x_t), t)
    target = BASIS.forward(PREDICTIONS[name].target(seen, x0, noise))
    slope = (seen.u_t * target).mean(0) / (seen.u_t**2).mean(0)
    torch.testing.assert_close(
        learning.descent(BLURRING, 0.5, VARIANCE, PREDICTIONS[name]).weight[0], slope, rtol=1e-9, atol=1e-12
    )


def test_a_mean_that_the_prediction_knows_is_no_part_of_the_gain():
    with_mean = denoiser.Spectral(torch.full_like(VARIANCE, 0.3), VARIANCE)
    known = learning.descent(BLURRING, 0.5, VARIANCE, with_mean)
    torch.testing.assert_close(known.start, known.best)


@given(t=st.floats(0.02, 0.98), less=st.floats(0, 5), more=st.floats(0, 5), time=st.floats(0, 20))
def test_more_blur_never_has_less_error_with_eps_and_none_with_spectral(t, less, more, time):
    errors = []
    for width in sorted((less, more)):
        process = processes.blurring_diffusion(SIZE, width)
        known = learning.descent(process, t, VARIANCE, denoiser.EPS)
        errors.append(known.error(known.gain(time)))
        spectral = learning.descent(process, t, VARIANCE, PREDICTIONS["spectral"])
        assert spectral.error(spectral.gain(time)).max() < 1e-20
    assert (errors[1] >= errors[0] * (1 - 1e-9)).all()


@every_prediction
def test_the_time_to_a_level_is_when_the_error_is_there(name):
    known = learning.descent(BLURRING, 0.5, VARIANCE, PREDICTIONS[name])
    times = known.time_to(0.01)
    for i, j in ((0, 1), (3, 3)):
        error = known.error(known.gain(times[0, 0, i, j].item()))[0, 0, i, j].item()
        before = known.error(known.start)[0, 0, i, j].item()
        assert error == pytest.approx(min(before, 0.01), rel=1e-9, abs=1e-20)


# --- what an unfinished network draws ------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [samplers.ancestral, samplers.ddim])
@pytest.mark.parametrize("name", ["eps", "x0", "v", "spectral"])
def test_an_unfinished_network_is_another_rule_of_the_exact_one(rule, name):
    """One step with a linear network of partly learnt weights, by the library's own step."""
    t, s, time = 0.5, 0.45, 0.7
    x_t = torch.randn(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    known = learning.descent(BLURRING, t, VARIANCE, PREDICTIONS[name])
    net = Diagonal()
    net.weight.data = known.weight * (1 - torch.exp(-known.rate * time))
    model = denoiser.Denoiser(net, BLURRING, PREDICTIONS[name])
    drawn = samplers.step(model.estimate(x_t, t), t, s, rule, noise)
    exact = oracle.Gaussian(BASIS, VARIANCE).denoiser(BLURRING)
    changed = learning.unfinished(rule, VARIANCE, PREDICTIONS[name], time)
    torch.testing.assert_close(drawn, samplers.step(exact.estimate(x_t, t), t, s, changed, noise))


def test_with_eps_it_is_the_bias_of_chapter_12():
    t, s, time = 0.5, 0.4, 0.3
    carry, _ = samplers.ancestral(BLURRING, t, s)
    alpha_t, _, alpha_s, _ = BLURRING.coefficients(t, s)
    share = torch.exp(-learning.descent(BLURRING, t, VARIANCE, denoiser.EPS).rate * time)
    found, _ = learning.unfinished(samplers.ancestral, VARIANCE, denoiser.EPS, time)(BLURRING, t, s)
    torch.testing.assert_close(found, carry + share * (alpha_s / alpha_t - carry))


# --- convolutions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 3, 5, 7])
@pytest.mark.parametrize("name", ["eps", "v"])
def test_taps_learn_as_free_taps_of_a_dense_convolution_do(width, name):
    """All width^2 taps free, scipy's convolution with mirrored borders as matrices, a matrix exponential."""
    t, time = 0.4, 0.05
    process = processes.blurring_diffusion(SIZE, 1.0)
    known = learning.descent(process, t, VARIANCE, PREDICTIONS[name])
    found = learning.Convolution(SIZE, width).gain(known, time)
    identity = np.eye(SIZE**2).reshape(-1, SIZE, SIZE)
    taps = [np.eye(1, width**2, k).reshape(width, width) for k in range(width**2)]
    shifts = [
        np.stack([scipy.ndimage.convolve(e, tap, mode="reflect").ravel() for e in identity], axis=1) for tap in taps
    ]
    basis = BASIS.inverse(torch.from_numpy(identity)[:, None]).reshape(SIZE**2, -1).numpy().T  # columns: V's
    seen = basis @ np.diag(known.total.numpy().ravel()) @ basis.T
    towards = basis @ np.diag((known.total * known.weight).numpy().ravel()) @ basis.T  # E target x_t'
    gram = np.array([[np.trace(a @ seen @ b.T) for b in shifts] for a in shifts])
    pull = np.array([np.trace(a.T @ towards) for a in shifts])
    # d(taps, 1)/dtime = -2 (gram taps - pull), exactly.
    both = scipy.linalg.expm(2 * time * np.block([[-gram, pull[:, None]], [np.zeros((1, len(taps) + 1))]]))
    whole = sum(tap * shift for tap, shift in zip(both[:-1, -1], shifts))
    spectrum = basis.T @ whole @ basis
    np.testing.assert_allclose(spectrum, np.diag(np.diag(spectrum)), atol=1e-9)
    gain = known.start.numpy().ravel() + known.scale.numpy().ravel() * np.diag(spectrum)
    np.testing.assert_allclose(found.numpy().ravel(), gain, rtol=1e-7, atol=1e-9)


def test_one_tap_learns_one_number_for_all_frequencies_at_the_sum_of_their_rates():
    known = learning.descent(BLURRING, 0.5, VARIANCE, denoiser.EPS)
    weight = (known.total * known.weight).sum() / known.total.sum()
    learnt = weight * -math.expm1(-known.rate.sum().item() * 0.02)
    found = learning.Convolution(SIZE, 1).gain(known, 0.02)
    torch.testing.assert_close(found, known.start + known.scale * learnt)


def test_taps_end_at_the_best_they_can():
    """The end of training is weighted least squares, by numpy."""
    known = learning.descent(BLURRING, torch.tensor([0.3, 0.6]), VARIANCE, denoiser.EPS)
    conv = learning.Convolution(SIZE, 3)
    assert conv.responses.shape == (SIZE**2, 4)
    found = conv.gain(known, math.inf)
    for k in (0, 1):
        root = known.total[k].sqrt().numpy().ravel()
        target = root * known.weight[k].numpy().ravel()
        taps, *_ = np.linalg.lstsq(root[:, None] * conv.responses.numpy(), target, rcond=None)
        gain = known.start[k].numpy().ravel() + known.scale[k].numpy().ravel() * (conv.responses.numpy() @ taps)
        np.testing.assert_allclose(found[k].numpy().ravel(), gain, rtol=1e-9)


# --- what is refused -----------------------------------------------------------------------------------------


def test_what_cannot_be_is_refused():
    known = learning.descent(BLURRING, 0.5, VARIANCE, denoiser.EPS)
    for late in (known.gain, lambda time: learning.Convolution(SIZE, 3).gain(known, time)):
        with pytest.raises(ValueError, match="training time was -1"):
            late(-1)
    with pytest.raises(ValueError, match="above 0"):
        known.time_to(0.0)
    with pytest.raises(ValueError, match="v > 0"):
        learning.descent(BLURRING, 0.5, torch.zeros(1, 1, SIZE, SIZE), denoiser.EPS)
    with pytest.raises(ValueError, match="predicts no x0"):
        learning.descent(BLURRING, 0.5, VARIANCE, denoiser.LESS_BLURRED)
    changed, blend = learning.unfinished(samplers.tacos, VARIANCE, denoiser.EPS, 1.0), degradations.Blend(BLURRING)
    with pytest.raises(ValueError, match="no alpha and sigma"):
        changed(blend, 0.5, 0.4)
    for width in (2, 9, -1):
        with pytest.raises(ValueError, match="odd number below twice the size"):
            learning.Convolution(SIZE, width)


@given(bound=st.floats(0.1, 3), begun=st.floats(0.1, 20), rule=st.sampled_from(["ddim", "ancestral"]))
def test_a_walk_with_a_bounded_answer_cannot_come_back(bound, begun, rule):
    """Chapter 19, by a network that always answers with all that it may; of an ancestral walk the mean."""
    times = BLURRING.times(30)
    u = torch.full((1, 1, SIZE, SIZE), begun, dtype=torch.float64)
    for t, s in itertools.pairwise(times):
        alpha_t, sigma_t, alpha_s, _ = BLURRING.coefficients(t, s)
        carry, _ = samplers.rule(rule)(BLURRING, t, s)
        x = (u - sigma_t * bound * u.sign()) / alpha_t
        u = alpha_s * x + carry * (u - alpha_t * x)
    grows = BLURRING.alpha(0.0) / BLURRING.alpha(1.0)
    most = {"ddim": 1, "ancestral": 2}[rule] * bound
    assert (u.abs() >= grows * (begun - most * BLURRING.sigma(1.0)) - 1e-6 * grows).all()
