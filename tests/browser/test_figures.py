"""What every figure does: fit, follow the page's colours, answer mouse and keyboard, live under a kernel."""

import pytest
from figures import HEAD, LIVE, control, drag_to

from bdbook.page import widgets
from bdbook.page.widgets import (
    BlurDiffusionSlider,
    BlurringSlider,
    CarrySlider,
    LaboratorySlider,
    Playground,
    PointsPlayground,
    RestorationSlider,
    SeveritySlider,
    SpectrumSlider,
)

pytestmark = pytest.mark.browser

SLIDERS = {  # its range inputs
    BlurringSlider: ("sigma_max", "t", "d_min"),
    BlurDiffusionSlider: ("f_max", "t", "kernel_sigma", "sigma_max"),
    LaboratorySlider: ("steps", "sigma_max", "d_min"),
    CarrySlider: ("rho", "t", "steps", "mode"),
    RestorationSlider: ("sigma_max", "epsilon", "bias", "steps"),
    SeveritySlider: ("t", "sigma_max"),
    SpectrumSlider: ("t", "width", "steps"),
    PointsPlayground: ("angle", "bend", "steps", "t"),
    Playground: ("steps", "t", "sigma_max"),
}
OPTIONS = {BlurDiffusionSlider: {"overlay": True}, LaboratorySlider: {"order": 2}, RestorationSlider: {"steps": 20}}
SHARED = {
    BlurringSlider: "t",
    BlurDiffusionSlider: "t",
    LaboratorySlider: "steps",
    CarrySlider: "t",
    RestorationSlider: "steps",
    SeveritySlider: "t",
    SpectrumSlider: "t",
    PointsPlayground: "t",
    Playground: "t",
}
figures = pytest.mark.parametrize("figure", SLIDERS, ids=lambda figure: figure.__name__)


def make(figure, **more):
    return figure(**OPTIONS.get(figure, {}), **more)


def drawn(page) -> list:
    """All that is drawn, once nothing is drawn in pieces any more: paths, dots and pixels."""
    page.wait_for_function("() => !document.querySelector('[data-complete=false]')")
    return page.evaluate(
        """[...document.querySelectorAll(".bdbook-widget :is(path, circle, rect)")].map(e => e.outerHTML).concat(
        [...document.querySelectorAll("canvas")].map(c => c.toDataURL()))"""
    )


def test_figures_draw_themselves_over_http_too(figure_page):
    page = figure_page([make(figure) for figure in SLIDERS], "http")
    assert page.errors == []
    assert page.external == []


@figures
def test_mouse_and_keyboard_change_the_drawing(figure_page, figure):
    page = figure_page([make(figure)])
    for name in SLIDERS[figure]:
        for act in (
            lambda name=name: drag_to(page, name, 0.3),
            lambda name=name: control(page, name).press("ArrowRight"),
        ):
            before, value = drawn(page), control(page, name).input_value()
            act()
            assert control(page, name).input_value() != value
            assert drawn(page) != before, name
    for menu in page.locator("select").all():
        before = drawn(page)
        menu.select_option(index=(menu.evaluate("m => m.selectedIndex") + 1) % menu.locator("option").count())
        assert drawn(page) != before
    page.get_by_role("button", name="Reset").click()
    state = make(figure).state()
    for menu in page.locator("select").all():
        assert menu.input_value() == str(state[menu.get_attribute("name")])
    assert page.errors == []
    assert page.external == []


@figures
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_overflows_or_shifts(figure_page, figure, width):
    page = figure_page([make(figure)], width=width)
    root = page.locator(".bdbook-widget")
    before = root.bounding_box()
    places = "els => els.map(e => { const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })"
    parts = page.locator(".bdbook-widget :is(input, select, button, canvas, svg, label, .bd-title)")
    at = parts.evaluate_all(places)
    for name in SLIDERS[figure]:
        for key in ("Home", "End"):
            control(page, name).press(key)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert root.bounding_box() == before
            assert parts.evaluate_all(places) == at, (name, key)
    cut = page.locator(
        ".bdbook-widget :is(.bd-label, .bd-title, .bd-legend, .bd-key, .bd-caption, .bd-formula, button)"
    )
    assert cut.evaluate_all("els => els.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.outerHTML)") == []
    edge = before["x"] + before["width"]
    texts = page.locator(".bdbook-widget svg text")
    assert max(texts.evaluate_all("els => els.map(e => e.getBoundingClientRect().right)")) <= edge


@pytest.mark.parametrize(
    ("markup", "dark", "expected"),
    [
        ("", False, "light"),
        ("", True, "dark"),
        ('<script>document.documentElement.dataset.theme = "dark"</script>', False, "dark"),
        ('<script>document.documentElement.dataset.theme = "light"</script>', True, "light"),
        ('<body data-jp-theme-light="false">', False, "dark"),
        ('<body data-jp-theme-light="true">', True, "light"),
    ],
)
def test_the_page_decides_between_light_and_dark(figure_page, markup, dark, expected):
    page = figure_page([make(figure) for figure in SLIDERS], head=HEAD + markup, dark=dark)
    for root in page.locator(".bdbook-widget").all():
        text, ground = root.evaluate(
            "e => ['color', 'backgroundColor'].map(k => getComputedStyle(e)[k].match(/\\d+/g).slice(0, 3).map(Number))"
        )
        assert (sum(text) > 600, sum(ground) < 150) == ((True, True) if expected == "dark" else (False, False))


@figures
def test_readers_who_listen_have_a_name_for_everything(figure_page, figure):
    page = figure_page([make(figure)])
    assert page.get_by_role("slider").count() == len(SLIDERS[figure])
    for part in page.locator(".bdbook-widget :is(input, select, [role=img])").all():
        assert len(part.get_attribute("aria-label")) > 3
    for slider in page.get_by_role("slider").all():
        assert slider.get_attribute("aria-valuetext")
    count = page.locator(".bdbook-widget :is(input, select, button):enabled").count()
    page.keyboard.press("Tab")
    for _ in range(count):
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Tab")


@figures
def test_the_same_module_lives_under_a_kernel(tmp_path, open_page, figure):
    (tmp_path / "index.html").write_text(f"{HEAD}<style>{figure._css}</style>", encoding="utf-8")
    page = open_page(f"{tmp_path.as_uri()}/index.html")
    name, key = SLIDERS[figure][0], SHARED[figure]
    page.evaluate(LIVE, [str(figure._esm), [make(figure, link="a").state() for _ in range(2)]])
    page.locator(".bdbook-widget").nth(1).locator("path.bd-line[d]").last.wait_for(state="attached")
    control(page, name).press("ArrowRight")
    sent = page.evaluate("models[0].sent")
    assert [words[0] for words in sent] == [name]
    assert page.evaluate(f"models[0].get('{name}')") == sent[0][1]
    before = drawn(page)
    value = 0.25 if key == "t" else 40
    page.evaluate(f"models[0].set('{key}', {value})")  # as when Python assigns
    assert drawn(page) != before
    assert page.evaluate("models[1].sent.at(-1)") == [key, value]  # the group follows
    page.evaluate("models.forEach((model) => model.leave())")
    assert page.evaluate("models.map((model) => model.listeners())") == [0, 0]
    assert page.evaluate("bdbookGroups.size") == 0
    assert page.errors == []


def test_a_group_of_different_figures_shares_only_what_both_have(figure_page):
    page = figure_page([CarrySlider(link="a", t=0.3, steps=50), BlurringSlider(link="a"), LaboratorySlider(link="a")])
    assert [control(page, "t", i).input_value() for i in range(2)] == ["0.3", "0.3"]
    control(page, "t", 1).fill("0.6")
    assert control(page, "t", 0).input_value() == "0.6"
    assert page.locator("output").filter(has_text="50").count() >= 2
    assert page.errors == []


def test_every_kind_of_figure_runs_in_one_page(figure_page):
    page = figure_page([make(figure) for figure in SLIDERS])
    assert page.locator('script[type="text/plain"]').count() == len(SLIDERS)
    assert page.evaluate("Object.keys(bdbookPrograms).length") == len(SLIDERS)
    assert page.errors == []
    widgets.new_page()
