"""The search, in the dialog and on its page: what is asked for is found, and stands where the find leads."""

import gzip
import json
import re

import pytest
from pages import PAGES, TYPESET

from bdbook.adapters.scheduler import BlurringScheduler

pytestmark = pytest.mark.browser

# Words -> what the first finds of some kind are called, and on which page they stand.
QUERIES = {
    "Proposition 1": ("Propositions", r"^Proposition 1\b", "notebooks/01_images_in_frequency"),
    "probability flow": ("Propositions", r"flow|Euler", ""),
    "d_min": ("Sections", r"d_min", "notebooks/05_blurring_diffusion"),
    "dmin": ("Symbols", r"d_min", "book/notation"),
    "TACoS": ("Pages", r"^9 · TACoS$", "notebooks/09_tacos"),
    "Figure 12": ("Figures", r"^Figure 12$", "notebooks/"),
    "BlurringScheduler": ("Library", rf"\.{BlurringScheduler.__name__}$", "book/api"),
    "flow rule": ("Sections", r".", "notebooks/18_one_clock_per_frequency"),
    "exercise": ("Exercises", r"^Exercise \d", "notebooks/"),
    "Salaün": ("References", r"Salaün", "book/bibliography"),
    "salaun": ("References", r"Salaün", "book/bibliography"),
    "lee proposition 1": ("Equations of the papers", r"^Lee, Prop", "book/equations"),
    "frequency scaling": ("Library", r"frequency_scaling$", "book/api"),
}


@pytest.fixture(params=["http", "file"])
def base(request, book, serve) -> str:
    return serve(book) if request.param == "http" else book.as_uri()


@pytest.fixture(scope="module")
def objects(book) -> dict:
    """The index as it is written."""
    text = (book / "_static" / "objects.js").read_text(encoding="utf-8")
    return json.loads(text.partition(" = ")[2].rstrip().rstrip(";"))


@pytest.fixture(scope="module")
def searched(book, open_shared_page):
    """The page of the search, which answers many queries."""
    return open_shared_page(f"{book.as_uri()}/search.html")


def ask(page, words: str):
    """Types words into the page's own field and waits for the answer."""
    field = page.locator(".bd-search-container input[type=search]")
    field.fill("")
    field.fill(words)
    page.locator("#bd-found-here .bd-found-status", has_text=re.compile("found", re.IGNORECASE)).wait_for()
    return field


@pytest.mark.parametrize(("words", "wanted"), QUERIES.items(), ids=QUERIES)
def test_what_is_asked_for_is_found_and_is_where_the_find_leads(words, wanted, searched, book):
    kind, name, page = wanted
    ask(searched, words)
    group = searched.get_by_role("group", name=re.compile(f"^{kind}"))
    first = group.get_by_role("option").first
    assert re.search(name, first.locator("b").inner_text())
    path, _, anchor = first.get_attribute("href").removeprefix("./").partition("#")
    assert path.startswith(page)
    there = (book / path).read_text(encoding="utf-8")
    assert not anchor or f'id="{anchor}"' in there


def test_nonsense_is_not_found_and_nothing_typed_is_markup(searched):
    ask(searched, "xyzzyplugh <b>bold</b>")
    assert searched.locator("#bd-found-here [role=option]").count() == 0
    assert (
        "Nothing found for “xyzzyplugh <b>bold</b>”" in searched.locator("#bd-found-here .bd-found-status").inner_text()
    )
    assert searched.errors == []


def test_every_object_has_its_place(objects, book):
    anchors = {}
    for kind, page, anchor, name, *_ in objects["objects"]:
        path = objects["pages"][page][0]
        if path not in anchors:
            anchors[path] = set(re.findall(r'\bid="([^"]+)"', (book / path).read_text(encoding="utf-8")))
        place = anchor or (name if objects["kinds"][kind] == "Library" else "")
        assert not place or place in anchors[path], (path, name)
    assert {objects["kinds"][each[0]] for each in objects["objects"]} == set(objects["kinds"])
    assert set(PAGES) <= {path.removesuffix(".html") for path, _ in objects["pages"]}


def test_what_is_shown_is_readable(objects):
    raw = [each[3:5] for each in objects["objects"] if re.search(r"\\[a-zA-Z(\[]|\$[^$]+\$", each[3] + each[4])]
    assert raw == []


def test_the_index_weighs_little_and_comes_when_it_is_asked_for(book, serve, open_page):
    assert len(gzip.compress((book / "_static" / "objects.js").read_bytes())) < 115_000  # bytes, as sent
    loaded = "() => performance.getEntriesByType('resource').some(entry => /objects[.]js/.test(entry.name))"
    page = open_page(f"{serve(book)}/{PAGES[1]}.html")
    assert not page.evaluate(loaded)
    page.locator(".search-button-field:visible").click()
    page.wait_for_function(loaded)
    for gone in ("searchindex.js", "_static/searchtools.js", "_static/language_data.js"):
        assert not (book / gone).exists()


def test_the_dialog_answers_the_keyboard(base, open_page):
    page = open_page(f"{base}/{PAGES[1]}.html")
    page.locator(".search-button-field:visible").click()
    field = page.locator("dialog[open] input:focus")
    field.wait_for()
    page.keyboard.type("Proposition 1")
    dialog = page.locator("dialog[open]")
    first = dialog.get_by_role("option").first
    first.wait_for()
    assert first.get_attribute("aria-selected") == "false"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert field.get_attribute("aria-activedescendant") == first.get_attribute("id")
    assert first.get_attribute("aria-selected") == "true"
    page.keyboard.press("Enter")
    page.wait_for_url("**/notebooks/01_images_in_frequency.html#*")
    page.evaluate(TYPESET)
    target = page.locator(f"[id='{page.url.partition('#')[2]}']")
    assert "Proposition 1" in target.inner_text()
    page.wait_for_function(
        "node => { const { top } = node.getBoundingClientRect(); return top >= 0 && top < innerHeight; }",
        arg=target.element_handle(),
    )
    assert page.external == []
    assert page.errors == []


def test_escape_closes_the_dialog_and_enter_without_a_choice_opens_the_page_of_the_search(base, open_page):
    page = open_page(f"{base}/{PAGES[1]}.html")
    for _ in range(2):
        page.locator(".search-button-field:visible").click()
        page.locator("dialog[open] input:focus").wait_for()
        page.keyboard.press("Escape")
        page.locator("dialog[open]").wait_for(state="detached")
    page.locator(".search-button-field:visible").click()
    page.locator("dialog[open] input:focus").wait_for()
    page.keyboard.type("TACoS")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=TACoS*")
    page.locator("#bd-found-here [role=option]").first.wait_for()


def test_the_glass_covers_no_letter(book, open_page):
    page = open_page(f"{book.as_uri()}/search.html")
    glass, room = page.evaluate("""() => {
      const form = document.querySelector(".bd-search-container form"), field = form.querySelector("input");
      const left = field.getBoundingClientRect().left + parseFloat(getComputedStyle(field).paddingLeft);
      return [form.querySelector("i").getBoundingClientRect().right, left];
    }""")
    assert glass <= room
