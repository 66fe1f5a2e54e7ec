"""The laboratory against a second calculation: every mode by itself, moments propagated as 2 x 2 matrices."""

from itertools import pairwise

import numpy as np
import pytest
from figures import control, freq2, process

from bdbook.page.widgets import LaboratorySlider

pytestmark = pytest.mark.browser

SIZE = 32
KEYS = ("process", "sigma_max", "d_min", "steps", "rule", "order")
EDGES = np.exp(np.linspace(np.log(np.pi / SIZE), np.log(np.pi * np.sqrt(2)), 17))
STEPS = sorted({int(np.floor(5 * 200 ** (i / 24) + 0.5)) for i in range(25)})


def rule(name, a, sigma_t, sigma_s):
    shrink = (sigma_s / sigma_t) ** 2
    return {
        "ancestral": (a * shrink, sigma_s * np.sqrt(1 - a**2 * shrink)),
        "ddim": (np.sqrt(shrink), 0),
        "naive": (0, 0),
        "tacos": (1, 0),
        "momentum": (shrink, np.sqrt(sigma_t**2 - sigma_s**2)),
        "ihdm": (0, 0.025),
    }[name]


def law(variance, values):
    """Sampled and true variance of every mode, (size, size)."""
    schedule = "sin" if values["process"] == "blurring_sin" else "sin2"
    blur = 0.0 if values["process"] == "cosine" else values["sigma_max"]
    times = np.arange(values["steps"], -1, -1) / values["steps"]
    schedules = [process(freq2(SIZE, SIZE), t, blur, values["d_min"], schedule)[:2] for t in times]
    logs = [np.log(alpha / sigma) for alpha, sigma in schedules]
    alpha, sigma = schedules[0]
    moments = np.zeros((SIZE, SIZE, 2, 2))
    moments[..., 0, 0] = alpha**2 * variance + sigma**2
    for i, ((alpha_t, sigma_t), (alpha_s, sigma_s)) in enumerate(pairwise(schedules)):
        carry, refresh = rule(values["rule"], alpha_t / alpha_s, sigma_t, sigma_s)
        gain = alpha_t * variance / (alpha_t**2 * variance + sigma_t**2)
        k = 0.0
        if values["order"] == 2 and i > 0:
            k = (logs[i + 1] - logs[i]) / (2 * (logs[i] - logs[i - 1]))
        step = np.zeros_like(moments)
        step[..., 0, 0] = (alpha_s - carry * alpha_t) * (1 + k) * gain + carry
        step[..., 0, 1] = -(alpha_s - carry * alpha_t) * k
        step[..., 1, 0] = gain
        moments = step @ moments @ step.swapaxes(-1, -2)
        moments[..., 0, 0] += refresh**2
    alpha, sigma = schedules[-1]
    return moments[..., 0, 0], alpha**2 * variance + sigma**2


def kl_of(sampled, true):
    with np.errstate(divide="ignore"):
        return (0.5 * (sampled / true - 1 - np.log(sampled / true))).sum()


def bands(values):
    """Mean of a plane in 16 logarithmic bands of radial frequency; the constant is in the first."""
    band = np.clip(np.searchsorted(EDGES * (1 - 1e-9), np.sqrt(freq2(SIZE, SIZE)), side="right") - 1, 0, 15)
    held = [b for b in range(16) if (band == b).any()]
    return np.sqrt(EDGES[:-1] * EDGES[1:])[held], np.array([values[band == b].mean() for b in held])


def shown_points(page, svg, path):
    """Points of a path through the ticks of its logarithmic axes, read from their labels' data."""
    return page.locator(f"{svg} path.{path}").evaluate(
        """path => { const svg = path.ownerSVGElement, log = Math.log10;
        const ends = (of, at) => [...svg.querySelectorAll(`[data-${of}]`)]
          .map(e => [log(+e.dataset[of]), +e.getAttribute(of) - at]).sort((p, q) => p[0] - q[0]);
        const invert = (list) => (px) => { const [a, b] = [list[0], list.at(-1)];
          return a[0] + (px - a[1]) / (b[1] - a[1]) * (b[0] - a[0]); };
        const x = invert(ends("x", 0)), y = invert(ends("y", 4));
        return path.getAttribute("d").split(/[ML]/).slice(1).map(p => p.split(" ").map(Number))
          .map(([px, py]) => [x(px), y(py)]); }"""
    )


def page_ticks(page, svg):
    return page.locator(f"{svg} [data-y]").evaluate_all("els => els.map(e => +e.dataset.y)")


def check_page(page, slider, **changed):
    values = {key: getattr(slider, key) for key in KEYS} | changed
    variance = np.reshape(slider.state()["_variance"], (SIZE, SIZE))
    sampled, true = law(variance, values)
    centres, ratios = bands(sampled / true)
    points = np.array(shown_points(page, ".bd-ratios", "bd-own"))
    np.testing.assert_allclose(points[:, 0], np.log10(centres), atol=2e-3)
    ends = page_ticks(page, ".bd-ratios")
    span = np.log10(max(ends) / min(ends))
    np.testing.assert_allclose(points[:, 1], np.log10(np.clip(ratios, min(ends), max(ends))), atol=1e-4 * span + 1e-9)

    words = page.locator(".bd-ratios").get_attribute("aria-label").split(": ")[1].split(". ")[0]
    np.testing.assert_allclose([float(word) for word in words.split(", ")], ratios, rtol=6e-3)
    told = page.locator(".bd-divergence").get_attribute("aria-label").split(": ")[1].split(" nats")[0]
    assert float(told) == pytest.approx(kl_of(sampled, true), rel=6e-3, abs=1e-12)

    page.wait_for_function("document.querySelector('.bd-divergence').dataset.complete === 'true'")
    points = np.array(shown_points(page, ".bd-divergence", "bd-own"))
    np.testing.assert_allclose(points[:, 0], np.log10(STEPS), atol=2e-3)
    for place in (0, 6, 13):
        expected = kl_of(*law(variance, values | {"steps": STEPS[place]}))
        if np.isfinite(expected):
            assert points[place, 1] == pytest.approx(np.log10(expected), abs=2e-3)
        else:  # a variance underflowed: the curve has left the plot
            assert points[place, 1] > np.log10(max(page_ticks(page, ".bd-divergence")))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"process": "cosine", "rule": "ddim", "order": 2, "steps": 40},
        {"process": "blurring_sin", "rule": "tacos", "sigma_max": 4.0, "d_min": 1e-2, "steps": 10},
        {"rule": "momentum", "order": 2},
        {"process": "cosine", "rule": "naive"},
        {"rule": "ihdm", "steps": 30},
    ],
    ids=str,
)
def test_what_is_drawn_is_what_the_moments_say(figure_page, values):
    slider = LaboratorySlider(**values)
    check_page(figure_page([slider]), slider)


def test_controls_and_keep(figure_page):
    slider = LaboratorySlider()
    page = figure_page([slider])
    page.get_by_role("button", name="Keep").click()
    first = page.locator(".bd-ratios path.bd-own").get_attribute("d")
    assert page.locator(".bd-ratios path.bd-reference").get_attribute("d") == first
    control(page, "process").select_option("cosine")
    control(page, "rule").select_option("ddim")
    control(page, "order").select_option("2")
    assert control(page, "sigma_max").is_disabled()
    check_page(page, slider, process="cosine", rule="ddim", order=2)
    assert "kept: blurring, sin²; ancestral; 100 steps" in page.locator(".bdbook-widget").inner_text()
    assert page.locator(".bd-ratios path.bd-reference").get_attribute("d") != ""
    page.get_by_role("button", name="Reset").click()
    check_page(page, slider)
    assert page.locator(".bd-ratios path.bd-reference").get_attribute("d") == ""
    assert page.errors == []


def test_a_spectrum_of_the_readers_own(figure_page):
    own = np.random.default_rng(0).uniform(0.1, 2, (1, 1, SIZE, SIZE))
    slider = LaboratorySlider(variance=own, steps=20)
    check_page(figure_page([slider]), slider)
