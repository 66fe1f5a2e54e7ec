"""The severity slider against the library's degradations: pictures, numbers and curves."""

import base64
from dataclasses import replace

import numpy as np
import pytest
import torch
from figures import (
    HEAD,
    LIVE,
    OWN,
    OWN_PHOTO,
    SIZE,
    control,
    encoded,
    hand_over,
    page_noise,
    photo_planes,
    said,
    shown_line,
    shown_picture,
)

from bdbook import cold
from bdbook.degradations import Blend, Snow
from bdbook.page.widgets import SeveritySlider
from bdbook.page.widgets.severity import DEGRADATIONS, SNOW_SEED

pytestmark = pytest.mark.browser

STEPS = {"blur": 50, "inpainting": 50, "super_resolution": 5, "colourisation": 50}  # the others 200
STEPPED = ("inpainting", "super_resolution")
GAIN = {"blur": 20, "super_resolution": 1, "colourisation": 50, "noise": 50, "animorphosis": 100}  # the others 10
LEFT = {  # at t = 0.3
    "blur": "blurred by 2.4 px",
    "inpainting": "87 % of the light let through",  # the mean of alpha
    "super_resolution": "blocks of 4 px",
    "colourisation": "70 % of the colour",
    "snow": "threshold 1.01, wind 4.8 px",
    "noise": "α = 0.89, σ = 0.45",
    "animorphosis": "α = 0.89, σ = 0.45",
}


def degradation(page, slider, name, sigma_max=8.0, vertical=True):
    """The library's own, with the page's noise."""
    if name == "blur":
        return cold.dct_blur(SIZE, sigma_max)
    if name == "inpainting":
        return cold.degradation(name, SIZE, steps=50, first=1.0, increment=0.4)
    if name == "super_resolution":
        return cold.degradation(name, SIZE, steps=5)
    if name == "colourisation":
        return cold.degradation(name, SIZE, 3, steps=None)
    if name == "snow":
        snow = Snow(SIZE, threshold=(1.15, 0.7), wind=(0.05, 16.0), steps=None)
        return replace(snow.draw(1, torch.Generator().manual_seed(SNOW_SEED)), vertical=torch.tensor([vertical]))
    if name == "noise":
        z = page_noise(page, slider)
    else:
        z = np.frombuffer(base64.b64decode(slider.state()["_other"]), np.uint8).reshape(SIZE, SIZE, 3)
        z = z.transpose(2, 0, 1) / 127.5 - 1
    return Blend(cold.cosine_blend(None), z=torch.tensor(np.reshape(z, (1, 3, SIZE, SIZE))))


def images(slider, name, library, t):
    """(x, D(x, t), D(x, t - 1/T)) as the library has them."""
    x, steps = torch.from_numpy(photo_planes(slider)[None]), STEPS.get(name, 200)
    index = t * steps
    if name in STEPPED:
        index = int(np.floor(index + 0.5))
    now, before = (library.mean(x, i / steps)[0].numpy() for i in (index, max(index - 1, 0)))
    return x[0].numpy(), now, before


def rmse_and_jump(x, now, before):
    return np.sqrt(np.mean((now - x) ** 2)) / 2, np.abs(now - before).max() / 2


def in_bytes(image):
    return np.clip((image + 1) * 127.5, 0, 255)


def check_pictures(page, slider, name, library, t):
    x, now, before = images(slider, name, library, t)
    assert np.abs(shown_picture(page, "photo") - in_bytes(x)).max() <= 0.51
    assert np.abs(shown_picture(page, "degraded") - in_bytes(now)).max() <= 0.51, (name, t)
    added = GAIN.get(name, 10) * (before - now)
    assert np.abs(shown_picture(page, "added") - in_bytes(added)).max() <= 0.52, (name, t)
    words = page.locator(".bd-numbers b").all_inner_texts()
    np.testing.assert_allclose([float(w) for w in words[:2]], rmse_and_jump(x, now, before), atol=6e-4)
    assert words[2:] == [str(int(np.floor(t * STEPS.get(name, 200) + 0.5))), str(STEPS.get(name, 200))]


def check_curves(page, slider, name, library):
    page.locator(".bd-curves[data-complete=true]").wait_for()
    count = max(STEPS.get(name, 200), 50)
    expected = [rmse_and_jump(*images(slider, name, library, k / count)) for k in range(count + 1)]
    for line, values in zip(("bd-own", "bd-f5"), np.transpose(expected), strict=True):
        t, y = shown_line(page, f".bd-curves path.{line}", (0, 1), (0, 1))
        np.testing.assert_allclose(t, np.arange(count + 1) / count, atol=1e-4)
        np.testing.assert_allclose(y, values, atol=1e-4)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_pictures_numbers_and_curves_are_the_librarys(figure_page, name):
    slider = SeveritySlider(degradation=name)
    page = figure_page([slider])
    library = degradation(page, slider, name)
    for t in (0.0, 0.005, 0.1, 0.3, 0.5, 0.7, 0.835, 1.0):
        control(page, "t").fill(str(t))
        check_pictures(page, slider, name, library, t)
    control(page, "t").fill("0.3")
    caption = page.locator(".bd-picture").nth(1)
    assert caption.inner_text().endswith(LEFT[name])
    assert LEFT[name] in caption.locator("canvas").get_attribute("aria-label")
    assert f"× {GAIN.get(name, 10)}" in page.locator(".bd-picture").nth(2).inner_text() or name == "super_resolution"
    if name == "inpainting":
        assert LEFT[name].startswith(f"{100 * library.alpha(0.3).mean():.0f} %")
    check_curves(page, slider, name, library)
    assert control(page, "sigma_max").is_enabled() == (name == "blur")
    assert page.errors == []


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_picture_of_the_readers_own(figure_page, name):
    page, own = figure_page([SeveritySlider(degradation=name)]), SeveritySlider(OWN_PHOTO, degradation=name)
    library = degradation(page, own, name)
    check_curves(page, SeveritySlider(), name, library)
    hand_over(page, encoded(OWN))
    said(page, "Shown")
    check_pictures(page, own, name, library, 0.5)
    check_curves(page, own, name, library)
    assert page.errors == []


def test_the_menu_and_the_blur_move_pictures_and_curves(figure_page):
    slider = SeveritySlider()
    page = figure_page([slider])
    check_curves(page, slider, "blur", degradation(page, slider, "blur"))
    control(page, "sigma_max").fill("2.5")
    check_pictures(page, slider, "blur", degradation(page, slider, "blur", sigma_max=2.5), 0.5)
    control(page, "degradation").select_option("inpainting")  # while the curves of blur are still being made
    check_curves(page, slider, "inpainting", degradation(page, slider, "inpainting"))
    control(page, "degradation").select_option("blur")
    check_curves(page, slider, "blur", degradation(page, slider, "blur", sigma_max=2.5))
    page.get_by_role("button", name="Reset").click()
    check_pictures(page, slider, "blur", degradation(page, slider, "blur"), 0.5)
    check_curves(page, slider, "blur", degradation(page, slider, "blur"))


def test_snow_that_blows_along_rows(figure_page):
    slider = SeveritySlider(degradation="snow", t=0.8)
    slider._vertical = False
    page = figure_page([slider])
    check_pictures(page, slider, "snow", degradation(page, slider, "snow", vertical=False), 0.8)


def test_dragging_across_the_curves_sets_the_severity(figure_page):
    page = figure_page([SeveritySlider()])
    box = page.locator(".bd-curves .bd-grid").evaluate_all(
        "els => els.map(e => e.getBoundingClientRect()).map(b => [b.left, b.top])"
    )
    left, right = min(x for x, _ in box), max(x for x, _ in box)
    y = min(y for _, y in box) + 40
    page.mouse.move(left + 5, y)
    page.mouse.down()
    page.mouse.move(left + 0.75 * (right - left), y, steps=3)
    page.mouse.up()
    assert control(page, "t").input_value() == "0.75"
    marker = page.locator(".bd-curves .bd-marker line").bounding_box()
    assert marker["x"] == pytest.approx(left + 0.75 * (right - left), abs=1)


def test_python_sets_and_hears_the_degradation(tmp_path, open_page):
    (tmp_path / "index.html").write_text(f"{HEAD}<style>{SeveritySlider._css}</style>", encoding="utf-8")
    page, slider = open_page(f"{tmp_path.as_uri()}/index.html"), SeveritySlider()
    page.evaluate(LIVE, [str(slider._esm), [slider.state()]])
    page.evaluate("models[0].set('degradation', 'snow'); models[0].set('t', 0.8)")  # as when Python assigns
    assert control(page, "degradation").input_value() == "snow"
    check_pictures(page, slider, "snow", degradation(page, slider, "snow"), 0.8)
    control(page, "degradation").select_option("colourisation")
    assert ["degradation", "colourisation"] in page.evaluate("models[0].sent")
    assert page.errors == []


@pytest.mark.parametrize(("size", "block"), [(8, 4), (32, 16)])
def test_a_smaller_picture(figure_page, size, block):
    page = figure_page([SeveritySlider(size=size, degradation="super_resolution", t=1.0)])
    assert page.get_by_text(f"blocks of {block} px").is_visible()
    for name in DEGRADATIONS:
        control(page, "degradation").select_option(name)
    assert page.errors == []
