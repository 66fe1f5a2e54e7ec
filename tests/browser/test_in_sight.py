"""A control and what it does are seen together, on a phone and on a desk; headings have room; what is off says why."""

import pytest
from figures import HEAD, control
from test_figures import SLIDERS, make

from bdbook.page.widgets import BlurDiffusionSlider, ClocksSlider, LaboratorySlider, SeveritySlider, SpectrumSlider

pytestmark = pytest.mark.browser

NAMES = SLIDERS | {ClocksSlider: ("t", "steps")}
# A page with the book's bar above, and text before the figure and after it.
BOOK = (
    f'{HEAD}<body><div class="bd-header-article" style="position: sticky; top: 0; height: 56px; z-index: 9"></div>'
    '<div style="height: 1500px"></div>'
)
AFTER = "() => document.body.append(Object.assign(document.createElement('div'), { style: 'height: 1500px' }))"
CENTRE = """() => {
  const main = document.querySelector(".bd-controls ~ :is(.bd-plots, .bd-pictures, .bd-across) :is(svg, canvas)");
  main.scrollIntoView({ block: "center" });
}"""
# The part of the figure's first picture or plot that is between its controls and the lower edge of the window.
SEEN = """() => {
  const main = document.querySelector(".bd-controls ~ :is(.bd-plots, .bd-pictures, .bd-across) :is(svg, canvas)");
  const { top, bottom } = main.getBoundingClientRect();
  const above = Math.max(document.querySelector(".bd-controls").getBoundingClientRect().bottom, 56);
  return (Math.min(bottom, innerHeight) - Math.max(top, above)) / (bottom - top);
}"""
UNCOVERED = """(input) => {
  const { left, top, width, height } = input.getBoundingClientRect();
  return document.elementFromPoint(left + width / 2, top + height / 2) === input;
}"""
SIZES = pytest.mark.parametrize(("width", "height"), [(360, 740), (1280, 800)])


@SIZES
@pytest.mark.parametrize("figure", NAMES, ids=lambda figure: figure.__name__)
def test_a_slider_and_its_effect_are_seen_together(figure_page, figure, width, height):
    page = figure_page([make(figure)], head=BOOK, width=width, height=height)
    page.evaluate(AFTER)
    page.evaluate(CENTRE)
    for name in NAMES[figure]:
        assert control(page, name).evaluate(UNCOVERED), name
        before = page.evaluate("scrollY")
        control(page, name).press("ArrowRight")
        assert page.evaluate("scrollY") == before, "nothing jumps"
        assert page.evaluate(SEEN) >= 0.5, name
    assert page.errors == []


def test_a_low_window_is_left_to_the_pictures(figure_page):
    page = figure_page([ClocksSlider()], head=BOOK, width=740, height=360)
    assert page.locator(".bd-controls").evaluate("e => getComputedStyle(e).position") == "static"


# A heading and the note beside it, of which one runs out of the figure or touches the other.
COLLIDE = """() => [...document.querySelectorAll(".bd-title")].filter((title) => {
  const [a, b] = [...title.children].map((child) => child.getBoundingClientRect());
  if (!b?.width) return false;
  const beside = a.bottom > b.top + 2 && b.bottom > a.top + 2;
  return Math.max(a.right, b.right) > title.getBoundingClientRect().right + 1 || (beside && b.left - a.right < 4);
}).map((title) => title.innerText)"""


@pytest.mark.parametrize("width", [320, 360])
def test_headings_have_room(figure_page, width):
    page = figure_page([make(figure) for figure in NAMES], width=width)
    assert page.evaluate(COLLIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_headings_that_collide_are_seen(figure_page):
    style = "<style>.bdbook-widget .bd-title { flex-direction: row; white-space: nowrap; width: 90px; }</style>"
    page = figure_page([BlurDiffusionSlider()], width=320)
    page.evaluate("(style) => document.body.insertAdjacentHTML('beforeend', style)", style)
    assert page.evaluate(COLLIDE) != []


@pytest.mark.parametrize(
    ("figure", "off", "name", "why", "act"),
    [
        (BlurDiffusionSlider, {}, "sigma_max", "tick overlay HS", ("overlay", None)),
        (ClocksSlider, {}, "low", "only by hand", ("system", "by_hand")),
        (LaboratorySlider, {"process": "cosine"}, "d_min", "cosine: no blur", ("process", "blurring_sin")),
        (SeveritySlider, {"degradation": "inpainting"}, "sigma_max", "only of blur", ("degradation", "blur")),
        (SpectrumSlider, {"system": "ddpm"}, "width", "no blur here", ("system", "soft")),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("width", [360, 1280])
def test_a_control_that_is_off_says_why(figure_page, figure, off, name, why, act, width):
    page = figure_page([figure(**off)], width=width)
    assert not control(page, name).is_enabled()
    assert page.locator(".bd-why", has_text=why).first.is_visible()
    menu, value = act
    control(page, menu).check() if value is None else control(page, menu).select_option(value)
    assert control(page, name).is_enabled()
    assert page.locator(".bd-why", has_text=why).count() == 0
