"""Mistakes in using the core: each gets an error that says what was given, what was expected, what to do."""

import math
import re

import numpy as np
import pytest
import torch

from bdbook import denoiser, losses, pixels, priors, processes, samplers, training
from bdbook.denoiser import EPS, LESS_BLURRED, X0, Denoiser
from bdbook.oracle import Gaussian
from bdbook.processes import (
    Process,
    blur_diffusion,
    blurring_diffusion,
    cosine_diffusion,
    ddpm,
    heat_dissipation,
    soft_diffusion,
)
from bdbook.samplers import ancestral, ddim, ihdm, lee_euler, momentum, pairs, rule, sample, step, tacos
from bdbook.schedules import blur_exponent
from bdbook.transforms import DCT, Colour, Haar, Pixel, Separable, gaussian_kernel

NAN = float("nan")


def says(*words):
    """An expected ValueError whose message has all of these words, in any order."""
    return pytest.raises(ValueError, match="".join(rf"(?=[\s\S]*{re.escape(word)})" for word in words))


@pytest.mark.parametrize(
    ("call", "given", "nearest"),
    [
        (lambda: processes.process("bluring_diffusion", 8), "bluring_diffusion", "blurring_diffusion"),
        (lambda: processes.process("DDPM"), "DDPM", "ddpm"),
        (lambda: rule("ancestrall"), "ancestrall", "ancestral"),
        (lambda: rule("IHDM"), "IHDM", "ihdm"),
        (lambda: denoiser.prediction("residuall"), "residuall", "residual"),
        (lambda: denoiser.prediction("spectra"), "spectra", "spectral"),
        (lambda: blur_diffusion(8, f_type="quartc"), "quartc", "quartic"),
        (lambda: blurring_diffusion(8, blur="sin3"), "sin3", "sin"),
        (lambda: blur_diffusion(8, boundary="zeros"), "zeros", "zero"),
        (lambda: Separable(8, boundary="symetric"), "symetric", "symmetric"),
    ],
)
def test_unknown_name(call, given, nearest):
    with says("unknown", repr(given), f"did you mean '{nearest}", "Known"):
        call()


@pytest.mark.parametrize("factory", [heat_dissipation, blurring_diffusion, soft_diffusion])
@pytest.mark.parametrize("width", [-1.0, NAN, math.inf])
def test_sigma_max(factory, width):
    with says("sigma_max", f"{width}", "expected"):
        factory(8, sigma_max=width)


@pytest.mark.parametrize("d_min", [0.0, 1.0, -0.1, 2.0, NAN])
def test_d_min(d_min):
    with says("d_min", f"{d_min}", "(0, 1)"):
        blurring_diffusion(8, d_min=d_min)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: heat_dissipation(8, sigma_min=0.0), ["sigma_min", "0.0", "0 < sigma_min"]),
        (lambda: heat_dissipation(8, sigma_min=30.0), ["sigma_min", "30", "sigma_max = 20"]),
        (lambda: soft_diffusion(8, noise_min=0.0), ["noise", "0.0", "0 < noise_min"]),
        (lambda: soft_diffusion(8, noise_min=2.0), ["noise", "2.0", "noise_max"]),
        (lambda: heat_dissipation(8, noise=-0.1), ["noise", "-0.1"]),
        (lambda: blur_diffusion(8, f_max=-1.0), ["f_max", "-1.0", "f(N) >= 0"]),
        (lambda: blur_diffusion(8, f_max=NAN), ["f_max", "nan"]),
        (lambda: blur_diffusion(8, kernel_sigma=0.0), ["kernel sigma", "0.0", "positive"]),
        (lambda: gaussian_kernel(NAN), ["nan", "positive"]),
        (lambda: ddpm(steps=0), ["steps", "0", "at least 1"]),
        (lambda: ddpm(steps=-1), ["steps", "-1", "at least 1"]),
        (lambda: heat_dissipation(8, steps=0), ["steps", "0", "at least 1"]),
        (lambda: blur_diffusion(8, steps=0), ["steps", "0", "at least 1"]),
        (lambda: blur_diffusion(8, steps=1, f_type="log"), ["steps", "1", "log"]),
        (lambda: cosine_diffusion(logsnr_min=10, logsnr_max=-10), ["logsnr", "10", "-10"]),
        (lambda: DCT(0).freq2, ["size", "0", "positive"]),
        (lambda: DCT((4, -1)).freq2, ["size", "-1", "positive"]),
        (lambda: Separable(8, (0.5, 0.5)), ["(0.5, 0.5)", "odd number of taps"]),
        (lambda: Separable(8, (0.1, 0.5, 0.4)), ["(0.1, 0.5, 0.4)", "either end"]),
        (lambda: ihdm(-0.1), ["delta", "-0.1", "0 or more"]),
        (lambda: ihdm(NAN), ["delta", "nan"]),
        (lambda: ddim(ddpm(), 0.5, 0.4, eta=1.5), ["eta", "1.5", "1 (ancestral)"]),
        (lambda: ddim(ddpm(), 0.5, 0.4, eta=-0.5), ["eta", "-0.5", "0 (deterministic)"]),
        (lambda: samplers.partial_carry(1.5), ["rho was 1.5", "part of DDIM's carry, 0 (none) to 1 (all)"]),
        (lambda: Gaussian(Pixel(), -torch.ones(1, 1, 2, 2)), ["variance", "negative", "-1"]),
        (lambda: Gaussian(Pixel(), torch.full((1, 1, 2, 2), NAN)), ["variance", "nan"]),
        (lambda: ddpm().times(0), ["steps", "0", "at least 1"]),
        (lambda: ddpm().times(1001), ["1000", "1001"]),
    ],
)
def test_settings(call, words):
    with says(*words):
        call()


@pytest.mark.parametrize("t", [-0.1, 1.1, NAN, math.inf, torch.tensor([0.5, 1.5]), torch.tensor([0.5, NAN])])
def test_times_lie_in_0_1(t):
    shown = f"{float(t if isinstance(t, float) else t[1]):g}"
    x = torch.zeros(2, 1, 8, 8)
    for process in (cosine_diffusion(), ddpm(), blurring_diffusion(8)):
        for call in (
            process.alpha,
            process.sigma,
            process.snr,
            lambda t, p=process: p.mean(x, t),
            lambda t, p=process: p.sample(x, t, x),
            lambda t, p=process: losses.loss(Denoiser(lambda x, t: x, p, EPS), x, t, x),
        ):
            with says("t was", shown, "[0, 1]"):
                call(t)


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_a_rounding_beyond_an_end_is_that_end(end):
    """0.7 + 0.2 + 0.1 in float32, and what is near it; and a whole number."""
    off = float(torch.tensor(1.0) + torch.finfo(torch.float32).eps) - 1
    for process in (cosine_diffusion(), ddpm(), blurring_diffusion(8)):
        for t in (end + off, end - off, torch.tensor(end + off), torch.tensor([int(end)]), int(end)):
            assert torch.equal(process.alpha(t).double(), process.alpha(end)) or 0 < float(t) < 1
            assert process.sigma(t).isfinite().all()


def test_times_that_are_nearly_right_are_shown_with_all_digits():
    for t in (1.00001, -0.00001, 1.0000123456789):
        with says(f"t was {t!r}; expected times in [0, 1]"):
            cosine_diffusion().alpha(t)
    with says("t was 0.5000012; ddpm is tabulated"):
        ddpm(100_000).alpha(0.5000012)


def test_no_images_at_all():
    for call in (
        lambda: training.fit("photos-ddpm", torch.zeros(0, 1, 16, 16), profile="smoke"),
        lambda: training.fit("photos-ddpm", torch.zeros(0, 1, 16, 16, dtype=torch.uint8), profile="smoke"),
        lambda: pixels.subsample_evenly(torch.zeros(0, 1, 16, 16), 3),
    ):
        with says("images had shape (0, 1, 16, 16): there are none", "expected at least one"):
            call()


@pytest.mark.parametrize("predicts", [EPS, X0])
def test_a_denoiser_asks_for_times_that_exist(predicts):
    # Before the network is run, and whatever it predicts.
    def never(x, t):
        raise AssertionError("the network was asked")

    x = torch.zeros(2, 1, 8, 8)
    for process, t in ((cosine_diffusion(), 7.0), (cosine_diffusion(), NAN), (ddpm(), 0.50031)):
        with says("t was", f"{t:g}"):
            Denoiser(never, process, predicts)(x, t)


@pytest.mark.parametrize(("t", "s"), [(0.5, 0.5), (0.4, 0.5), (torch.tensor([0.5, 0.2]), torch.tensor([0.4, 0.3]))])
def test_s_comes_before_t(t, s):
    process = cosine_diffusion()
    for call in (process.transition, process.coefficients, *(lambda t, s, r=r: r(process, t, s) for r in ALL_RULES)):
        with says("s was", "t was", "expected s < t"):
            call(t, s)


ALL_RULES = [*samplers.RULES.values()]


@pytest.mark.parametrize("process", [ddpm(), heat_dissipation(8), blur_diffusion(8)])
def test_off_grid_time(process):
    off = 0.5 + 0.3 / process.steps
    with says(process.name, f"t was {off:g}", f"i / {process.steps}", "process.times"):
        process.alpha(off)
    with says("tabulated"):
        process.mean(torch.zeros(2, 1, 8, 8), torch.tensor([0.5, off], dtype=torch.float64))


def test_t_has_one_axis():
    with says("(2, 1)", "one time per image"):
        cosine_diffusion().alpha(torch.full((2, 1), 0.5))


@pytest.mark.parametrize("count", [2, 4])
def test_as_many_times_as_images(count):
    x = torch.zeros(3, 1, 8, 8)
    t = torch.full((count,), 0.5)
    with says(f"{count}", "3", "one time per image"):
        Denoiser(lambda x, t: x, cosine_diffusion(), X0)(x, t)


@pytest.mark.parametrize("basis", [DCT(8), Haar(8), Separable(8)])
def test_wrong_image_size(basis):
    x = torch.zeros(2, 1, 8, 9)
    for call in (basis.forward, basis.inverse):
        with says(type(basis).__name__, "(8, 8)", "(2, 1, 8, 9)", "size=(8, 9)"):
            call(x)


def test_wrong_channels_for_colour():
    with says("3 channels", "(2, 1, 8, 8)"):
        Colour(3).forward(torch.zeros(2, 1, 8, 8))


def test_network_of_the_wrong_shape():
    # One channel would broadcast over three in silence.
    x = torch.randn(2, 3, 8, 8)
    for predicts in (EPS, X0):
        with says("(2, 1, 8, 8)", "(2, 3, 8, 8)"):
            Denoiser(lambda x, t: x[:, :1], cosine_diffusion(), predicts)(x, 0.5)


@pytest.mark.parametrize(
    "kernel", [gaussian_kernel(1.0, radius=1), (0.5, 0.0, 0.5), (0.0, 0.0, 0.0), (1 / 3, 1 / 3, 1 / 3)]
)
@pytest.mark.parametrize("boundary", ["zero", "symmetric"])
def test_kernel_without_fractional_powers(kernel, boundary):
    with says("eigenvalue", "size (8, 8)", "fractional power", "narrower kernel"):
        blur_diffusion(8, kernel=kernel, boundary=boundary)


@pytest.mark.parametrize("kernel", [(-0.1, 1.2, -0.1), (0.1, 2.0, 0.1)])
def test_kernel_that_does_not_blur(kernel):
    # Eigenvalues above 1 amplify: alpha would grow with t and Prop. 1 asks for noise of negative variance.
    with says("eigenvalue", "1"):
        blur_diffusion(8, kernel=kernel)


@pytest.mark.parametrize("times", [[0.0, 1.0], [1.0, 0.5, 0.5, 0.0], [1.0], [], torch.linspace(0, 1, 5)])
def test_times_must_descend(times):
    with says("times were", "strictly decreasing", "process.times(250)"):
        pairs(times)
    with says("times were"):
        next(sample(Denoiser(lambda x, t: x, cosine_diffusion()), torch.zeros(1, 1, 4, 4), times))


def test_times_must_not_be_nan():
    with says("nan"):
        next(sample(Denoiser(lambda x, t: x, cosine_diffusion()), torch.zeros(1, 1, 4, 4), [1.0, NAN, 0.0]))


def test_less_blurred_knows_one_step_only():
    x = torch.zeros(2, 1, 8, 8)
    answer = Denoiser(lambda x, t: x, heat_dissipation(8), LESS_BLURRED).estimate(x, 0.5)
    for s in (0.4, 0.0):
        with says("LESS_BLURRED", "t - 1/200", "process.times()", "ihdm"):
            step(answer, 0.5, s, ihdm(), x)
    with says("LESS_BLURRED", "asked for it at", "[0.5]"):  # TACoS needs D(x0_hat, t) too
        step(answer, 0.5, 0.495, tacos, x)
    with says("LESS_BLURRED", "tabulated", "cosine_diffusion"):
        Denoiser(lambda x, t: x, cosine_diffusion(), LESS_BLURRED).estimate(x, 0.5).mean(0.4)


@pytest.mark.parametrize("name", ["ancestral", "ddim", "momentum"])
def test_rules_that_need_noise(name):
    process = heat_dissipation(8, noise=0.0)
    with says(name, "sigma_t", "heat_dissipation", "tacos or naive"):
        rule(name)(process, 0.5, 0.4)


def test_momentum_needs_noise_that_grows():
    process = Process(Pixel(), lambda t: 1 - t, lambda t: 2 - t, name="shrinking")
    with says("momentum", "shrinking", "grows"):
        momentum(process, 0.5, 0.4)


def test_step_without_noise():
    x = torch.zeros(2, 1, 8, 8)
    answer = Denoiser(lambda x, t: x, cosine_diffusion()).estimate(x, 0.5)
    with says("noise was None", "white noise"):
        step(answer, 0.5, 0.4, ancestral)


def test_step_of_another_time():
    # An answer given at t = 0.8 says nothing about a step from 0.5.
    x = torch.zeros(2, 1, 8, 8)
    answer = Denoiser(lambda x, t: x, ddpm()).estimate(x, 0.8)
    with says("0.8", "0.5"):
        step(answer, 0.5, 0.4, ddim)
    with says("0.8", "0.5"):
        lee_euler(answer, 500)


def test_lee_euler():
    x = torch.zeros(2, 1, 8, 8)
    with says("lee_euler", "tabulated", "cosine_diffusion"):
        lee_euler(Denoiser(lambda x, t: x, cosine_diffusion()).estimate(x, 0.5), 5)
    answer = Denoiser(lambda x, t: x, ddpm()).estimate(x, 0.0)
    with says("[0, 1]"):
        lee_euler(answer, 0)


def test_data_in_another_basis():
    data = Gaussian(DCT(8), torch.ones(1, 1, 8, 8))
    for call in (data.denoiser, lambda p: data.marginal(p, 0.5), lambda p: data.sampler_error(p, [1, 0], ancestral)):
        with says("ddpm", "pixels", "basis=DCT"):
            call(ddpm())
        with says("blur_diffusion", "Separable", "measure the spectrum"):
            call(blur_diffusion(8))


def test_empty_trajectory():
    with says("empty"):
        samplers.last(iter(()))


def test_prior_without_images():
    with says("images", "empty"):
        priors.blurred_data(heat_dissipation(8), torch.zeros(0, 1, 8, 8), 0.1)(2, torch.Generator())


def test_blur_exponent_starts_at_1():
    for i in (0, 11):
        with says(f"{i}", "1..10"):
            blur_exponent(torch.tensor([i]), 10, 0.1)


def test_sizes_may_be_numpy_integers():
    assert DCT(np.int64(8)).freq2.shape == (1, 1, 8, 8)
