"""The error proof of cold diffusion (Bansal app. A.9), completed: one step, the whole walk, through the library."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdbook import cold, samplers
from bdbook.denoiser import X0, Denoiser
from bdbook.processes import Process
from bdbook.transforms import Hartley

N = 16
LAST = N // 2  # frequencies 0..LAST


def modes(x):
    """Real Fourier modes of a row, highest frequency first, by numpy."""
    spectrum = np.fft.rfft(x)
    return np.stack([np.fft.irfft(np.where(np.arange(LAST + 1) == LAST - i, spectrum, 0), N) for i in range(LAST + 1)])


def toy():
    """D(x, i / T): the modes from i on."""
    frequency = torch.minimum(torch.arange(N), N - torch.arange(N))
    keep = torch.stack([frequency <= LAST - i for i in range(LAST + 1)]).double()

    def alpha(t):
        return keep[torch.round(t.flatten() * LAST).long()][:, None, None, :]

    return Process(Hartley((1, N)), alpha, torch.zeros_like, LAST, "toy blur")


def image(x):
    return torch.from_numpy(np.asarray(x))[None, None, None]


def step_error(x, x_hat, i, rule):
    process = toy()
    t, s = i / LAST, (i - 1) / LAST
    estimate = Denoiser(lambda x_t, t: image(x_hat), process, X0).estimate(process.mean(image(x), t), t)
    return ((samplers.step(estimate, t, s, rule) - process.mean(image(x), s)) ** 2).sum().item()


def test_the_toy_blur_takes_one_mode_a_step():
    x = np.random.default_rng(0).standard_normal(N)
    for i in range(LAST + 1):
        np.testing.assert_allclose(toy().mean(image(x), i / LAST)[0, 0, 0], modes(x)[i:].sum(0), atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 999), i=st.integers(1, LAST), wrong=st.lists(st.booleans(), min_size=9, max_size=9))
def test_one_step_of_tacos_errs_no_more_and_as_much_only_if_no_retained_mode_errs(seed, i, wrong):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(N)
    # Far from 0 in every mode that is wrong.
    errors = np.where(np.array(wrong)[:, None], modes(rng.standard_normal(N) + 3 * (np.arange(N) == 0)), 0)
    x_hat = x + errors.sum(0)
    naive, tacos = (step_error(x, x_hat, i, rule) for rule in (samplers.naive, samplers.tacos))
    squares = (errors**2).sum(1)
    assert naive == pytest.approx(squares[i - 1 :].sum(), abs=1e-10)
    assert tacos == pytest.approx(squares[i - 1], abs=1e-10)
    assert naive >= tacos - 1e-10
    assert (naive - tacos > 1e-8) == bool(squares[i:].sum() > 1e-8)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999))
def test_the_whole_walk_keeps_what_the_theorem_says(seed):
    rng = np.random.default_rng(seed)
    x, errors = rng.standard_normal(N), rng.standard_normal((LAST, N))  # errors[i - 1] is made at step i
    process = toy()

    def net(x_t, t):
        return image(x + errors[round(t[0].item() * LAST) - 1])

    found = {}
    for name, rule in (("naive", samplers.naive), ("tacos", samplers.tacos)):
        walk = samplers.sample(Denoiser(net, process, X0), process.mean(image(x), 1.0), process.times(), rule)
        found[name] = ((samplers.last(walk).x - image(x)) ** 2).sum().item()
    assert found["naive"] == pytest.approx((errors[0] ** 2).sum(), abs=1e-10)
    assert found["tacos"] == pytest.approx(sum((modes(errors[i])[i] ** 2).sum() for i in range(LAST)), abs=1e-10)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), steps=st.integers(1, 30))
def test_a_consistent_restorer_makes_the_algorithms_one(seed, steps):
    rng = torch.Generator().manual_seed(seed)
    process = cold.super_resolution(8, 3)
    prior = torch.randn(1, 1, 8, 8, generator=rng, dtype=torch.float64)

    def net(x_t, t):  # what is seen, and a guess for the rest
        return x_t + prior - process.mean(prior, round(t[0].item() * 3) / 3)

    start = process.mean(torch.randn(1, 1, 8, 8, generator=rng, dtype=torch.float64), 1.0)
    steps = 1 + steps % 3
    ends = [
        samplers.last(samplers.sample(Denoiser(net, process, X0), start, process.times(steps), rule)).x
        for rule in (samplers.naive, samplers.tacos)
    ]
    assert (ends[0] - ends[1]).abs().max() < 1e-12


@pytest.mark.parametrize("epsilon", [1e-1, 1e-2])
def test_a_bias_that_is_fed_back_grows_to_its_limit(epsilon):
    process = cold.dct_blur((1, 24), sigma_max=3.0, steps=600)
    ones = process.basis.inverse(torch.ones(1, 1, 1, 24).double())

    def net(x_t, t):
        alpha = process.alpha(t[:1])
        return process.basis.inverse(alpha / (alpha**2 + epsilon) * process.basis.forward(x_t)) + ones

    start = torch.zeros(1, 1, 1, 24).double()
    walk = samplers.sample(Denoiser(net, process, X0), start, process.times(), samplers.tacos)
    found = process.basis.forward(samplers.last(walk).x)
    root = epsilon**-0.5
    limit = (1 + epsilon) ** 0.5 * (np.arcsinh(root) - np.arcsinh(process.alpha(1.0).numpy() * root))
    np.testing.assert_allclose(found, limit, atol=4e-2)
    walk = samplers.sample(Denoiser(net, process, X0), start, process.times(50), samplers.naive)
    mean = process.basis.forward(samplers.last(walk).x)[0, 0, 0, 0].item()
    assert mean == pytest.approx(sum((1 + epsilon) ** -j for j in range(50)), abs=1e-9)
