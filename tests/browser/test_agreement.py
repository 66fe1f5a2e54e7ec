"""The page and the library say the same: JavaScript against Python, and the slider of the built chapter 5."""

import json

import numpy as np
import pytest
from figures import ask, pixels
from pages import TYPESET

from bdbook import data, processes
from bdbook.page import widgets

pytestmark = pytest.mark.browser

SETTINGS = [
    {"sigma_max": 20.0, "d_min": 1e-3, "blur": "sin2"},
    {"sigma_max": 3.5, "d_min": 1e-2, "blur": "sin"},
    {"sigma_max": 0.0, "d_min": 1e-5, "blur": "sin2"},
]
ASK = """async ([source, size, t, sigmaMax, dMin, blur, image]) => {
  const core = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const lambda = core.freq2(size, size);
  const process = core.blurringDiffusion({ lambda, sigmaMax, dMin, blur });
  const alpha = process.alpha(t), u = core.dct2(Float64Array.from(image), size, size);
  const blurred = core.idct2(u.map((v, k) => v * alpha[k]), size, size);
  return [lambda, alpha, [process.sigma(t)], process.snr(t), blurred].map((values) => Array.from(values));
}"""


@pytest.mark.parametrize("settings", SETTINGS, ids=json.dumps)
def test_javascript_agrees_with_python(open_page, settings):
    page, size = open_page("about:blank"), 64
    photo = data.photograph("flower", size, channels=1)[None].double()
    process = processes.blurring_diffusion(size, **settings)
    for t in (0.0, 0.07, 0.5, 0.93, 1.0):
        values = list(settings.values())
        told = ask(page, ASK, [str(widgets.BlurringSlider._esm), size, t, *values, photo.flatten().tolist()])
        freq2, alpha, sigma, snr, blurred = (np.array(part) for part in told)
        plane = (size, size)
        np.testing.assert_allclose(freq2.reshape(plane), process.basis.freq2[0, 0], rtol=1e-12)
        np.testing.assert_allclose(alpha.reshape(plane), process.alpha(t)[0, 0], rtol=1e-5)
        np.testing.assert_allclose(sigma, [process.sigma(t).item()], rtol=1e-5)
        np.testing.assert_allclose(snr.reshape(plane), process.snr(t)[0, 0], rtol=1e-5)
        np.testing.assert_allclose(blurred.reshape(plane), process.mean(photo, t)[0, 0], atol=1e-5)


@pytest.mark.parametrize(("scheme", "width"), [("http", 1280), ("file", 360)])
def test_the_slider_of_chapter_5_moves_curves_and_picture(book, open_page, serve, scheme, width):
    base = serve(book) if scheme == "http" else book.as_uri()
    page = open_page(f"{base}/notebooks/05_blurring_diffusion.html", width=width)
    figure = page.locator(".bdbook-figure").first
    curve, picture = figure.locator("path.bd-f5"), figure.locator('canvas[data-name="noisy"]')
    curve.wait_for()
    page.evaluate(TYPESET)  # or formulas would move the slider away from the mouse

    def state():
        return curve.get_attribute("d"), pixels(picture).tolist()

    first = state()
    slider = figure.locator('[name="sigma_max"]')
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    second = state()
    assert first[0] != second[0]
    assert first[1] != second[1]
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.1, box["y"] + box["height"] / 2)
    assert state()[0] != second[0]
    assert page.external == []
    assert page.errors == []
