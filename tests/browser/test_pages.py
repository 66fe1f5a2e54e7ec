"""The built book in a reader's hands: first page, darkness, what moves, what it weighs, links, names of chapters."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from bs4 import BeautifulSoup
from pages import PAGES, QUIET, THEME, TOC, TYPESET

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]

# Every byte of the page and of what it loaded, unpacked, for a server that packs nothing.
WEIGHT = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .map(entry => [entry.name, entry.decodedBodySize])"""
# Down the page, so that pictures come; then all that has moved without the reader's doing.
SHIFT = """async () => {
  let sum = 0;
  const add = (entries) => { for (const entry of entries) if (!entry.hadRecentInput) sum += entry.value; };
  const observer = new PerformanceObserver(list => add(list.getEntries()));
  observer.observe({ type: "layout-shift", buffered: true });
  const frame = () => new Promise(requestAnimationFrame);
  const near = (image) => {
    const { top, bottom } = image.getBoundingClientRect();
    return top < innerHeight && bottom > 0;
  };
  for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight) {
    scrollTo({ top: y, behavior: "instant" });
    await frame();
    await Promise.allSettled([...document.images].filter(near).map((image) => image.decode()));
    for (let i = 0; i < 3; i++) await frame(); // laid out, and what moved is told
  }
  await new Promise((done) => setTimeout(done, 0));
  add(observer.takeRecords());
  return sum;
}"""
BACKGROUND = "() => getComputedStyle(document.body).backgroundColor"


@pytest.fixture(params=["http", "file"])
def base(request, book, serve) -> str:
    """Where the book is, without a closing slash, over either way to read it."""
    return serve(book) if request.param == "http" else book.as_uri()


def test_the_books_address_leads_to_its_first_page(base, open_page):
    page = open_page(f"{base}/index.html")
    page.wait_for_url(f"**/{TOC['root']}.html")
    assert page.external == []


def test_the_theme_switch_turns_the_page_dark_and_the_next_page_remembers(base, open_page):
    page = open_page(f"{base}/{PAGES[0]}.html")
    light = page.evaluate(BACKGROUND)
    for _ in range(3):  # it goes round light, dark and the system's own
        page.locator(".theme-switch-button:visible").first.click()  # heard: its script is done when the page is loaded
        if page.evaluate(THEME) == "dark":
            break
    assert page.evaluate(THEME) == "dark"
    assert page.evaluate(BACKGROUND) != light
    page.goto(f"{base}/{PAGES[1]}.html")
    assert page.evaluate(THEME) == "dark"


def test_a_reader_whose_system_is_dark_gets_a_dark_page(base, open_page):
    assert open_page(f"{base}/{PAGES[0]}.html", dark=True).evaluate(THEME) == "dark"


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize(
    "name",
    [
        "notebooks/03_heat_dissipation",
        "notebooks/05_blurring_diffusion",
        "notebooks/11_one_step",
        "notebooks/15_ablations",
    ],
)
def test_little_moves_while_a_page_is_drawn_and_read(name, width, book, serve, open_page):
    page = open_page(f"{serve(book)}/{name}.html", width=width)
    page.evaluate(TYPESET)
    for figure in page.locator(".bdbook-figure").all():
        figure.locator(".bdbook-widget").wait_for()
    page.evaluate(QUIET)
    assert page.evaluate(SHIFT) < 0.1


ROOMS = """() => [...document.querySelectorAll(".bd-article span.math")].map(node => [
  parseFloat(node.style.getPropertyValue("--bd-width")),
  node.querySelector("mjx-container").getBoundingClientRect().width / parseFloat(getComputedStyle(node).fontSize)])"""


def test_formulas_within_lines_have_about_the_room_that_is_kept_for_them(book, open_page):
    page = open_page(f"{book.as_uri()}/notebooks/05_blurring_diffusion.html")
    page.evaluate(TYPESET)
    kept, taken = np.array(page.evaluate(ROOMS), dtype=float).T
    assert len(kept) > 50
    assert np.isnan(kept).mean() < 0.1, "formulas that matplotlib cannot set"
    assert np.nanmean(np.abs(kept - taken)) < 0.4, "em"


def test_the_longest_page_weighs_less_than_2_7_megabytes_before_its_pictures_come_near(book, serve, open_page):
    longest = max(PAGES, key=lambda name: (book / f"{name}.html").stat().st_size)
    page = open_page(f"{serve(book)}/{longest}.html")
    page.evaluate(TYPESET)
    page.evaluate(QUIET)
    sizes = dict(page.evaluate(WEIGHT))
    assert any("mathjax/output/svg/fonts" in address for address in sizes)  # formulas are set, and counted
    assert sum(sizes.values()) < 2.7e6, sorted(sizes.items(), key=lambda item: -item[1])[:5]


def test_the_first_page_weighs_less_than_a_megabyte_before_a_click(book, serve, open_page):
    """Unpacked: the walks play, and MathJax waits for the first formula."""
    page = open_page(f"{serve(book)}/{PAGES[0]}.html")
    page.locator(".bdbook-widget canvas").first.wait_for()
    page.evaluate(QUIET)
    sizes = dict(page.evaluate(WEIGHT))
    assert sum(sizes.values()) < 1e6, sorted(sizes.items(), key=lambda item: -item[1])[:5]
    page.locator(".math").first.scroll_into_view_if_needed()
    page.locator(".bd-article mjx-container").first.wait_for()
    page.evaluate(TYPESET)
    assert page.locator("span.math:not(:has(mjx-container)), div.math:not(:has(mjx-container))").count() == 0


def test_the_book_is_smaller_than_120_megabytes(book):
    assert sum(path.stat().st_size for path in book.rglob("*") if path.is_file()) < 120e6


class References(HTMLParser):
    """The anchors of a page, where its links lead, those of the menu apart, and what it loads."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors, self.links, self.menu, self.loads = set(), [], [], []
        self.depth = 0  # of divisions open in the menu, itself included
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "div" and (self.depth or given.get("id") == "pst-primary-sidebar"):
            self.depth += 1
        if tag == "a" and given.get("href"):
            (self.menu if self.depth else self.links).append(given["href"])
        elif tag in {"script", "img", "iframe", "source"} and given.get("src"):
            self.loads.append(given["src"])
        elif tag == "link" and given.get("href"):
            self.loads.append(given["href"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "div" and self.depth:
            self.depth -= 1


@pytest.fixture(scope="module")
def parsed(book) -> dict[Path, References]:
    return {path: References(path) for path in sorted(book.rglob("*.html")) if "_static" not in path.parts}


def test_links_within_the_book_lead_somewhere(parsed):
    dead = []
    for path, page in parsed.items():
        for link in page.links + page.menu:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and target in parsed and anchor not in parsed[target].anchors):
                dead.append(f"{path.name}: {link}")
    assert dead == []


@pytest.mark.parametrize("opening", [0, 1])  # clicks to open the menu: none on a desktop, one on a phone
def test_every_page_is_two_clicks_from_the_first_at_most(opening, book, parsed):
    def neighbours(path: Path) -> dict[Path, int]:
        """The pages that `path` links to, and in how many clicks."""
        menu, links = (
            {(path.parent / unquote(urlsplit(link).path)).resolve() for link in group if not urlsplit(link).scheme}
            for group in (parsed[path].menu, parsed[path].links)
        )
        return dict.fromkeys(menu, 1 + opening) | dict.fromkeys(links, 1)

    first = book / f"{PAGES[0]}.html"
    clicks = neighbours(first)
    for near in [path for path, count in clicks.items() if count == 1 and path in parsed]:
        clicks = {path: 1 + count for path, count in neighbours(near).items()} | clicks
    far = [name for name in PAGES[1:] if clicks.get(book / f"{name}.html", 3) > 2]
    assert far == []


def test_no_page_names_an_outside_file_to_load(parsed):
    outside = [
        f"{path.name}: {address}"
        for path, page in parsed.items()
        for address in page.loads
        if urlsplit(address).scheme in {"http", "https"} or address.startswith("//")
    ]
    assert outside == []


# --- one number and one title for every chapter ---

CHAPTER = re.compile(r"^[Cc]hapter (\d+)\b")


def said(element) -> str:
    """The words of an element, less the mark that links to it."""
    for mark in element.select(".headerlink"):
        mark.decompose()
    return " ".join(element.get_text().split())


@pytest.fixture(scope="module")
def soups(book) -> dict[str, BeautifulSoup]:
    """Page, as `_toc.yml` names it -> what was built of it."""
    return {name: BeautifulSoup((book / f"{name}.html").read_text(encoding="utf-8"), "html.parser") for name in PAGES}


@pytest.fixture(scope="module")
def titles() -> dict[str, str]:
    """Chapter, in the order of the contents -> its number and its title, read anew from file and notebook."""
    found = {}
    for name in PAGES:
        if name.startswith("notebooks/"):
            first = json.loads((ROOT / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"][0]["source"][0]
            first = first.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")  # as the pages set it
            found[name] = f"{int(name.split('/')[1].split('_')[0])} · {first[2:].strip()}"
    return found


def test_a_chapter_has_the_same_number_and_title_wherever_it_is_named(titles, soups):
    assert len(titles) > 20
    assert len(set(titles.values())) == len(titles)
    for name, title in titles.items():
        assert said(soups[name].select_one("article h1")) == title
        assert soups[name].title.get_text().startswith(f"{title} — ")
    cards = soups[PAGES[0]].select(".bd-chapters .sd-card")
    named = {
        f"notebooks/{Path(card.select_one('a')['href']).stem}": said(card.select_one(".sd-card-title"))
        for card in cards
    }
    assert list(named.items()) == list(titles.items())
    whole = [titles.get(name) or said(soups[name].select_one("article h1")) for name in PAGES]
    for name, soup in soups.items():
        assert [said(link) for link in soup.select("#pst-primary-sidebar .toctree-l1 > a")] == whole, name


def test_the_neighbours_of_a_page_are_named_as_they_name_themselves(titles, soups):
    for i, name in enumerate(PAGES):
        wanted = [
            titles.get(near, said(soups[near].select_one("article h1")))
            for near in PAGES[max(0, i - 1) : i + 2]
            if near != name
        ]
        assert [said(link) for link in soups[name].select(".prev-next-title")] == wanted, name


def test_a_link_that_says_chapter_n_leads_to_chapter_n(soups):
    counted, wrong = 0, []
    for name, soup in soups.items():
        for link in soup.article.select("a[href]"):
            if spoken := CHAPTER.match(said(link)):
                counted += 1
                there = Path(urlsplit(link["href"]).path).name or Path(name).name
                if not there.startswith(f"{int(spoken[1]):02}_"):
                    wrong.append(f"{name}: {said(link)} leads to {link['href']}")
    assert counted > 100
    assert wrong == []
