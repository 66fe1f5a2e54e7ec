"""The page of what may lie behind a picture: the slider shows the means that the library computed, and all is in it."""

import base64
import io

import numpy as np
import pytest
import torch
from pages import grave
from PIL import Image

from bdbook.evaluation.possible import Possible
from bdbook.page import possible_page
from bdbook.pixels import to_pixels

pytestmark = pytest.mark.browser

NAME = "my <b>photo</b> & 'co' \"it\".png"


def found(truth: bool = True) -> Possible:
    random = torch.Generator().manual_seed(0)
    x = torch.linspace(-0.8, 0.8, 24).expand(1, 20, 24)
    drawn = x + 0.2 * torch.randn(16, 1, 20, 24, generator=random)
    return Possible(drawn.clamp(-1, 1), 0.9 * x, "in the network's own size", x if truth else None)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> str:
    """The address of a page."""
    file = tmp_path_factory.mktemp("page") / "photo.html"
    file.write_text(possible_page.html(NAME, found(), "a Gaussian blur of 1.5 px", 0.02), encoding="utf-8")
    return file.as_uri()


def shown(page) -> np.ndarray:
    """The pixels of the picture that the slider shows, the only one."""
    (address,) = page.locator(".chosen img:visible").evaluate_all("nodes => nodes.map((node) => node.src)")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def test_the_slider_goes_from_the_mean_of_all_to_one_sample(written, open_page):
    page, possible = open_page(written), found()
    slider, told = page.locator("#sharpness"), page.locator("#told")
    means = list(possible.means().items())
    assert [count for count, _ in means] == [16, 8, 4, 2, 1]
    for place, (count, mean) in enumerate(means):
        slider.fill(str(place))
        np.testing.assert_array_equal(shown(page), to_pixels(mean[None])[0].squeeze())
        assert f"{1 + 1 / count:.3g} times the squared error" in told.inner_text()
        assert slider.get_attribute("aria-valuetext") == told.inner_text()
    slider.fill("0")
    slider.focus()
    page.keyboard.press("End")
    assert "One sample: 2 times" in told.inner_text()
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert slider.input_value() == "0"
    np.testing.assert_array_equal(shown(page), to_pixels(possible.mean[None])[0].squeeze())
    assert page.errors == []


def test_a_name_is_shown_as_it_is(written, open_page):
    page = open_page(written)
    assert page.locator("h1").inner_text() == f"What may lie behind {NAME}"
    assert page.locator("main b").count() == 0
    assert "Real blur is not the one assumed" in page.locator("h2").all_inner_texts()
    assert "--kernel k.npy" in page.locator(".warning").inner_text()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_is_whole_by_itself(width, dark, written, open_page):
    page = open_page(written, width=width, dark=dark)
    assert page.locator(".pictures img").count() == 5
    assert page.locator("img").evaluate_all("nodes => nodes.every((node) => node.hidden || node.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 24, 30)" if dark else "rgb(255, 255, 255)")
    assert grave(page) == []
    assert page.errors == []
    assert page.external == []
