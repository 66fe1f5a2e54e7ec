"""The figure of the clocks against the exact laboratory of the library, and against its own law by hand."""

import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from figures import control, freq2, photo_planes

from bdbook import data, oracle, processes
from bdbook.page.widgets import ClocksSlider
from bdbook.transforms import DCT

pytestmark = pytest.mark.browser

SIZE = 16
BASIS = DCT(SIZE)
LAW = oracle.Gaussian(BASIS, data.power_law_variance(SIZE))
MADE = {
    "ddpm": processes.ddpm(basis=BASIS),
    "cosine": processes.cosine_diffusion(BASIS),
    "blurring_5": processes.blurring_diffusion(SIZE, 5.0),
    "blurring_20": processes.blurring_diffusion(SIZE, 20.0),
    "heat": processes.heat_dissipation(SIZE),
    "soft": processes.soft_diffusion(SIZE),
}


def told(page, nth=0) -> list[float]:
    """KL of DDIM and of the posterior rule, and the floor, in nats."""
    words = page.locator("svg.bd-errors").nth(nth).get_attribute("aria-label").split("logarithmic:")[1]
    return [float(v) for v in re.findall(r"\d+(?:\.\d+)?(?:e[+-]\d+)?", words)][:3]


def by_hand(low, middle, high, steps) -> tuple[float, float]:
    """KL of both rules for clocks (pi / 2) t^p, by the products of cosines and the recursion of the variance."""
    roots = np.log(np.sqrt(freq2(SIZE, SIZE).ravel()[1:]))
    roots = np.concatenate([[roots.min()], roots])  # the mean is as the lowest
    place = (roots - roots.min()) / (roots.max() - roots.min())
    power = np.interp(place, [0, 0.5, 1], [low, middle, high])
    phi = np.pi / 2 * np.linspace(1, 0, steps + 1)[:, None] ** (2.0**-power)
    ddim = np.cos(np.diff(phi, axis=0)).prod(0) ** 2
    posterior = np.ones_like(power)
    for t, s in pairwise(phi):
        rho = np.tan(s) / np.tan(t)
        a = np.cos(s) * np.cos(t) + rho * np.sin(s) * np.sin(t)
        posterior = a**2 * posterior + (1 - rho**2) * np.sin(s) ** 2
    return tuple((0.5 * (r - 1 - np.log(r))).sum() for r in (ddim, posterior))


@pytest.mark.parametrize("system", MADE)
def test_what_ddim_and_the_posterior_rule_leave_is_the_laboratorys(system, figure_page):
    process, counts = MADE[system], (10, 64)
    page = figure_page([ClocksSlider(size=SIZE, system=system, steps=steps) for steps in counts])
    for nth, steps in enumerate(counts):
        grid = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        if process.steps:  # the nearest times of its table
            grid = (grid * process.steps).round() / process.steps
        expected = [LAW.sampler_error(process, grid, rule).kl.sum().item() for rule in ("ddim", "ancestral")]
        np.testing.assert_allclose(told(page, nth)[:2], expected, rtol=0.01)


def test_equal_clocks_lie_on_the_floor_and_others_above(figure_page):
    page = figure_page([ClocksSlider(size=SIZE, system="equal_snr", steps=10)])
    ddim, _, floor = told(page)
    r = np.cos(np.pi / 20) ** 20
    np.testing.assert_allclose([ddim, floor], SIZE**2 * 0.5 * (r - 1 - np.log(r)), rtol=0.005)
    assert not control(page, "low").is_enabled()
    control(page, "system").select_option("by_hand")
    assert control(page, "low").is_enabled()
    control(page, "low").fill("-1")
    control(page, "high").fill("2")
    np.testing.assert_allclose(told(page)[:2], by_hand(-1, 0, 2, 10), rtol=0.01)
    assert told(page)[0] > floor


def test_the_picture_is_itself_where_there_is_only_data(figure_page):
    slider = ClocksSlider(size=SIZE, system="equal_snr", t=0.0)
    page = figure_page([slider])
    read = """c => Array.from(c.getContext("2d").getImageData(0, 0, c.width, c.height).data)"""
    shown = np.reshape(page.locator("canvas[data-name=noisy]").evaluate(read), (SIZE, SIZE, 4))[..., :3]
    np.testing.assert_allclose(shown, (photo_planes(slider).transpose(1, 2, 0) + 1) * 127.5, atol=1)


def test_dragging_across_the_clocks_sets_the_time(figure_page):
    page = figure_page([ClocksSlider(size=SIZE)])
    box = page.locator("svg.bd-clocks").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + 60)
    page.mouse.up()
    assert control(page, "t").input_value() == "1"
