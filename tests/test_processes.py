"""The six processes against explicit formulas, dense matrices and scipy, and the laws that all of them obey."""

import functools
import itertools

import numpy as np
import pytest
import scipy.fft
import torch
from dimensions import KINDS, sizes, unit_images
from hypothesis import given
from hypothesis import strategies as st
from reference import dct, idct, lam
from scipy import ndimage
from scipy.special import expit

from bdbook import processes
from bdbook.processes import (
    EqualSNR,
    Process,
    blur_diffusion,
    blurring_diffusion,
    cosine_diffusion,
    ddpm,
    heat_dissipation,
    heat_flow,
    rectified_flow,
    soft_diffusion,
)
from bdbook.schedules import blur_exponent
from bdbook.transforms import DCT, Circle, Colour, Haar, Pixel, lengths

UNIT = st.floats(0, 1)
NAMES = sorted([*processes.PROCESSES, "blur_diffusion_symmetric", "blur_diffusion_log", "blurring_sin", "equal_snr"])
BETA = 1e-4 + (0.02 - 1e-4) * np.arange(1000) / 999
FLOAT32 = 5e-6


@functools.cache
def make(name, size=(6, 5)):
    return {
        "ddpm": lambda: ddpm(basis=Pixel(len(size))),
        "cosine_diffusion": lambda: cosine_diffusion(Pixel(len(size))),
        "heat_dissipation": lambda: heat_dissipation(size),
        "blurring_diffusion": lambda: blurring_diffusion(size),
        "blurring_sin": lambda: blurring_diffusion(size, sigma_max=5.0, d_min=0.01, blur="sin"),
        "blur_diffusion": lambda: blur_diffusion(size),
        "blur_diffusion_symmetric": lambda: blur_diffusion(size, boundary="symmetric"),
        "blur_diffusion_log": lambda: blur_diffusion(size, f_max=0.6, f_type="log"),
        "soft_diffusion": lambda: soft_diffusion(size),
        "rectified_flow": lambda: rectified_flow(Pixel(len(size))),
        "heat_flow": lambda: heat_flow(size),
        "equal_snr": lambda: EqualSNR(DCT(size), 1 / (0.1 + DCT(size).freq2), kappa=0.5),
    }[name]()


def on_grid(process, t):
    return t if process.steps is None else round(t * process.steps) / process.steps


def image(size=(6, 5), seed=0, count=2, channels=2):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, channels, *lengths(size))))


# --- each system against its formula -------------------------------------------------------------------------


@pytest.mark.parametrize("i", [0, 1, 2, 500, 1000])
def test_ddpm_is_the_running_product(i):
    a_bar = np.prod(1 - BETA[:i])
    process = ddpm()
    np.testing.assert_allclose(process.alpha(i / 1000).item(), np.sqrt(a_bar), rtol=1e-12)
    np.testing.assert_allclose(process.sigma(i / 1000).item(), np.sqrt(1 - a_bar), rtol=1e-10)


@pytest.mark.parametrize("t", [0.0, 0.25, 0.7, 1.0])
def test_blurring_diffusion_is_hs_appendix_a1(t):
    size = (6, 5)
    low, high = np.arctan(np.exp(-5)), np.arctan(np.exp(5))
    logsnr = -2 * np.log(np.tan(low + t * (high - low)))
    for blur, shape in (("sin2", np.sin(t * np.pi / 2) ** 2), ("sin", np.sin(t * np.pi / 2))):
        d = (1 - 1e-3) * np.exp(-lam(size) * (20 * shape) ** 2 / 2) + 1e-3
        process = blurring_diffusion(size, blur=blur)
        np.testing.assert_allclose(process.alpha(t)[0, 0].numpy(), np.sqrt(expit(logsnr)) * d, rtol=1e-12)
        np.testing.assert_allclose(process.sigma(t).item(), np.sqrt(expit(-logsnr)), rtol=1e-12)
    np.testing.assert_allclose(cosine_diffusion().alpha(t).item(), np.sqrt(expit(logsnr)), rtol=1e-12)
    assert process.sigma(t).shape == (1, 1, 1, 1)  # a scalar, which commutes with V


def test_blurring_diffusion_without_blur_is_cosine_diffusion():
    t = torch.linspace(0, 1, 11)
    plain, blurless = cosine_diffusion(), blurring_diffusion(4, sigma_max=0.0)
    torch.testing.assert_close(blurless.alpha(t), plain.alpha(t).expand(-1, 1, 4, 4), rtol=1e-14, atol=0)
    torch.testing.assert_close(blurless.sigma(t), plain.sigma(t), rtol=0, atol=0)


def test_log_snr_of_the_cosine_runs_from_10_to_minus_10():
    ends = cosine_diffusion().snr(torch.tensor([0.0, 1.0])).log().flatten()
    np.testing.assert_allclose(ends.numpy(), [10, -10], atol=1e-10)


def ihdm_widths(steps=200, low=0.5, high=20.0):
    return np.array([0.0, *np.exp(np.linspace(np.log(low), np.log(high), steps))])


@pytest.mark.parametrize("k", [0, 1, 37, 200])
def test_heat_dissipation_is_a_gaussian_in_frequency(k):
    size, x = (12, 9), image((12, 9))
    process = heat_dissipation(size)
    tau = ihdm_widths()[k] ** 2 / 2
    expected = idct(np.exp(-lam(size) * tau) * dct(x.numpy()))
    np.testing.assert_allclose(process.mean(x, k / 200).numpy(), expected, rtol=0, atol=1e-12)
    assert process.sigma(k / 200).item() == 0.02


def test_heat_dissipation_is_scipys_gaussian_filter():
    # A sampled Gaussian of width sigma is not exactly exp(-lambda sigma^2 / 2): sampling folds frequencies
    # above pi back, at most 2 exp(-pi^2 sigma^2 / 2) (at omega = pi), and 8 sigma of taps cut off less. A filter
    # is applied along each axis, and |x| is the 2-norm.
    x, process = image((24, 17), channels=1), heat_dissipation((24, 17))
    widths = ihdm_widths()
    for k in (60, 80, 100, 140):
        sigma = widths[k]
        assert 1.4 < sigma < 8
        blurred = ndimage.gaussian_filter(x.numpy(), sigma, axes=(-2, -1), mode="reflect", truncate=8)
        bound = 2 * 2 * np.exp(-((np.pi * sigma) ** 2) / 2) * np.linalg.norm(x.numpy()) + 1e-10
        np.testing.assert_allclose(process.mean(x, k / 200).numpy(), blurred, rtol=0, atol=bound)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_soft_diffusion_is_its_formula(t):
    process = soft_diffusion((4, 6), sigma_max=3.0, noise_min=0.01, noise_max=2.0)
    tau = (3 * np.sin(np.pi * t / 2) ** 2) ** 2 / 2
    np.testing.assert_allclose(process.alpha(t)[0, 0].numpy(), np.exp(-lam((4, 6)) * tau), rtol=1e-12)
    np.testing.assert_allclose(process.sigma(t).item(), 0.01 ** (1 - t) * 2.0**t, rtol=1e-12)


def wave_numbers(axis):
    """Angular frequencies along an axis: of the DCT with ends, of the FFT around."""
    n = axis.length if isinstance(axis, Circle) else axis
    return 2 * np.pi * np.fft.fftfreq(n) if isinstance(axis, Circle) else np.pi * np.arange(n) / n


@pytest.mark.parametrize("size", [(16,), (Circle(15),), (Circle(6), Circle(8)), (5, Circle(8)), (4, 3, Circle(6))])
@pytest.mark.parametrize("k", [40, 120])
def test_heat_spreads_around_circles_by_the_fft(size, k):
    """Along axes with ends by scipy's DCT, around the others by numpy's FFT: e^(-(the sum of omega^2) tau)."""
    x = image(size)
    ends = [place for place, axis in enumerate(size, 2) if not isinstance(axis, Circle)]
    around = [place for place, axis in enumerate(size, 2) if isinstance(axis, Circle)]
    u = scipy.fft.dctn(x.numpy(), norm="ortho", axes=ends)
    decay = np.exp(-sum(w**2 for w in np.meshgrid(*map(wave_numbers, size), indexing="ij")) * ihdm_widths()[k] ** 2 / 2)
    u = np.fft.ifftn(decay * np.fft.fftn(u, axes=around), axes=around).real
    expected = scipy.fft.idctn(u, norm="ortho", axes=ends)
    np.testing.assert_allclose(heat_dissipation(size).mean(x, k / 200).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(64,), (Circle(64),), (24, Circle(40)), (16, 20, Circle(18))])
def test_wide_heat_is_scipys_gaussian_filter_along_every_axis(size):
    """Of 1.6 px, where sampling a Gaussian folds back next to nothing: the bound is that of the pictures' test."""
    x, k = image(size, channels=1), 63
    sigma = ihdm_widths()[k]
    assert sigma > 1.4
    modes = ["wrap" if isinstance(axis, Circle) else "reflect" for axis in size]
    blurred = ndimage.gaussian_filter(x.numpy(), sigma, axes=range(2, 2 + len(size)), mode=modes, truncate=8)
    bound = 2 * len(size) * np.exp(-((np.pi * sigma) ** 2) / 2) * np.linalg.norm(x.numpy()) + 1e-10
    np.testing.assert_allclose(heat_dissipation(size).mean(x, k / 200).numpy(), blurred, rtol=0, atol=bound)


@given(sizes, UNIT)
def test_blur_of_a_product_is_the_product_of_the_blurs(size, t):
    letters = "ijk"[: len(size)]
    outer = f"{','.join(letters)}->{letters}"
    along = [image((axis,), seed, count=1, channels=1) for seed, axis in enumerate(size)]

    def blurred(axes, x):
        return heat_dissipation(axes).mean(x, on_grid(heat_dissipation(axes), t))[0, 0].numpy()

    whole = torch.from_numpy(np.einsum(outer, *(x[0, 0].numpy() for x in along)))[None, None]
    expected = np.einsum(outer, *(blurred((axis,), x) for axis, x in zip(size, along)))
    np.testing.assert_allclose(blurred(size, whole), expected, rtol=0, atol=1e-12)


# --- Lee's process against dense matrices on flattened images ------------------------------------------------

TAPS = np.exp(-0.5 * (np.arange(-1, 2) / 0.4) ** 2)
TAPS /= TAPS.sum()


def dense_w(size, boundary):
    """W on a flattened image, column by column: scipy convolves every unit image."""
    h, w = size
    mode = {"zero": "constant", "symmetric": "reflect"}[boundary]
    out = np.eye(h * w).reshape(-1, h, w)
    for axis in (-2, -1):
        out = ndimage.correlate1d(out, TAPS, axis=axis, mode=mode)
    return out.reshape(h * w, h * w).T


def matrix_power(w, f):
    values, vectors = np.linalg.eigh((w + w.T) / 2)
    return (vectors * values**f) @ vectors.T


@pytest.mark.parametrize("boundary", ["zero", "symmetric"])
@pytest.mark.parametrize("f_type", ["quartic", "log", "linear", "quadratic", "cubic"])
def test_blur_diffusion_is_the_product_of_dense_steps(boundary, f_type):
    size, steps, f_max = (5, 4), 30, 0.6
    process = blur_diffusion(size, f_max=f_max, f_type=f_type, steps=steps, boundary=boundary)
    betas = 1e-4 + (0.02 - 1e-4) * np.arange(steps) / (steps - 1)
    w, x = dense_w(size, boundary), image(size)
    mean, cov = np.eye(20), np.zeros((20, 20))
    for i in range(1, steps + 1):
        power = {"linear": 1, "quadratic": 2, "cubic": 3, "quartic": 4}.get(f_type)
        f = f_max * (np.log(i) / np.log(steps) if f_type == "log" else (i / steps) ** power)
        step = np.sqrt(1 - betas[i - 1]) * matrix_power(w, f)
        mean = step @ mean
        cov = step @ cov @ step.T + np.eye(20) - step @ step.T  # unit variance kept: Lee Prop. 1
        ours = process.mean(x, i / steps).numpy()
        np.testing.assert_allclose(ours, (x.numpy().reshape(-1, 20) @ mean.T).reshape(x.shape), rtol=0, atol=1e-10)
        spread = process.sigma(i / steps)
        units = torch.eye(20, dtype=torch.float64).reshape(20, 1, *size)
        ours = process.basis.inverse(spread**2 * process.basis.forward(units)).reshape(20, 20).numpy()
        np.testing.assert_allclose(ours, cov, rtol=0, atol=1e-10)


def test_fine_to_coarse_has_i_minus_d_for_d():
    """Lee app. B, step by step with dense matrices."""
    size, steps = (5, 4), 6
    process = blur_diffusion(size, f_max=0.3, f_type="linear", steps=steps, order="fine_to_coarse")
    kept = 1 - process.basis.eigenvalues[0, 0].numpy()
    a = np.ones(size)
    for i in range(1, steps + 1):
        a = a * kept ** (0.3 * i / steps)
    noise = ddpm(steps).alpha(1.0).item()
    np.testing.assert_allclose(process.alpha(1.0)[0, 0].numpy(), noise * a, rtol=1e-10)
    alpha = process.alpha(1.0)[0, 0]
    assert alpha[0, 0] < alpha[-1, -1], "the coarsest goes first"
    with pytest.raises(ValueError, match="unknown order 'fine'"):
        blur_diffusion(size, order="fine")


def test_blur_diffusion_with_f_1_is_one_scipy_filter():
    x = image((7, 6))
    process = blur_diffusion((7, 6), f_max=1.0, f_type="linear", steps=1, boundary="symmetric")
    blurred = ndimage.correlate1d(ndimage.correlate1d(x.numpy(), TAPS, axis=-2, mode="reflect"), TAPS, mode="reflect")
    np.testing.assert_allclose(process.mean(x, 1.0).numpy(), np.sqrt(1 - 1e-4) * blurred, rtol=0, atol=1e-12)


def test_blur_diffusion_without_blur_is_ddpm():
    t = torch.tensor([0.0, 0.001, 0.5, 1.0])
    ours = blur_diffusion(4, f_max=0.0)
    torch.testing.assert_close(ours.alpha(t), ddpm().alpha(t).expand(-1, 1, 4, 4), rtol=1e-12, atol=0)
    torch.testing.assert_close(ours.sigma(t), ddpm().sigma(t).expand(-1, 1, 4, 4), rtol=1e-12, atol=0)


def test_total_blur_is_the_sum_of_f():
    i = torch.arange(1, 1001)
    assert blur_exponent(i, 1000, 0.14, "quartic").sum().item() == pytest.approx(28.07, abs=5e-3)
    assert blur_exponent(i, 1000, 0.6, "log").sum().item() == pytest.approx(513.5, abs=5e-2)
    # 28.07 passes of a filter of variance sum(k^2 taps) spread as far as a Gaussian 1.5 px wide.
    variance = float((np.arange(-1, 2) ** 2 * TAPS).sum())
    assert np.sqrt(28.07 * variance) == pytest.approx(1.5, abs=0.05)


# --- four of Bansal's degradations are the same Process with sigma = 0 ---------------------------------------


def no_noise(t):
    return torch.zeros_like(t)


def test_pixelation_is_a_process():
    x, wavelets = image((8, 8)), Haar(8)
    line = Haar((8, 1)).freq2[0, 0, :, 0].sqrt()  # 2 pi / width of each wavelet
    wide = (line < 2 * np.pi / 4 - 1e-9).double()
    details = 1 - wide[:, None] * wide[None, :]
    process = Process(wavelets, lambda t: 1 - t * details, no_noise, name="pixelate")
    blocks = x.reshape(2, 2, 2, 4, 2, 4).mean((3, 5)).repeat_interleave(4, -1).repeat_interleave(4, -2)
    torch.testing.assert_close(process.mean(x, 1.0), blocks, rtol=0, atol=1e-12)
    torch.testing.assert_close(process.mean(x, 0.25), 0.75 * x + 0.25 * blocks, rtol=0, atol=1e-12)


def test_desaturation_is_a_process():
    x = image((8, 8), channels=3)
    chroma = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    process = Process(Colour(3), lambda t: 1 - t * chroma, no_noise, name="desaturate")
    expected = 0.6 * x + 0.4 * x.mean(1, keepdim=True)
    torch.testing.assert_close(process.mean(x, torch.tensor([0.4, 0.4]).double()), expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(process.sample(x, 0.4, torch.randn_like(x)), expected, rtol=0, atol=1e-12)


# --- what a Process does -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_sample_is_signal_plus_noise_in_the_basis(name, size):
    process, whole = make(name, size), (1, 1, *lengths(size))
    x, noise = image(size), image(size, seed=1)
    t = torch.tensor([0.5, 0.9], dtype=torch.float64)
    z = process.sample(x, t, noise)
    assert z.shape == x.shape
    v = process.basis.forward(unit_images(size)).reshape(30, 30).T.numpy()  # V', dense
    for k in range(2):
        alpha = process.alpha(t[k]).expand(whole).reshape(30).numpy()
        sigma = process.sigma(t[k]).expand(whole).reshape(30).numpy()
        for c in range(2):
            u = alpha * (v @ x[k, c].reshape(30).numpy()) + sigma * (v @ noise[k, c].reshape(30).numpy())
            np.testing.assert_allclose(z[k, c].reshape(30).numpy(), v.T @ u, rtol=0, atol=1e-12)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_close_to_float64_with_and_without_autocast(name, autocast):
    process, x, noise = make(name), image(), image(seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        z = process.sample(x.float(), 0.5, noise.float())
        mean = process.mean(x.float(), 0.5)
    assert z.dtype == mean.dtype == torch.float32
    torch.testing.assert_close(z.double(), process.sample(x, 0.5, noise), rtol=0, atol=FLOAT32)
    torch.testing.assert_close(mean.double(), process.mean(x, 0.5), rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("name", ["cosine_diffusion", "blurring_diffusion"])
def test_coarse_image_types_are_lifted_in_every_basis(name, dtype):
    x = (100 * torch.rand(2, 1, 6, 5)).to(dtype)
    ours = make(name).mean(x, 0.5)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, make(name).mean(x.double(), 0.5).float(), rtol=1e-5, atol=1e-4)


@given(st.sampled_from(NAMES), sizes, UNIT, UNIT)
def test_snr_never_rises(name, size, a, b):
    process = make(name, size)
    s, t = sorted(on_grid(process, v) for v in (a, b))
    early, late = process.snr(s), process.snr(t)
    assert not late.isnan().any()
    assert not early.isnan().any()
    assert (late <= early * (1 + 1e-12)).all()  # 1e-12: rounding of two nearly equal numbers


@given(st.sampled_from(NAMES), sizes, UNIT, UNIT)
def test_transition_variance_is_not_negative(name, size, a, b):
    process = make(name, size)
    s, t = sorted(on_grid(process, v) for v in (a, b))
    if s < t:
        shrink, variance = process.transition(t, s)
        # sigma_t^2 - a^2 sigma_s^2 is a difference of numbers up to sigma_t^2: a few roundings of that size.
        assert (variance >= -8 * np.finfo(float).eps * process.sigma(t) ** 2).all()
        assert (shrink <= 1 + 1e-12).all()
        assert (shrink >= 0).all()


@given(st.sampled_from(NAMES), sizes, UNIT, UNIT, UNIT)
def test_chapman_kolmogorov(name, size, a, b, c):
    process = make(name, size)
    r, s, t = sorted(on_grid(process, v) for v in (a, b, c))
    if r < s < t:
        shrink, variance = process.transition(t, r)
        first, first_variance = process.transition(s, r)
        then, then_variance = process.transition(t, s)
        torch.testing.assert_close(then * first, shrink, rtol=1e-12, atol=1e-300)
        total = then**2 * first_variance + then_variance
        torch.testing.assert_close(total, variance, rtol=0, atol=1e-14)


@given(st.sampled_from(NAMES), st.sampled_from(KINDS), UNIT)
def test_marginal_is_the_transition_from_data(name, size, a):
    # q(u_t | x) must be q(u_t | u_s) averaged over q(u_s | x).
    process = make(name, size)
    for s, t in itertools.pairwise(sorted({on_grid(process, v) for v in (0.0, a, 1.0)})):
        shrink, variance = process.transition(t, s)
        torch.testing.assert_close(shrink * process.alpha(s), process.alpha(t).expand_as(shrink), rtol=1e-12, atol=0)
        total = shrink**2 * process.sigma(s) ** 2 + variance
        torch.testing.assert_close(total, (process.sigma(t) ** 2).expand_as(total), rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_times_vector_is_each_time(name, size):
    process = make(name, size)
    t = torch.tensor([0.0, 0.5, 1.0])
    for schedule in (process.alpha, process.sigma):
        whole = schedule(t)
        assert whole.dtype == torch.float64
        assert whole.ndim == 2 + len(size)
        for k in range(3):
            torch.testing.assert_close(whole[k : k + 1].expand(1, *whole.shape[1:]), schedule(float(t[k])))


@given(st.integers(1, 1000))
def test_every_grid_of_a_tabulated_process_descends_on_the_table(steps):
    process = ddpm()
    times = process.times(steps)
    assert times[0] == 1
    assert times[-1] == 0
    assert len(times) == steps + 1
    assert (times.diff() < 0).all()
    process.alpha(times)  # every one exists


def test_default_grids():
    assert len(ddpm().times()) == len(cosine_diffusion().times()) == 1001
    assert len(heat_dissipation(8).times()) == 201
    torch.testing.assert_close(cosine_diffusion().times(4), torch.tensor([1, 0.75, 0.5, 0.25, 0]).double())


def test_float32_times_are_on_the_grid():
    process = ddpm()
    t = torch.arange(1001, dtype=torch.float32) / 1000
    torch.testing.assert_close(process.alpha(t), process.alpha(t.double()), rtol=0, atol=0)


def test_heat_dissipation_in_one_step_reaches_its_width():
    ours = heat_dissipation((4, 4), sigma_max=3.0, steps=1).alpha(1.0)[0, 0].numpy()
    np.testing.assert_allclose(ours, np.exp(-lam((4, 4)) * 4.5), rtol=1e-12)


@pytest.mark.parametrize("factory", [ddpm, lambda: blur_diffusion((5, 13)), lambda: blurring_diffusion((5, 13))])
def test_made_in_inference_mode_a_process_still_trains(factory):
    with torch.inference_mode():
        process = factory()
        process.mean(torch.zeros(1, 1, 5, 13), 0.5)
    x = torch.randn(1, 1, 5, 13, requires_grad=True)
    process.sample(x, 0.5, torch.randn(1, 1, 5, 13)).square().sum().backward()
    assert x.grad is not None


def test_ddpm_and_cosine_in_another_basis():
    for factory in (ddpm, cosine_diffusion):
        assert factory().basis == Pixel()
        moved = factory(basis=DCT(6))
        x, noise = image((6, 6)), image((6, 6), seed=1)
        torch.testing.assert_close(moved.sample(x, 0.5, noise), factory().sample(x, 0.5, noise), rtol=0, atol=1e-12)


def test_process_by_name():
    assert processes.process("blurring_diffusion", 8, sigma_max=3.0).name == "blurring_diffusion"
    for name in processes.PROCESSES:
        size = [] if name in ("ddpm", "cosine_diffusion", "rectified_flow") else [4]
        assert processes.process(name, *size).name == name


@pytest.mark.parametrize("name", NAMES)
def test_images_of_other_axes_are_refused(name):
    """A process of series is none of pictures: nothing is broadcast in silence."""
    for made, other in (((6, 5), (5,)), ((5,), (6, 5)), ((3, 2, 5), (2, 5)), ((2, 5), (3, 2, 5))):
        with pytest.raises(ValueError, match=r"expected \(B, C, |is for images \(B, C, "):
            make(name, made).sample(image(other), 0.5, image(other))


def test_equal_snr_is_of_the_axes_of_its_basis():
    for size in KINDS:
        variance = 1 / (0.1 + DCT(size).freq2)
        for given_as in (variance, variance[0], EqualSNR(DCT(size), variance).variance):
            process = EqualSNR(DCT(size), given_as)
            torch.testing.assert_close(process.sigma(1.0) ** 2 + process.alpha(1.0) ** 2 * variance, variance)
            assert eval(repr(process), {"EqualSNR": EqualSNR, "DCT": DCT, "Circle": Circle}) == process
    with pytest.raises(ValueError, match=r"variance had shape \(1, 30, 1, 1\); expected \(C, L\) or \(1, C, L\)"):
        EqualSNR(DCT((30,)), torch.ones(1, 30, 1, 1))
