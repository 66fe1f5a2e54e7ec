"""The playground in the plane by hand: it trains and pauses, takes what is drawn, and tells what it computes."""

import re

import numpy as np
import pytest
from figures import IMPORT, ask, control, frames
from pages import grave

from bdbook.page.widgets import PointsPlayground

pytestmark = pytest.mark.browser

TRAINED = """() => { const [words] = document.querySelectorAll("[role=status]");
    return +(/Step ([\\d,]+)/.exec(words.textContent)?.[1] ?? "0").replace(",", "") >= 50; }"""
COMPLETE = "[data-complete=true]"


def said(page) -> str:
    return page.locator(".bd-playground [role=status]").first.inner_text()


def press(page, name: str):
    page.get_by_role("button", name=name, exact=True).click()


def ways(page, plane: str) -> str:
    return page.locator(f"svg[data-name={plane}] .bd-ways-drawn").get_attribute("d") or ""


def samples(page, plane: str) -> np.ndarray:
    """(n, 2) px."""
    drawn = page.locator(f"svg[data-name={plane}] .bd-samples").get_attribute("d")
    return np.array([pair.split() for pair in re.findall(r"M([-\d.]+ [-\d.]+)h0", drawn)], dtype=float)


def count(page) -> int:
    return int(re.search(r"(\d+) points", page.locator("svg[data-name=exact]").get_attribute("aria-label"))[1])


def test_it_trains_pauses_goes_on_and_forgets_what_no_longer_fits(figure_page):
    page = figure_page([PointsPlayground(data="ring")])
    assert "not trained yet" in page.locator("svg[data-name=trained]").get_attribute("aria-label")
    assert ways(page, "trained") == ""
    assert not page.get_by_role("button", name="Start again").is_enabled()
    press(page, "Train")
    page.wait_for_function(TRAINED)
    press(page, "Pause")
    frames(page)
    step, way = said(page), ways(page, "trained")
    assert way.count("M") == 40
    frames(page)
    assert (said(page), ways(page, "trained")) == (step, way), "a pause"
    assert "after" in page.locator("svg.bd-loss").get_attribute("aria-label")
    control(page, "steps").press("ArrowRight")
    assert ways(page, "trained") != way, "walked again by the same network"
    assert said(page) == step
    press(page, "Go on")
    page.wait_for_function("(step) => document.querySelector('[role=status]').textContent !== step", arg=step)
    control(page, "bend").press("ArrowRight")  # other clocks
    assert page.locator(".bd-playground").get_attribute("data-state") == "untrained"
    assert "train again" in said(page)
    assert ways(page, "trained") == ""
    control(page, "bend").press("ArrowLeft")
    assert ways(page, "trained") != "", "what it was trained for is back"
    press(page, "Start again")
    frames(page, 50)
    assert page.locator(".bd-playground").get_attribute("data-state") == "training"
    press(page, "Pause")
    assert page.errors == []
    assert page.external == []


def test_points_are_drawn_by_mouse_and_by_keys(figure_page):
    page = figure_page([PointsPlayground()])
    press(page, "Clear")
    assert count(page) == 0
    assert control(page, "data").input_value() == "own"
    assert not page.get_by_role("button", name="Train", exact=True).is_enabled()
    assert "nothing to train on" in said(page)
    plane = page.locator("svg[data-name=exact]")
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.click(*middle)
    assert count(page) == 0, "only while drawing"
    press(page, "Draw")
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + box["width"] / 4, middle[1], steps=8)
    page.mouse.up()
    drawn = count(page)
    assert 5 <= drawn <= 9
    page.mouse.move(*middle)
    assert count(page) == drawn
    plane.focus()
    for key in ("ArrowUp", "ArrowUp", "Space", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    assert count(page) == drawn + 2
    assert f"{drawn + 2} points" in said(page)
    page.keyboard.press("Escape")
    assert page.get_by_role("button", name="Draw").get_attribute("aria-pressed") == "false"
    page.mouse.click(*middle)
    assert count(page) == drawn + 2
    assert ways(page, "exact").count("M") == 40
    assert page.get_by_role("button", name="Train", exact=True).is_enabled()
    press(page, "Reset")
    assert control(page, "data").input_value() == "clusters"
    assert page.errors == []


def test_a_finger_draws(figure_page):
    page = figure_page([PointsPlayground(np.zeros((1, 2)))], width=360)
    press(page, "Draw")
    page.locator("svg[data-name=exact]").evaluate(
        """(plane) => { const box = plane.getBoundingClientRect();
        plane.setPointerCapture = () => {}; // no finger is on the glass
        const at = (part) => ({ clientX: box.left + box.width * part, clientY: box.top + box.height / 3 });
        const touch = { bubbles: true, pointerId: 7, pointerType: "touch" };
        for (const [type, part, buttons] of [["down", 0.3, 1], ["move", 0.5, 1], ["move", 0.7, 1], ["up", 0.7, 0],
            ["move", 0.2, 0]])
          plane.dispatchEvent(new PointerEvent(`pointer${type}`, { ...touch, ...at(part), buttons })); }"""
    )
    assert count(page) == 4
    assert page.locator("svg[data-name=exact]").evaluate("p => getComputedStyle(p).touchAction") == "none"
    press(page, "Draw")
    assert page.locator("svg[data-name=exact]").evaluate("p => getComputedStyle(p).touchAction") == "auto"


def test_more_points_than_it_takes_are_refused_in_words(figure_page):
    page = figure_page([PointsPlayground(np.random.default_rng(0).uniform(-1, 1, (400, 2)))])
    press(page, "Draw")
    page.keyboard.press("Space")
    assert count(page) == 400
    assert "400 points are the most" in said(page)


def test_the_sentences_say_what_the_module_computes(figure_page):
    figure = PointsPlayground(system="blurring", steps=5)
    page = figure_page([figure])
    page.locator(COMPLETE).wait_for()
    first, second, third = page.locator(".bd-telling li").all_inner_texts()
    made = ask(
        page,
        f"""async (source) => {{ const m = await ({IMPORT})(source);
        const units = m.standardised(m.preset("clusters"), Math.PI / 4), clocks = m.clocksOf("blurring", 0, units.root);
        const walk = (grid, rule) => [...m.walking(m.exactAnswer(units), m.normals(1, 80), clocks, grid, rule)];
        const long = walk(m.evenly(clocks, m.MANY), "flow"), grid = [1, 0.8, 0.6, 0.4, 0.2, 0];
        const [ddim, flow] = ["ddim", "flow"].map((rule) => m.apart(walk(grid, rule), long));
        return {{ ...m.told(long), ddim, flow }}; }}""",
        str(figure._esm),
    )
    for number in made["halfway"]:
        assert f"{number:.2f}" in first
    assert "the coarse is settled first" in first
    assert f"{made['detour']:.2f} times" in second
    assert f"DDIM ends {made['ddim']:.2f}" in third
    assert f"flow rule {made['flow']:.2f}" in third
    nearer = "the flow rule is nearer" if made["flow"] < made["ddim"] else "DDIM is nearer"
    assert nearer in third or abs(made["flow"] - made["ddim"]) < 0.01


def test_at_t_1_the_samples_are_where_their_ways_begin(figure_page):
    page = figure_page([PointsPlayground(t=1.0, rule="flow")])
    begins = np.array([pair.split() for pair in re.findall(r"M([-\d.]+ [-\d.]+)", ways(page, "exact"))], dtype=float)
    np.testing.assert_allclose(samples(page, "exact"), begins, atol=0.11)
    control(page, "t").fill("0")
    ends = re.findall(r"([-\d.]+ [-\d.]+)(?=M|$)", ways(page, "exact"))
    np.testing.assert_allclose(samples(page, "exact"), np.array([e.split() for e in ends], dtype=float), atol=0.11)


def test_readers_who_asked_for_less_motion_see_no_ways_move_while_it_trains(figure_page):
    page = figure_page([PointsPlayground()])
    page.emulate_media(reduced_motion="reduce")
    page.reload()
    page.locator(COMPLETE).wait_for()
    press(page, "Train")
    frames(page, 50)
    way = ways(page, "trained")
    page.wait_for_function(TRAINED)
    assert ways(page, "trained") == way
    press(page, "Pause")
    assert ways(page, "trained") != way
    assert page.get_by_role("button", name="Step t").count() == 1


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 360, 320])
def test_it_fits_and_axe_finds_nothing_grave(figure_page, width, dark):
    page = figure_page([PointsPlayground()], width=width, dark=dark)
    page.locator(COMPLETE).wait_for()
    for state in ("seen", "drawn on", "empty"):
        if state == "drawn on":
            press(page, "Draw")
        elif state == "empty":
            press(page, "Draw")
            press(page, "Clear")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, state
        context = {"include": [[".bdbook-widget"]]}
        assert grave(page, context) == [], state
    assert page.errors == []
