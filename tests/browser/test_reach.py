"""Who can use the pages: axe-core with the menus open, and what scrolls, from the keyboard."""

import pytest
from pages import PAGES, TYPESET, grave

pytestmark = pytest.mark.browser


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
