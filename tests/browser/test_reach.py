"""Who can use the pages: axe-core on each, light and dark, desktop and phone, with the menus shut and open."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from test_pages import PAGES, THEME, TYPESET

pytestmark = pytest.mark.browser

# Pages that Sphinx makes of the others.
MADE = ["search", "genindex", "prf-prf"]
# A set formula is many shapes, hidden from a screen reader, which has the MathML beside them: in them is nothing to
# find, and passing them by takes a third of the time.
EMPTY = "() => { for (const formula of document.querySelectorAll('mjx-container > svg')) formula.replaceChildren(); }"
AROUND = {"exclude": [["article"]]}  # the bars and menus
COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"]}
GRAVE = {"serious", "critical"}


def grave(page, context: dict | None = None, options: dict | None = None) -> list[str]:
    """What axe-core finds of impact serious or critical: the rule, the element and what is wrong, a line each."""
    page.evaluate(EMPTY)
    for _ in range(3):
        # Colours fade from one theme to the other, and the theme waits before it makes what scrolls focusable.
        page.wait_for_timeout(500)
        found = Axe().run(page, context, {"resultTypes": ["violations"]} | (options or {})).response["violations"]
        told = [
            f"{violation['id']}: {node['target']}: {node['failureSummary']}"
            for violation in found
            if violation["impact"] in GRAVE
            for node in violation["nodes"]
        ]
        if not told:
            break
    return told


@pytest.mark.parametrize("name", PAGES + MADE)
def test_page_has_no_grave_violation(name, book, open_page):
    page = open_page(f"{book.as_uri()}/{name}.html")
    page.evaluate(TYPESET)
    assert grave(page) == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"() => ({THEME})() === 'dark'")
    assert grave(page, AROUND, COLOURS) == []
    page.set_viewport_size({"width": 360, "height": 740})
    assert grave(page) == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
    ("width", "button", "name"),
    [
        (1280, ".search-button-field", "Search"),
        (360, ".primary-toggle", "Contents of the book"),
        (360, ".secondary-toggle", "Contents of the page"),
    ],
)
def test_dialog_has_a_name_and_no_grave_violation(width, button, name, dark, book, open_page):
    page = open_page(f"{book.as_uri()}/{PAGES[0]}.html", width=width, dark=dark)
    page.evaluate(TYPESET)
    page.locator(f"{button}:visible").first.click()
    page.get_by_role("dialog", name=name, exact=True).wait_for()
    assert grave(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")


def test_a_formula_that_scrolls_can_be_scrolled_from_the_keyboard(book, open_page):
    page = open_page(f"{book.as_uri()}/notebooks/02_gaussian_diffusion.html", width=360)
    page.evaluate(TYPESET)
    formula = page.locator("article mjx-container[display][tabindex='0']").last.element_handle()
    formula.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("node => node.scrollLeft > 0", arg=formula)
    page.set_viewport_size({"width": 1280, "height": 740})  # where it has the room
    page.wait_for_function("node => !node.hasAttribute('tabindex')", arg=formula)


BEYOND = """() => [...document.querySelectorAll(".bd-article mjx-container:not([display])")]
  .filter(node => node.getBoundingClientRect().right > document.documentElement.clientWidth)
  .map(node => node.textContent)"""


def test_no_formula_within_a_line_is_cut_off_on_a_phone(book, open_page):
    page = open_page(f"{book.as_uri()}/notebooks/02_gaussian_diffusion.html", width=360)
    page.evaluate(TYPESET)
    long = page.locator("mjx-container.bd-long[tabindex='0']")
    long.first.wait_for()
    assert page.evaluate(BEYOND) == []
    page.set_viewport_size({"width": 1280, "height": 740})
    page.wait_for_function("() => !document.querySelector('.bd-long')")
