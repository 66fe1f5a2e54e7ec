"""The blur diffusion slider against scipy: kernel, eigenvectors and sums are made a second time here."""

import numpy as np
import pytest
import scipy.linalg
from figures import (
    SIZE,
    blur,
    check_own_picture,
    control,
    freq2,
    page_noise,
    photo_planes,
    process,
    shown_curve,
    shown_line,
    shown_picture,
)

from bdbook.page.widgets import BlurDiffusionSlider

pytestmark = pytest.mark.browser

MODES = [1, 2, 5, 12, 28, 63]
KEYS = ("f_type", "f_max", "steps", "kernel_sigma", "boundary", "t", "overlay", "sigma_max")
POWER = {"linear": 1, "quadratic": 2, "cubic": 3, "quartic": 4}


def kernel(sigma):
    radius = max(1, int(3 * sigma + 0.5))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return taps / taps.sum()


def eigenbasis(sigma, boundary):
    """Eigenvalues and orthonormal vectors (rows) of one axis: scipy's Toeplitz, or the DCT of mirrored borders."""
    taps = kernel(sigma)
    radius = len(taps) // 2
    if boundary == "symmetric":
        k = np.arange(SIZE)
        vectors = scipy.fft.dct(np.eye(SIZE), norm="ortho", axis=0)
        return sum(tap * np.cos(np.pi * k * j / SIZE) for j, tap in zip(range(-radius, radius + 1), taps)), vectors
    values, vectors = scipy.linalg.eigh(scipy.linalg.toeplitz(np.r_[taps[radius:], np.zeros(SIZE - radius - 1)]))
    return values[::-1], vectors.T[::-1]


def exponent_and_log_a(values):
    steps = values["steps"]
    i = np.arange(1, steps + 1)
    f = np.log(i) / np.log(steps) if values["f_type"] == "log" else (i / steps) ** POWER[values["f_type"]]
    beta = np.linspace(1e-4, 0.02, steps)
    return np.r_[0, np.cumsum(values["f_max"] * f)], np.r_[0, np.cumsum(np.log(1 - beta)) / 2]


def same_line(got, x, y, slack=2e-3):
    """Where the line lies inside the axes: y at x, up to what two decimals of a pixel hide."""
    steep = np.abs(np.gradient(y, x))
    assert (np.abs(got - y) < slack + 1e-4 * steep).all()


def check_page(page, slider, **changed):
    values = {key: getattr(slider, key) for key in KEYS} | changed
    total, log_a = exponent_and_log_a(values)
    steps, i = values["steps"], round(values["t"] * values["steps"])
    eigenvalues, vectors = eigenbasis(values["kernel_sigma"], values["boundary"])
    taps = kernel(values["kernel_sigma"])
    variance = (taps * (np.arange(len(taps)) - len(taps) // 2) ** 2).sum()

    for colour, k in enumerate(MODES):
        selector = f".bd-curves path.bd-f{colour}"
        x, y = shown_line(page, f"{selector}:not(.bd-dashed)", (0, 1), (-15, 5))
        at = np.round(x * steps).astype(int)
        assert (at[0], at[-1]) == (1, steps)
        log_alpha = log_a[at] + total[at] * 2 * np.log(eigenvalues[k])
        same_line(y, at / steps, (2 * log_alpha - np.log(-np.expm1(2 * log_alpha))) / np.log(10))
        if values["overlay"]:
            x, y = shown_line(page, f"{selector}.bd-dashed", (0, 1), (-15, 5))
            alpha, sigma, _ = process(freq2(SIZE, SIZE)[k, k], x, values["sigma_max"], 1e-3, "sin2")
            steep = np.abs(np.gradient(2 * np.log10(alpha / sigma), x))
            assert (np.abs(y - 2 * np.log10(alpha / sigma)) < 2e-3 + 1e-4 * steep).all()
    x, y = shown_curve(page, "bd-reference")
    at = np.round(x * steps).astype(int)
    same_line(y, at / steps, (2 * log_a[at] - np.log(-np.expm1(2 * log_a[at]))) / np.log(10))

    x, y = shown_line(page, ".bd-widths path.bd-own:not(.bd-dashed)", (0, 1), (-1, 2))
    at = np.round(x * steps).astype(int)
    same_line(y, at / steps, np.log10(np.maximum(np.sqrt(variance * total[at]), 1e-3)))
    words = page.locator(".bd-numbers").inner_text()
    assert f"{total[i]:.2f} of {total[-1]:.2f}" in words
    assert f"of {np.sqrt(variance * total[-1]):.2f} px" in words

    photo = photo_planes(slider)
    d = np.outer(eigenvalues, eigenvalues)
    coefficients = vectors @ photo @ vectors.T
    blurred = vectors.T @ (d ** total[i] * coefficients) @ vectors
    assert np.abs(shown_picture(page, "blurred") - np.clip((blurred + 1) * 127.5, 0, 255)).max() <= 0.51
    noise = page_noise(page, slider)
    alpha = np.exp(log_a[i]) * d ** total[i]
    noisy = vectors.T @ (alpha * coefficients + np.sqrt(1 - alpha**2) * (vectors @ noise @ vectors.T)) @ vectors
    assert np.abs(shown_picture(page, "noisy") - np.clip((noisy + 1) * 127.5, 0, 255)).max() <= 0.51
    if values["overlay"]:
        alpha, sigma, _ = process(freq2(SIZE, SIZE), i / steps, values["sigma_max"], 1e-3, "sin2")
        other = blur(photo, alpha) + sigma * noise
    else:
        other = np.exp(log_a[i]) * photo + np.sqrt(1 - np.exp(2 * log_a[i])) * noise
    assert np.abs(shown_picture(page, "other") - np.clip((other + 1) * 127.5, 0, 255)).max() <= 0.51


def test_a_picture_of_the_readers_own(figure_page):
    check_own_picture(figure_page, check_page, BlurDiffusionSlider, overlay=True, t=0.4)


def test_everything_drawn_follows_the_controls(figure_page):
    slider = BlurDiffusionSlider(t=0.8)
    page = figure_page([slider])
    check_page(page, slider)
    assert control(page, "sigma_max").is_disabled()
    control(page, "overlay").check()
    check_page(page, slider, overlay=True)
    control(page, "f_type").select_option("log")
    control(page, "f_max").fill("0.6")
    control(page, "sigma_max").fill("5")
    control(page, "t").fill("0.4")
    check_page(page, slider, overlay=True, f_type="log", f_max=0.6, sigma_max=5.0, t=0.4)
    control(page, "boundary").select_option("symmetric")
    control(page, "kernel_sigma").fill("0.65")
    control(page, "steps").select_option("250")
    changed = {"overlay": True, "f_type": "log", "f_max": 0.6, "sigma_max": 5.0, "t": 0.4}
    check_page(page, slider, boundary="symmetric", kernel_sigma=0.65, steps=250, **changed)
    control(page, "t").press("Home")
    check_page(page, slider, boundary="symmetric", kernel_sigma=0.65, steps=250, **changed | {"t": 0.0})
    page.get_by_role("button", name="Reset").click()
    check_page(page, slider)
    assert page.errors == []


@pytest.mark.parametrize(("f_type", "f_max", "end"), [("quartic", 0.14, "1.51"), ("log", 0.6, "6.44")])
def test_the_papers_schedules_end_where_the_book_says(figure_page, f_type, f_max, end):
    page = figure_page([BlurDiffusionSlider(f_type=f_type, f_max=f_max)])
    assert f"of {end} px" in page.locator(".bd-numbers").inner_text()


def test_a_kernel_without_fractional_powers_is_put_in_words(figure_page):
    slider = BlurDiffusionSlider(kernel_sigma=3.0)
    assert eigenbasis(3.0, "zero")[0].min() < 0
    page = figure_page([slider])
    assert "not a real number" in page.locator(".bd-numbers").inner_text()
    assert set(page.locator(".bd-curves path.bd-line:not(.bd-reference)").evaluate_all(
        "els => els.map((e) => e.getAttribute('d'))")) == {""}  # fmt: skip
    assert np.ptp(shown_picture(page, "blurred")) == 0
    control(page, "kernel_sigma").fill("0.4")
    check_page(page, slider, kernel_sigma=0.4)
    assert page.errors == []
