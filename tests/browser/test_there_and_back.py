"""The first page's figure: recorded ways there and back, and pictures that are drawn in the page."""

import base64
import io

import numpy as np
import pytest
import torch
from figures import CALM, HEAD, IN_VIEW, control, frames, pixels
from PIL import Image

from bdbook import pixels as colours
from bdbook import samplers
from bdbook.page import live, opening, recorded
from bdbook.page.widgets import ThereAndBack
from bdbook.page.widgets.film import RUNS

pytestmark = pytest.mark.browser

ROOT = "[aria-label='There and back, and new clothes']"
COLUMNS = 2 * opening.TURNS - 1


def walk(system: str) -> np.ndarray:
    """(COLUMNS, 16, 16) bytes of the recorded way there and back."""
    stored = np.asarray(Image.open(recorded.folder_of(RUNS[system]) / opening.BOTH_WAYS))
    return stored.reshape(16, COLUMNS, 16).transpose(1, 0, 2)


@pytest.mark.parametrize("system", RUNS)
def test_the_way_there_is_the_librarys(system):
    """alpha x + sigma eps of the same picture and the same noise for all; the way back begins where it ends."""
    frames, process = walk(system), live.run_of(RUNS[system]).denoiser.process
    picture = torch.from_numpy(walk("cold")[0].astype(np.float64))[None, None] / 127.5 - 1  # as it is at t = 0
    steps = min(process.steps or opening.MOST_STEPS, opening.MOST_STEPS)
    for column in (0, 5, 15, 30):
        t = round(column / 30 * steps) / steps
        expected = colours.to_pixels(process.sample(picture, t, opening.noise(0, 0, 16, 1)).float())[0, ..., 0]
        assert np.abs(frames[column].astype(int) - expected).max() <= 2, column
    assert np.abs(frames[-1].astype(int) - frames[0]).mean() > 10, "another picture"


def test_each_place_shows_its_column(figure_page):
    figure = ThereAndBack(playing=False)
    page = figure_page([figure])
    page.wait_for_function("() => document.querySelector('canvas[data-name=cold]').width === 16")
    for place, column in ((0, 0), (1, 30), (1.5, 45), (2, 60)):
        control(page, "place").fill(str(place))
        for system in RUNS:
            sent = Image.open(io.BytesIO(base64.b64decode(figure.state()["_walks"][system])))
            shown = pixels(page.locator(f'canvas[data-name="{system}"]'))[..., 0]
            np.testing.assert_array_equal(shown, np.asarray(sent)[:, column * 16 : (column + 1) * 16])
            assert np.abs(shown.astype(int) - walk(system)[column]).max() <= 3, "six bits"
        text = page.locator(".bd-label .bd-hint, .bd-control > .bd-label > [role=status]").first.inner_text()
        assert ("networks draw" in text) == (place > 1)
    assert page.errors == []


def test_it_plays_in_view_until_the_reader_pauses(figure_page):
    page = figure_page([ThereAndBack(place=0.9)])
    page.wait_for_function("() => document.querySelector('[name=place]').value > 1.1")
    page.get_by_role("button", name="Pause").click()
    stopped = control(page, "place").input_value()
    frames(page)
    assert control(page, "place").input_value() == stopped
    assert page.errors == []


def test_readers_who_asked_for_less_motion_step(figure_page):
    page = figure_page([ThereAndBack(place=0.9)], head=f"{HEAD}<script>{CALM}</script>")
    page.locator(".bd-pictures").first.evaluate(IN_VIEW)
    frames(page)
    seen = []
    for _ in range(7):
        page.get_by_role("button", name="Step").click()
        seen.append(float(control(page, "place").input_value()))
    assert seen == [1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 0.0]


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_overflows(figure_page, width):
    head = f"{HEAD}<style>body {{ margin: 16px; }}</style>"
    page = figure_page([ThereAndBack(playing=False)], width=width, head=head)
    for place in ("0", "2"):
        control(page, "place").fill(place)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_landing_page_draws_new_clothes(book, open_page):
    """Nothing of the network is loaded unasked; the pictures are PyTorch's, and the next press draws others."""
    page = open_page((book / "book" / "index.html").as_uri())
    assert page.evaluate("Object.keys(globalThis.bdbookPieces ?? {}).length") == 0
    run = live.run_of("fashion-blurring")
    for seed, name in enumerate(("Draw", "Draw again")):
        page.get_by_role("button", name=name, exact=True).click()
        page.wait_for_function(f"document.querySelector(\"{ROOT}\").dataset.state === 'done'")
        page.evaluate(f"document.querySelector(\"{ROOT}\").dataset.state = ''")
        x = opening.noise(seed, 0, 16, 6).float()
        walked = samplers.sample(run.denoiser, x, run.denoiser.process.times(10), run.flow(), order=2)
        expected = (samplers.last(walked).x[:, 0].double() + 1) * 127.5
        for i in range(6):
            shown = pixels(page.locator(f'canvas[data-name="drawn-{i}"]'))[..., 0]
            assert np.abs(shown - expected[i].clamp(0, 255).numpy()).max() <= 0.51 + 1e-3 * 127.5
    assert page.errors == []
    assert page.external == []
