"""The carry slider against a second calculation, from the line u_s = degrade + carry + refresh itself."""

import re

import numpy as np
import pytest
from figures import (
    SIZE,
    check_own_picture,
    control,
    freq2,
    page_noise,
    photo_planes,
    process,
    shown_line,
    shown_picture,
)
from scipy.fft import dctn, idctn

from bdbook.page.widgets import CarrySlider

pytestmark = pytest.mark.browser

KEYS = ("rho", "process", "sigma_max", "d_min", "t", "steps", "mode")


def schedules(values, lam, t):
    schedule = "sin" if values["process"] == "blurring_sin" else "sin2"
    return process(lam, t, 0.0 if values["process"] == "cosine" else values["sigma_max"], values["d_min"], schedule)[:2]


def ratio(values, lam, variance, rho):
    """Sampled over true variance after all steps; rho None for the ancestral rule."""
    times = np.arange(values["steps"], -1, -1) / values["steps"]
    alpha_t, sigma_t = schedules(values, lam, times[0])
    u = alpha_t**2 * variance + sigma_t**2
    for s in times[1:]:
        alpha_s, sigma_s = schedules(values, lam, s)
        carry = alpha_t / alpha_s * (sigma_s / sigma_t) ** 2 if rho is None else rho * sigma_s / sigma_t
        gain = alpha_t * variance / (alpha_t**2 * variance + sigma_t**2)
        u = (alpha_s * gain + carry * (1 - alpha_t * gain)) ** 2 * u + sigma_s**2 - carry**2 * sigma_t**2
        alpha_t, sigma_t = alpha_s, sigma_s
    return u / (alpha_t**2 * variance + sigma_t**2)


def numbers(page, svg, split):
    return [float(v) for v in re.findall(r"-?\d+\.\d+", page.locator(svg).get_attribute("aria-label").split(split)[1])]


def check_page(page, slider, **changed):
    values = {key: getattr(slider, key) for key in KEYS} | changed
    lam, variance = freq2(SIZE, SIZE), np.reshape(slider.state()["_variance"], (SIZE, SIZE))
    t, k = values["t"], values["mode"]
    s = max(t - 1 / values["steps"], 0)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedules(values, lam, t), schedules(values, lam, s)
    carry = values["rho"] * sigma_s / sigma_t
    refresh = np.sqrt(max(sigma_s**2 - carry**2 * sigma_t**2, 0))

    words = page.locator(".bd-numbers b").all_inner_texts()
    np.testing.assert_allclose([float(word) for word in words], [carry, refresh, sigma_s**2], atol=6e-4)
    a = (alpha_t / alpha_s)[k, k]
    shrink = (sigma_s / sigma_t) ** 2
    expected = [
        (a * shrink, sigma_s * np.sqrt(1 - a**2 * shrink)),
        (sigma_s / sigma_t, 0),
        (0, 0),
        (1, 0),
        (shrink, np.sqrt(sigma_t**2 - sigma_s**2)),
        (0, 0.025),
    ]
    np.testing.assert_allclose(numbers(page, ".bd-choices", "of the rules: "), np.ravel(expected), atol=6e-4)
    x, y = shown_line(page, ".bd-choices path.bd-own", (0, 1), (0, 1))
    np.testing.assert_allclose((x * sigma_t) ** 2 + y**2, sigma_s**2, atol=1e-3)

    # The terms are linear in (u_t, n): their covariance is mix diag(var u_t, 1) mix'.
    gain = (alpha_t * variance / (alpha_t**2 * variance + sigma_t**2))[k, k]
    mix = np.array([[alpha_s[k, k] * gain, 0], [carry * (1 - alpha_t[k, k] * gain), 0], [0, refresh]])
    covariance = mix @ np.diag([alpha_t[k, k] ** 2 * variance[k, k] + sigma_t**2, 1.0]) @ mix.T
    true = alpha_s[k, k] ** 2 * variance[k, k] + sigma_s**2
    parts = np.array([covariance[0, 0], covariance[1, 1], 2 * covariance[0, 1], covariance[2, 2]]) / true
    np.testing.assert_allclose(numbers(page, ".bd-bars", "one step: ")[:4], parts, atol=6e-4)
    shape = page.locator(".bd-bars rect").evaluate_all(
        "els => els.map(e => [+e.getAttribute('x'), +e.getAttribute('width')])"
    )
    starts, widths = np.array(shape).T
    np.testing.assert_allclose(widths[:4] / widths[4], parts, atol=1e-6)
    np.testing.assert_allclose((starts[:4] - starts[4]) / widths[4], np.r_[0, np.cumsum(parts)[:3]], atol=1e-6)
    assert f"{parts.sum():.3f} of the true one" in page.locator(".bd-across").inner_text()

    modes = sorted({int(np.floor((SIZE - 1) ** (i / 19) + 0.5)) for i in range(20)})
    ends = np.log10(page.locator(".bd-ratios [data-y]").evaluate_all("els => els.map(e => +e.dataset.y)"))
    for path, rho in (("bd-own", values["rho"]), ("bd-reference", None)):
        _, y = shown_line(page, f".bd-ratios path.{path}", (0, 1), (min(ends), max(ends)))
        drawn = np.clip(np.log10(ratio(values, lam, variance, rho)[modes, modes]), min(ends), max(ends))
        np.testing.assert_allclose(y, drawn, atol=1e-4 * np.ptp(ends))

    photo = dctn(photo_planes(slider), axes=(1, 2), norm="ortho")
    noise = page_noise(page, slider, (1, 2, 3, 11, 12, 13)).reshape(2, *photo.shape)
    u_t = alpha_t * photo + sigma_t * noise[0]
    guess = alpha_t * variance / (alpha_t**2 * variance + sigma_t**2) * u_t
    u_s = alpha_s * guess + carry * (u_t - alpha_t * guess) + refresh * noise[1]
    for name, u in (("noisy", u_t), ("guess", guess), ("next", u_s)):
        expected = np.clip((idctn(u, axes=(1, 2), norm="ortho") + 1) * 127.5, 0, 255)
        assert np.abs(shown_picture(page, name) - expected).max() <= 0.51, name


def test_a_picture_of_the_readers_own(figure_page):
    check_own_picture(figure_page, check_page, CarrySlider)


def test_everything_drawn_follows_the_controls(figure_page):
    slider = CarrySlider()
    page = figure_page([slider])
    check_page(page, slider)
    control(page, "rho").fill("0.25")
    control(page, "t").fill("0.8")
    control(page, "mode").fill("40")
    check_page(page, slider, rho=0.25, t=0.8, mode=40)
    control(page, "process").select_option("blurring_sin2")
    control(page, "steps").press("Home")
    control(page, "rho").press("End")
    check_page(page, slider, rho=1.0, t=0.8, mode=40, process="blurring_sin2", steps=10)
    page.get_by_role("button", name="Reset").click()
    check_page(page, slider)
    assert page.errors == []


@pytest.mark.parametrize(
    "values", [{"t": 0.02, "steps": 10}, {"process": "blurring_sin", "sigma_max": 3.0, "rho": 0.0}]
)
def test_the_ends_of_the_ranges(figure_page, values):
    slider = CarrySlider(**values)
    check_page(figure_page([slider]), slider)
