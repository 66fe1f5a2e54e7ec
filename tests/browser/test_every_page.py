"""Every page of the built book: whole, with nothing from outside, fit for a phone and for all who read it.

A page is opened once for all that is asked of it.
"""

import pytest
from pages import PAGES, QUIET, THEME, TOC, TYPESET, grave

pytestmark = pytest.mark.browser

# Formulas left as they were, formulas in error, and macros that MathJax does not know (it sets those in red).
UNRENDERED = """() => {
  const found = [...document.querySelectorAll(".math")]
    .filter(node => !node.querySelector("mjx-container")).map(node => node.textContent);
  for (const node of document.querySelectorAll("[data-mml-node=merror], mjx-container [fill=red]"))
    found.push("in error: " + node.closest("mjx-container").parentElement.textContent);
  const walker = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const shown = !node.parentElement.closest("pre, code, script, style, textarea, mjx-container");
    if (shown && /[$]|\\\\[([]/.test(node.data)) found.push("raw: " + node.data.trim());
  }
  return found;
}"""
# myst-nb writes the file's name where a figure brings no alternative text.
BAD_IMAGES = """async () => {
  const found = [];
  for (const image of document.images) {
    image.loading = "eager";
    try { await image.decode(); } catch { found.push("broken: " + image.src); }
    const alt = (image.getAttribute("alt") ?? "").trim();
    if (!alt || /[.](png|svg|jpe?g|gif)$/i.test(alt)) found.push("no alternative text: " + image.src);
  }
  return found;
}"""
WARNINGS = """() => [...document.querySelectorAll(".output.stderr")]
  .map(node => node.textContent).filter(text => /Warning|Traceback/.test(text))"""
# The theme's icons are shapes of the book's own (book/assets/icons.css); without one an icon is a full square.
SHAPELESS = """() => [...document.querySelectorAll(".fa-solid, .fas, .fab")]
  .filter(icon => !getComputedStyle(icon).maskImage.startsWith("url(")).map(icon => icon.className)"""
WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Over http the loading differs, not the pages: one without and one with a slider stand for all.
SERVED = [TOC["root"], "notebooks/05_blurring_diffusion"]
# Pages that Sphinx makes of the others.
MADE = ["search", "genindex", "prf-prf"]
# The bars and menus, which are the same on every page, and are others on a phone.
AROUND, FRAMED = {"exclude": [["article"]]}, [*SERVED, *MADE]
COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"]}
# What an article, whose elements are the same everywhere, may do wrong on a phone or in the dark.
PLACED = {"runOnly": [*COLOURS["runOnly"], "target-size", "scrollable-region-focusable"]}
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


def where(book, serve, scheme: str, name: str) -> str:
    return f"{serve(book) if scheme == 'http' else book.as_uri()}/{name}.html"


@pytest.fixture(scope="module")
def opened(request, book, serve, open_shared_page):
    """The page of a scheme and a name, open and typeset."""
    page = open_shared_page(where(book, serve, *request.param))
    page.evaluate(TYPESET)
    return page


@pytest.fixture
def page(opened):
    """The page, light and on a desktop."""
    opened.set_viewport_size(DESKTOP)
    opened.emulate_media(color_scheme="light")
    opened.wait_for_function(f"() => ({THEME})() === 'light'")
    return opened


def of(scheme: str, names: list[str]) -> list:
    return [pytest.param((scheme, name), id=f"{scheme}-{name}") for name in names]


@pytest.mark.parametrize("opened", of("file", PAGES) + of("http", SERVED), indirect=True)
def test_page_is_whole_needs_nothing_from_outside_and_fits_a_phone(page):
    page.evaluate(QUIET)
    assert page.external == []
    assert page.errors == []
    assert page.evaluate(UNRENDERED) == []
    assert page.evaluate(BAD_IMAGES) == []
    assert page.evaluate(WARNINGS) == []
    assert page.evaluate(SHAPELESS) == []
    assert page.locator("article h1").count() == 1
    page.set_viewport_size(PHONE)
    assert page.evaluate(WIDE) <= 0


@pytest.mark.parametrize("opened", of("file", PAGES + MADE), indirect=True)
def test_page_has_no_grave_violation(page, request):
    assert grave(page) == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"() => ({THEME})() === 'dark'")
    framed = request.node.callspec.id.removeprefix("file-") in FRAMED
    if framed:
        assert grave(page, AROUND, COLOURS) == []
    page.set_viewport_size(PHONE)
    assert grave(page, options={} if framed else PLACED) == []
    assert page.external == []


@pytest.mark.parametrize(
    "body",
    [
        '<p>plain</p><p>plain</p><p style="color: #ccc">pale</p>',
        '<p>plain</p><div style="background: #222"><p>plain on the dark</p></div>',
        '<p style="color: #ccc; display: none">unseen</p><p style="color: #ccc">pale</p>',
        '<p>plain</p><p style="opacity: 0.3">veiled</p>',
        '<div style="background: #222; height: 9em"></div><p>plain</p><p style="position: absolute; top: 8em">over</p>',
        '<p>plain</p><button style="background: #eee; color: #ccc">pale</button>',
        '<div class="highlight"><pre><b>if</b> <b>if</b> <b style="color: #ccc">pale</b></pre></div>',
    ],
)
def test_text_that_cannot_be_read_is_found_among_what_can(open_page, tmp_path, body):
    (tmp_path / "index.html").write_text(
        f'<!doctype html><html lang="en"><title>x</title><main><h1>x</h1>{body}</main></html>', encoding="utf-8"
    )
    (found,) = grave(open_page((tmp_path / "index.html").as_uri()))
    assert found.startswith("color-contrast: ")
