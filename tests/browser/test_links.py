"""The state of the figures in the page's address: what a link brings back, and what it leaves alone."""

from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from figures import HEAD, LIVE, control, timers
from test_figures import SLIDERS as NAMES
from test_figures import drawn, make

from bdbook.page.widgets import BlurringSlider, CarrySlider, ClocksSlider

pytestmark = pytest.mark.browser

NAMES = NAMES | {ClocksSlider: ("t", "low", "middle", "high", "steps")}
COPIED = "() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }"
VALUES = """() => [...document.querySelectorAll(".bdbook-widget :is(input, select)[name]:not([type=file])")].map(
  (e) => e.type === "checkbox" ? e.checked : e.value)"""
SET = """(e, part) => {
  if (e.matches("select")) e.selectedIndex = Math.floor(part * e.options.length);
  else if (e.type === "checkbox") e.checked = part > 0.5;
  else e.value = +e.min + part * (e.max - e.min);
  e.dispatchEvent(new Event("input"));
}"""


def ready(page, count=1) -> None:
    """Waits until the figures are drawn."""
    for i in range(count):
        page.locator(".bdbook-widget").nth(i).locator("svg path.bd-line[d]").last.wait_for(state="attached")


def shared(page, nth=0) -> str:
    """The link that Share copies."""
    page.evaluate(COPIED)
    page.get_by_role("button", name="Share").nth(nth).click()
    page.get_by_role("button", name="Copied").wait_for()
    return page.evaluate("copied")


@pytest.mark.parametrize("figure", NAMES, ids=lambda figure: figure.__name__)
def test_a_link_brings_back_any_state(figure_page, figure):
    page = figure_page([make(figure)])
    assert "?" not in page.url
    for seed in range(2):
        draw = np.random.default_rng(seed)
        for kind in ("select", "input[type=checkbox]", "input[type=range]"):
            for part in page.locator(f".bdbook-widget {kind}[name]").all():
                if part.is_enabled():
                    part.evaluate(SET, draw.random())
        link, values, pictures = shared(page), page.evaluate(VALUES), drawn(page)
        page.goto("about:blank")
        page.goto(link)
        ready(page)
        assert page.evaluate(VALUES) == values
        again = drawn(page)
        assert len(again) == len(pictures)
        assert [text for text in again if text.startswith("data:")] == [
            text for text in pictures if text.startswith("data:")
        ]
    page.get_by_role("button", name="Reset").click()
    timers(page, 500)
    assert "?" not in page.url
    assert page.errors == []


def test_only_what_was_changed_is_in_the_address(figure_page):
    page = figure_page([BlurringSlider(), BlurringSlider(), ClocksSlider()])
    before = page.evaluate("history.length")
    control(page, "t", 1).fill("0.2")
    control(page, "system").select_option("soft")
    timers(page, 500)
    assert parse_qs(urlsplit(page.url).query) == {"blurring2.t": ["0.2"], "clocks.system": ["soft"]}
    control(page, "t", 1).fill("0.5")
    control(page, "system").select_option("blurring_5")
    timers(page, 500)
    assert urlsplit(page.url).query == ""
    assert page.evaluate("history.length") == before


def test_a_link_leads_to_its_figure(figure_page):
    tall = '<div style="height: 4000px"></div>'
    page = figure_page([BlurringSlider(), ClocksSlider()], head=HEAD + tall)
    control(page, "system").select_option("heat")
    link = shared(page, 1)
    page.goto("about:blank")
    page.goto(link)
    ready(page, 2)
    page.wait_for_function("() => document.getElementById('figure-clocks').getBoundingClientRect().top < 200")
    assert control(page, "system").input_value() == "heat"


@pytest.mark.parametrize(
    "query",
    [
        "?clocks.t=2&clocks.system=none&clocks.steps=7.5&clocks.low=abc",
        "?clocks.t=&clocks.system=constructor&clocks.steps=1e9&clocks.low=NaN",
        "?clocks=1&highlight=t&other.t=0.7&clocks.size=8&clocks._photo=x",
        "?clocks.t=Infinity&clocks.t=0.5&clocks.system=%00#fig-none",
        "#clocks.t=0.7",
    ],
)
def test_what_an_address_cannot_mean_is_passed_over(figure_page, query):
    page = figure_page([ClocksSlider()])
    before, url = page.evaluate(VALUES), page.url
    page.goto("about:blank")
    page.goto(url + query)
    ready(page)
    assert page.evaluate(VALUES) == before
    assert page.url == url + query
    control(page, "t").fill("0.6")
    timers(page, 500)
    assert "clocks.t=0.6" in page.url
    assert urlsplit(page.url).fragment == urlsplit(query).fragment
    assert "highlight" not in query or "highlight=t" in page.url
    assert page.errors == []


def test_figures_that_share_a_time_agree_with_the_link(figure_page):
    page = figure_page([CarrySlider(link="a", t=0.3), BlurringSlider(link="a")])
    control(page, "t", 1).fill("0.6")
    link = shared(page, 1)
    page.goto("about:blank")
    page.goto(link)
    ready(page, 2)
    assert [control(page, "t", i).input_value() for i in range(2)] == ["0.6", "0.6"]


def test_where_nothing_may_be_copied_the_link_stands_selected(figure_page):
    page = figure_page([ClocksSlider()])
    control(page, "t").fill("0.45")
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    page.get_by_role("button", name="Share").click()
    field = page.get_by_role("textbox", name="The link")
    assert "clocks.t=0.45" in field.input_value()
    assert page.evaluate("getSelection().toString() || document.activeElement.value").endswith("#figure-clocks")
    control(page, "t").focus()
    assert field.count() == 0


def test_in_a_notebook_the_address_is_left_alone(tmp_path, figure_page, open_page):
    lab = '<script id="jupyter-config-data" type="application/json">{}</script>'
    page = figure_page([ClocksSlider()], head=HEAD + lab)
    url = page.url
    control(page, "t").fill("0.45")
    timers(page, 500)
    assert page.url == url
    assert page.get_by_role("button", name="Share").count() == 0
    (tmp_path / "live.html").write_text(f"{HEAD}<style>{ClocksSlider._css}</style>", encoding="utf-8")
    page = open_page(f"{tmp_path.as_uri()}/live.html?clocks.t=0.9")
    page.evaluate(LIVE, [str(ClocksSlider._esm), [ClocksSlider().state()]])
    ready(page)
    assert control(page, "t").input_value() == "0.3"
    assert page.get_by_role("button", name="Share").count() == 0
