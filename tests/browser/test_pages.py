"""Every page of the built book, as a reader meets it: by http and from a file, desktop and phone, light and dark."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

pytestmark = pytest.mark.browser

TOC = yaml.safe_load((Path(__file__).resolve().parents[2] / "_toc.yml").read_text())
PAGES = [TOC["root"]] + [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]

TYPESET = "async () => { if (window.MathJax) await MathJax.startup.promise; }"
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
THEME = "() => document.documentElement.dataset.theme"
BACKGROUND = "() => getComputedStyle(document.body).backgroundColor"


# Over http the loading differs, not the pages: one without and one with a slider stand for all.
SERVED = [TOC["root"], "notebooks/05_blurring_diffusion"]
WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(params=["http", "file"])
def base(request, book, serve) -> str:
    """Where the book is, without a closing slash, over either way to read it."""
    return serve(book) if request.param == "http" else book.as_uri()


@pytest.mark.parametrize(
    ("base", "name"), [("file", p) for p in PAGES] + [("http", p) for p in SERVED], indirect=["base"]
)
def test_page_is_whole_needs_nothing_from_outside_and_fits_a_phone(name, base, open_page):
    page = open_page(f"{base}/{name}.html")
    page.evaluate(TYPESET)
    page.wait_for_load_state("networkidle")
    assert page.external == []
    assert page.errors == []
    assert page.evaluate(UNRENDERED) == []
    assert page.evaluate(BAD_IMAGES) == []
    assert page.evaluate(WARNINGS) == []
    assert page.locator("article h1").count() == 1
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate(WIDE) <= 0


def test_the_books_address_leads_to_its_first_page(base, open_page):
    page = open_page(f"{base}/index.html")
    page.wait_for_url(f"**/{TOC['root']}.html")
    assert page.external == []


def test_the_theme_switch_turns_the_page_dark_and_the_next_page_remembers(base, open_page):
    page = open_page(f"{base}/{PAGES[0]}.html")
    light = page.evaluate(BACKGROUND)
    for _ in range(3):  # it goes round light, dark and the system's own
        page.locator(".theme-switch-button:visible").first.click()
        if page.evaluate(THEME) == "dark":
            break
    assert page.evaluate(THEME) == "dark"
    assert page.evaluate(BACKGROUND) != light
    page.goto(f"{base}/{PAGES[1]}.html")
    assert page.evaluate(THEME) == "dark"


def test_a_reader_whose_system_is_dark_gets_a_dark_page(base, open_page):
    assert open_page(f"{base}/{PAGES[0]}.html", dark=True).evaluate(THEME) == "dark"


def test_search_finds_a_word_of_the_notation_page(book, serve, open_page):
    page = open_page(f"{serve(book)}/search.html?q=dissipation")
    link = page.locator("#search-results li a", has_text="Notation").first
    link.wait_for()
    assert page.external == []
    assert page.errors == []


class References(HTMLParser):
    """The anchors of a page, where its links lead, and what it loads."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors, self.links, self.loads = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag in {"script", "img", "iframe", "source"} and given.get("src"):
            self.loads.append(given["src"])
        elif tag == "link" and given.get("href"):
            self.loads.append(given["href"])


@pytest.fixture(scope="module")
def parsed(book) -> dict[Path, References]:
    return {path: References(path) for path in sorted(book.rglob("*.html")) if "_static" not in path.parts}


def test_links_within_the_book_lead_somewhere(parsed):
    dead = []
    for path, page in parsed.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and target in parsed and anchor not in parsed[target].anchors):
                dead.append(f"{path.name}: {link}")
    assert dead == []


def test_no_page_names_an_outside_file_to_load(parsed):
    outside = [
        f"{path.name}: {address}"
        for path, page in parsed.items()
        for address in page.loads
        if urlsplit(address).scheme in {"http", "https"} or address.startswith("//")
    ]
    assert outside == []
