"""The ledgers' entries filtered: by verdict, paper, chapter and words, with the choice in the page's address."""

import re
from urllib.parse import parse_qs, urlsplit

import ledgers
import pytest
import verdicts
from pages import TYPESET, grave

pytestmark = pytest.mark.browser

LEDGERS = ledgers.read()
CLAIMS = LEDGERS["claims"]
SHOWN = ".bd-entry-row:not([hidden])"


@pytest.fixture(params=["http", "file"])
def base(request, book, serve) -> str:
    return serve(book) if request.param == "http" else book.as_uri()


def shown(page) -> set[str]:
    return set(page.locator(SHOWN).evaluate_all("rows => rows.map(row => row.id)"))


def chosen(page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_claims_are_filtered_by_verdict_paper_and_chapter_and_the_address_keeps_it(base, open_page):
    page = open_page(f"{base}/book/claims.html")
    assert shown(page) == {claim["id"] for claim in CLAIMS}
    page.get_by_label("verdict").select_option("proved")
    wanted = {claim["id"] for claim in CLAIMS if verdicts.word(claim) == "proved"}
    assert shown(page) == wanted
    page.get_by_label("paper").select_option("Lee")
    wanted &= {claim["id"] for claim in CLAIMS if claim["source"] == "Lee"}
    assert shown(page) == wanted
    page.get_by_label("chapter").select_option("6")
    wanted &= {claim["id"] for claim in CLAIMS if any(item.startswith("06_") for item in claim["evidence"])}
    assert shown(page) == wanted
    assert 0 < len(wanted) < len(CLAIMS)
    assert page.locator(".bd-filter output").inner_text() == f"{len(wanted)} of {len(CLAIMS)} entries"
    assert chosen(page) == {"word": ["proved"], "paper": ["Lee"], "chapter": ["6"]}
    assert page.locator(".bd-article section section:visible").count() == 1
    page.reload()
    assert shown(page) == wanted
    page.get_by_role("button", name="Show all").click()
    page.locator(".bd-filter output", has_text=f"{len(CLAIMS)} of").wait_for()
    assert chosen(page) == {}
    assert page.errors == []
    assert page.external == []


@pytest.mark.parametrize(
    ("name", "words"), [("claims", "sensitive low"), ("equations", "d_min"), ("errata", "exponent")]
)
def test_words_filter_whatever_their_accents_and_capitals(name, words, book, open_page):
    page = open_page(f"{book.as_uri()}/book/{name}.html")
    page.evaluate(TYPESET)
    page.get_by_label("words").fill(words.upper() if name != "equations" else words)
    rows = page.locator(SHOWN)
    assert 0 < rows.count() < len(LEDGERS[name])
    assert chosen(page)["text"] == [words.upper() if name != "equations" else words]
    page.get_by_label("words").fill("xyzzyplugh")
    assert rows.count() == 0
    assert page.locator(".bd-filter output").inner_text().startswith("No entry")


def test_a_link_to_an_entry_is_stronger_than_the_filter(book, open_page):
    entry = next(claim["id"] for claim in CLAIMS if claim["source"] == "HS")
    page = open_page(f"{book.as_uri()}/book/claims.html?paper=Lee#{entry}")
    assert page.locator(f"[id='{entry}']").is_visible()
    assert chosen(page) == {}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_filter_and_the_rows_are_accessible_and_fit(width, dark, book, open_page):
    page = open_page(f"{book.as_uri()}/book/errata.html?kind=formula", width=width, dark=dark)
    page.evaluate(TYPESET)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert grave(page, {"include": [[".bd-article"]]}) == []


def test_functions_and_tests_are_named_and_functions_lead_to_the_library(book):
    text = (book / "book" / "equations.html").read_text(encoding="utf-8")
    api = (book / "book" / "api.html").read_text(encoding="utf-8")
    names = {name for entry in LEDGERS["equations"] for name in entry["code"]}
    assert names == set(re.findall(r'<a href="api\.html#([\w.]+)">', text))
    assert [name for name in names if f'id="{name}"' not in api] == []
