"""Reading aids: hovers on references, the notation in a drawer, numbered figures, and the book on paper."""

import gzip
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import chromium as installed_chromium
import pdf
import pytest
import yaml
from bs4 import BeautifulSoup, Tag
from figures import timers
from pypdf import PageObject, PdfReader
from pypdf.generic import ContentStream

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
BLURRING = "notebooks/05_blurring_diffusion"
LABORATORY = "notebooks/12_exact_laboratory"
TYPESET = "() => bdbookTypeset().then(() => 0)"
# What a formula says, from the MathML that MathJax keeps for those who listen.
FORMULAS = "node => [...node.querySelectorAll('mjx-assistive-mml')].map(mml => mml.textContent)"
UNRENDERED = "node => [...node.querySelectorAll('.math')].filter(m => !m.querySelector('mjx-container')).length"
PAUSE = 150  # ms after which reading.js answers a pointer that rests
COLOURS = "node => [getComputedStyle(node).color, getComputedStyle(node).backgroundColor]"


@pytest.fixture(params=["http", "file"])
def base(request, book, serve) -> str:
    return serve(book) if request.param == "http" else book.as_uri()


@pytest.fixture
def open_typeset(open_page):
    def open_(url: str, **options):
        page = open_page(url, **options)
        page.evaluate(TYPESET)
        return page

    return open_


def link_to(page, target: str):
    return page.locator(f'article a[href$="{target}"]:not(.headerlink)').first


def hover(page, target: str):
    """Rests the mouse on the page's first reference to `target`; the card."""
    link_to(page, target).hover()
    card = page.get_by_role("tooltip")
    card.wait_for()
    return card


def test_a_hover_shows_the_equation_of_the_same_page(base, open_typeset):
    page = open_typeset(f"{base}/{BLURRING}.html")
    card = hover(page, "#equation-eq-blurring-schedule")
    target = page.locator("#equation-eq-blurring-schedule")
    assert card.evaluate(FORMULAS) == target.evaluate(FORMULAS)
    assert len(card.evaluate(FORMULAS)) == 1
    assert card.locator(".eqno").inner_text() == target.locator(".eqno").inner_text().rstrip("#")
    page.mouse.move(0, 0)
    card.wait_for(state="detached")
    assert page.errors == []


def test_a_hover_shows_the_proposition_of_another_page(base, open_typeset):
    page = open_typeset(f"{base}/{LABORATORY}.html")
    card = hover(page, "09_tacos.html#prop-fed-back")
    assert card.evaluate(UNRENDERED) == 0
    shown = card.evaluate(FORMULAS), card.locator(".admonition-title").inner_text()
    page.goto(f"{base}/notebooks/09_tacos.html")
    page.evaluate(TYPESET)
    target = page.locator("#prop-fed-back")
    assert shown == (target.evaluate(FORMULAS), target.locator(".admonition-title").inner_text())
    assert len(shown[0]) > 3
    assert page.errors == []
    assert page.external == []


@pytest.mark.parametrize(
    ("name", "target"), [(BLURRING, "#fig-kl-steps"), ("book/claims", "12_exact_laboratory.html#fig-window")]
)
def test_a_hover_shows_the_figure_with_its_number(base, open_typeset, name, target):
    page = open_typeset(f"{base}/{name}.html")
    card = hover(page, target)
    assert card.locator("img:visible").evaluate("image => image.naturalWidth") > 100
    assert re.match(r"Fig\. \d+ \w", card.locator("figcaption").inner_text())
    box = card.bounding_box()
    assert box["x"] >= 0
    assert box["y"] >= 0
    assert box["x"] + box["width"] <= 1280
    assert box["y"] + box["height"] <= 900


def test_a_hover_on_a_figure_that_moves_shows_its_caption_and_no_second_figure(base, open_typeset):
    page = open_typeset(f"{base}/{BLURRING}.html")
    card = hover(page, "#fig-blurring")
    assert "how fast each frequency loses its signal" in card.inner_text()
    assert card.locator(".bdbook-figure").count() == 0
    assert page.locator(".bdbook-widget").count() == 1


def test_a_hover_shows_the_paper_once(base, open_typeset):
    page = open_typeset(f"{base}/{BLURRING}.html")
    link = page.locator('article a[href*="bibliography.html#"]').first
    assert "Blurring diffusion models" in link.get_attribute("title")
    link.hover()
    page.get_by_role("tooltip").wait_for()
    assert "Blurring diffusion models" in page.get_by_role("tooltip").inner_text()
    assert link.get_attribute("title") is None
    assert page.get_by_role("tooltip").locator("a[href]").count() == 0


def test_a_link_to_a_section_has_no_hover(open_typeset, book):
    page = open_typeset(f"{book.as_uri()}/notebooks/09_tacos.html")
    link_to(page, "#unrolled").hover()
    timers(page, PAUSE)
    assert page.locator(".bd-hover").count() == 0
    hover(page, "#fig-restoration")


def test_the_keyboard_opens_a_hover_escape_closes_it_and_the_link_still_leads(base, open_typeset):
    page = open_typeset(f"{base}/{BLURRING}.html")
    link = link_to(page, "#prop-blurring-posterior")
    link.focus()
    card = page.get_by_role("tooltip")
    card.wait_for()
    assert link.get_attribute("aria-describedby") == card.get_attribute("id")
    page.keyboard.press("Escape")
    assert card.count() == 0
    assert link.get_attribute("aria-describedby") is None
    assert link.evaluate("node => node === document.activeElement")
    page.keyboard.press("Enter")
    page.wait_for_url("**#prop-blurring-posterior")
    target = page.locator("#prop-blurring-posterior").element_handle()
    page.wait_for_function("n => Math.abs(n.getBoundingClientRect().top) < 200", arg=target)


def test_a_finger_opens_no_hover(book, open_typeset):
    page = open_typeset(f"{book.as_uri()}/{BLURRING}.html")
    link = link_to(page, "#fig-kl-steps")
    link.dispatch_event("pointerover", {"pointerType": "touch", "bubbles": True})
    timers(page, PAUSE)
    assert page.locator(".bd-hover").count() == 0
    link.dispatch_event("pointerover", {"pointerType": "mouse", "bubbles": True})
    page.get_by_role("tooltip").wait_for()


def test_a_hover_is_dark_on_a_dark_page(book, open_typeset):
    page = open_typeset(f"{book.as_uri()}/{BLURRING}.html", dark=True)
    card = hover(page, "#equation-eq-blurring-schedule")
    text, ground = ([int(x) for x in re.findall(r"\d+", colour)[:3]] for colour in card.evaluate(COLOURS))
    assert sum(text) > 500
    assert sum(ground) < 150


def test_the_aids_weigh_little(book):
    files = ["reading.js", "reading.css", "hovers.js", "notation.js"]
    assert sum((book / "_static" / name).stat().st_size for name in files) < 230_000  # as read
    assert sum(len(gzip.compress((book / "_static" / name).read_bytes())) for name in files) < 50_000  # as served


# --- the notation ---


def open_notation(page):
    page.get_by_role("button", name="Notation", exact=True).click()
    drawer = page.get_by_role("dialog", name="Notation")
    drawer.locator(".bd-drawer-text td mjx-container").last.wait_for()
    return drawer


@pytest.mark.parametrize(("name", "width"), [(BLURRING, 1280), ("notebooks/08_cold_diffusion", 360)])
def test_the_drawer_has_the_symbols_of_the_notation_page(base, open_typeset, name, width):
    page = open_typeset(f"{base}/{name}.html", width=width)
    drawer = open_notation(page)
    source = (ROOT / "book" / "notation.md").read_text()
    rows = [line for line in source.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    assert drawer.locator("tr").count() == len(rows)
    symbols = rows[1 : next(i for i, row in enumerate(rows) if row.startswith("| here"))]
    assert drawer.locator("table").first.locator("code").all_inner_texts() == re.findall(
        r"`([^`]+)`", " ".join(symbols)
    )
    assert drawer.evaluate(UNRENDERED) == 0
    first = drawer.locator("tbody tr").first
    assert first.locator("td").first.evaluate(FORMULAS) == ["x,\N{NO-BREAK SPACE}x^"]
    box = drawer.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.errors == []
    assert page.external == []


def test_the_drawer_answers_the_keyboard_and_remembers_nothing(base, open_typeset):
    page = open_typeset(f"{base}/{BLURRING}.html")
    button = page.get_by_role("button", name="Notation", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    drawer = page.get_by_role("dialog", name="Notation")
    drawer.wait_for()
    assert button.get_attribute("aria-expanded") == "true"
    assert page.evaluate("document.activeElement.ariaLabel") == "Close the notation"
    page.keyboard.press("Escape")
    assert drawer.count() == 0
    assert button.get_attribute("aria-expanded") == "false"
    assert button.evaluate("node => node === document.activeElement")
    open_notation(page)
    page.get_by_role("button", name="Close the notation").click()
    assert drawer.count() == 0
    open_notation(page)
    page.goto(f"{base}/{LABORATORY}.html")
    assert page.get_by_role("dialog", name="Notation").count() == 0


def test_the_page_stays_in_use_beside_the_drawer(book, open_typeset):
    page = open_typeset(f"{book.as_uri()}/{BLURRING}.html")
    open_notation(page)
    link = link_to(page, "#equation-eq-blurring-marginal")
    link.hover()
    page.get_by_role("tooltip").wait_for()
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog", name="Notation").count() == 1  # the card first, then the drawer
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog", name="Notation").count() == 0


# --- figures ---


@pytest.fixture(scope="module")
def articles(book) -> dict[str, Tag]:
    """Chapter -> what its page says."""
    pages = sorted((book / "notebooks").glob("*.html"))
    return {path.stem: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").article for path in pages}


def test_each_figure_that_a_chapter_shows_has_a_number_a_caption_and_a_mention(articles):
    """Pictures inside a folded cell, which illustrate a solution, may go without."""
    found, wanting = 0, []
    for name, article in articles.items():
        mentioned = {link["href"] for link in article.select("a.reference.internal")}
        for shown in article.select("img, .bdbook-figure"):
            if shown.find_parent("details"):
                continue
            found += 1
            figure = shown.find_parent("figure")
            number = figure and figure.select_one("figcaption .caption-number")
            if not number or len(figure.select_one(".caption-text").get_text()) < 20:
                wanting.append(f"{name}: no number or caption: {shown.get('alt') or shown.name}")
            elif f"#{figure['id']}" not in mentioned:
                wanting.append(f"{name}: nowhere mentioned: {figure['id']}")
    assert found > 60
    assert wanting == []


def test_no_chapter_speaks_of_a_figure_without_its_number(articles):
    said = re.compile(r"\b(?:the|this|next|last) (?:figure|plot)s?\b|figures? (?:above|below)", re.IGNORECASE)
    assert said.search("The figure shows")
    spoken = []
    for name, article in articles.items():
        for part in article.select("p, li, td"):
            if not part.find_parent(class_="cell_output") and (match := said.search(part.get_text())):
                spoken.append(f"{name}: {match.group()}: {part.get_text()[:80]}")
    assert spoken == []


# --- paper ---


def test_paper_has_no_controls_and_keeps_figures_whole(book, open_typeset):
    page = open_typeset(f"{book.as_uri()}/{BLURRING}.html", dark=True)
    page.locator(".bdbook-widget svg path.bd-line[d]").last.wait_for(state="attached")
    details = page.locator("article .tag_hide-cell details").first
    assert page.locator(".bd-sidebar-primary").is_visible()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for name in (".bd-sidebar-primary", ".bd-sidebar-secondary", ".bd-header-article", "article summary", ".bd-button"):
        assert page.locator(name).first.is_hidden(), name
    assert page.locator("article h1").is_visible()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert details.get_attribute("open") is not None
    whole = "nodes => nodes.map(node => getComputedStyle(node).breakInside)"
    assert set(page.locator("article figure").evaluate_all(whole)) == {"avoid"}
    assert page.locator(".bdbook-widget").evaluate("n => getComputedStyle(n, '::after').content") != "none"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert details.get_attribute("open") is None


@pytest.fixture(scope="module")
def paper(book, chromium, tmp_path_factory) -> PdfReader:
    """Three pages of the book, printed as `make pdf` prints all of them."""
    folder = tmp_path_factory.mktemp("paper")
    shutil.copy(ROOT / "_config.yml", folder)
    parts = [{"caption": "Two parts", "chapters": [{"file": "notebooks/07_soft_diffusion"}]}]
    parts.append({"caption": "What moves", "chapters": [{"file": "book/index"}]})
    (folder / "_toc.yml").write_text(yaml.safe_dump({"root": "book/notation", "parts": parts}))
    done = subprocess.run(
        [sys.executable, str(ROOT / "book" / "pdf.py"), str(book), "book.pdf"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == [
        "Notation",
        "7 · Soft diffusion",
        "Diffusion models that blur",
    ]
    return PdfReader(folder / "book.pdf")


def bookmarks(items: list, depth: int = 0) -> list[tuple[int, str]]:
    found = []
    for item in items:
        found += bookmarks(item, depth + 1) if isinstance(item, list) else [(depth, item.title)]
    return found


def test_the_pdf_has_a_bookmark_for_each_part_chapter_and_section(paper):
    found = bookmarks(paper.outline)
    assert [title for depth, title in found if depth == 0] == ["Notation", "Two parts", "What moves"]
    assert (1, "7 · Soft diffusion") in found
    assert (2, "The process") in found
    names = [None if isinstance(item, list) else item.title for item in paper.outline]
    start = paper.outline[names.index("Two parts") + 1][0]
    assert "The question." in paper.pages[paper.get_destination_page_number(start)].extract_text()


def test_the_mathematics_of_the_pdf_is_typeset(paper):
    text = "".join(page.extract_text() for page in paper.pages)
    assert "False friends" in text
    assert "diffusion" in text
    assert not re.search("[ﬀ-ﬆ]", text), "ligatures, which no search finds"
    assert not re.search(r"\\[a-zA-Z(\[]", text)


def test_the_pages_of_the_pdf_are_numbered_as_the_contents_say(paper):
    assert paper.page_labels[:3] == ["i", "ii", "1"]
    contents = paper.pages[1].extract_text()
    start = int(re.search(r"7 · Soft diffusion\s*(\d+)", contents)[1])
    page = paper.pages[paper.page_labels.index(str(start))].extract_text()
    assert "The question." in page
    assert re.search(rf"7 · Soft diffusion\s*{start}\s*$", page)


def test_links_between_chapters_stay_within_the_pdf(paper):
    addresses, inner = [], 0
    for page in paper.pages:
        for reference in page.get("/Annots", ()):
            link = reference.get_object()
            addresses.append(link.get("/A", {}).get("/URI", ""))
            inner += "/Dest" in link and paper.get_page_number(link["/Dest"][0].get_object()) > 1
    assert inner > 10
    assert [address for address in addresses if address.startswith("file:")] == []


def ink(sheet: PageObject) -> int:
    """About how much is on a sheet: its letters and pictures, and the corners of its drawings, what is drawn within
    groups included; boxes and lines alone are a handful of corners."""
    count, waiting = 0, [(sheet.get_contents(), sheet)]
    while waiting:
        content, owner = waiting.pop()
        resources = owner.get("/Resources", {}).get_object().get("/XObject", {})
        for operands, operator in ContentStream(content, sheet.pdf).operations:
            if operator in (b"Tj", b"TJ", b"c"):
                count += 1
            elif operator == b"Do":
                inner = resources.get_object()[operands[0]].get_object()
                if inner["/Subtype"] == "/Image":
                    count += 100
                else:
                    waiting.append((inner, inner))
    return count


def test_no_sheet_of_the_pdf_is_empty_or_an_empty_box(paper):
    thin = [number for number, sheet in enumerate(paper.pages, 1) if ink(sheet) < 10]
    assert thin == []


def test_without_chromium_printing_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "index.html").write_text("<h1>x</h1>", encoding="utf-8")
    monkeypatch.setattr(installed_chromium, "chromium", lambda: "nowhere/chromium")
    with ThreadPoolExecutor(1) as thread:  # playwright has the event loop of this one
        printing = thread.submit(pdf.write, tmp_path, tmp_path / "book.pdf", {}, [("", "index")])
        with pytest.raises(SystemExit, match="apt-get install chromium"):
            printing.result()
