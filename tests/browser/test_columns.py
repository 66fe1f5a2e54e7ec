"""Nothing on a page runs past its column unseen: it fits, or it scrolls and shows so."""

import pytest
from pages import PAGES, QUIET, SETTLED, TYPESET

pytestmark = pytest.mark.browser

# [what runs past its box and does not fade at that edge, what scrolls]; what is folded away, and the figures that
# move, aside.
WIDE = """() => {
  const unseen = [], scrolls = [];
  const boxes = "div.math, mjx-container, .bd-wide, .pst-scrollable-table-container, pre, .cell_output";
  for (const box of document.querySelectorAll(`.bd-article :is(${boxes})`)) {
    if (box.closest(".bdbook-widget, details:not([open])")) continue;
    if (!box.clientWidth || box.scrollWidth <= box.clientWidth + 1) continue;
    if (getComputedStyle(box).overflowX === "visible") continue; // what is in it is asked itself
    const what = `${box.tagName}: ${box.clientWidth} of ${box.scrollWidth} px: ${box.textContent.trim()}`;
    (getComputedStyle(box).maskImage === "none" ? unseen : scrolls).push(what.slice(0, 120));
  }
  return [unseen, scrolls];
}"""


@pytest.mark.parametrize("name", PAGES)
def test_what_is_wider_than_its_column_shows_so_and_code_and_formulas_fit_a_desktop(name, book, open_page):
    page = open_page(f"{book.as_uri()}/{name}.html")
    page.evaluate(TYPESET)
    page.evaluate(QUIET)
    page.evaluate(SETTLED)
    unseen, scrolls = page.evaluate(WIDE)
    assert unseen == []
    assert [what for what in scrolls if what.startswith(("PRE", "MJX"))] == []
    page.set_viewport_size({"width": 360, "height": 740})
    page.evaluate(SETTLED)
    assert page.evaluate(WIDE)[0] == []


def test_the_fade_is_at_the_edge_that_has_more(book, open_page):
    page = open_page(f"{book.as_uri()}/notebooks/02_gaussian_diffusion.html", width=360)
    page.evaluate(TYPESET)
    page.evaluate(SETTLED)
    box = page.locator("mjx-container[display].bd-more-after").first
    assert "bd-more-before" not in box.get_attribute("class")
    box.evaluate("box => { window.box = box; box.scrollLeft = box.scrollWidth; }")
    page.wait_for_function("() => box.matches('.bd-more-before:not(.bd-more-after)')")


def test_on_a_phone_the_notation_says_what_its_symbols_mean_without_scrolling(book, open_page):
    page = open_page(f"{book.as_uri()}/book/notation.html", width=360)
    page.evaluate(TYPESET)
    page.evaluate(SETTLED)
    cells = page.locator("table.bd-symbols tbody td")
    assert cells.count() > 60
    assert cells.evaluate_all("cells => Math.max(...cells.map(cell => cell.getBoundingClientRect().right))") <= 360
    box = page.locator(".pst-scrollable-table-container:has(.bd-symbols)")
    assert box.evaluate("box => box.scrollWidth - box.clientWidth") <= 1
