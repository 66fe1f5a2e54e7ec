"""Under each figure of the book: its number, code, downloads and citation; how code folds; figures in the dark."""

import csv
import io
import re

import numpy as np
import pytest
from bs4 import BeautifulSoup
from pages import TYPESET, grave
from PIL import Image

pytestmark = pytest.mark.browser

# Chapters of the book at hand: all of them, or those of a smaller one.
STILL, MOVING = "notebooks/02_gaussian_diffusion", "notebooks/05_blurring_diffusion"


def numbered(book):
    """Path of a page -> its figures with a number, as elements."""
    for path in sorted(book.glob("*/*.html")):
        if path.parent.name in {"book", "notebooks"}:
            page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
            yield path, page, [figure for figure in page.select("article figure") if figure.select(".caption-number")]


def test_every_figure_has_its_number_code_downloads_and_citation(book):
    count = 0
    for path, page, figures in numbered(book):
        for figure in figures:
            (bar,) = figure.select(".bd-bar")
            where = f"{path.name}#{figure['id']}"
            number = re.search(r"[\d.]+\d|\d", figure.select_one(".caption-number").get_text())[0]
            assert bar.select_one(".bd-bar-number")["href"] == f"#{figure['id']}", where
            assert bar.select_one(".bd-bar-number").get_text() == f"Figure {number}", where
            assert bar.select_one(".bd-bar-cite"), where
            for link in bar.select("a[download]"):
                assert (path.parent / link["href"]).resolve().is_file(), where
            assert bar.select("a[download], [data-save]"), where
            code = bar.select_one(".bd-bar-code")
            if page.select_one(".bd-fold") and code:
                fold = page.find(id=code["href"][1:])
                assert fold.summary.get_text() == f"Code of figure {number}", where
                assert fold.sourceline > figure.sourceline, where
            count += 1
    assert count >= 3


def test_no_bar_of_folded_code_stands_before_a_chapters_first_figure_or_is_named_by_its_kind(book):
    for path, page, _ in numbered(book):
        folds = page.select("article details.bd-fold")
        assert not page.select("details.above-input"), path.name
        for fold in folds:
            assert fold.summary.get_text(strip=True) not in {"", "Show code cell source"}, path.name
            assert not fold.summary.get("aria-label"), path.name  # its words are its name
        first = page.select_one("article .cell_output figure")
        for fold in [fold for fold in folds if first and fold.sourceline < first.sourceline]:
            assert fold.find_previous_sibling(class_="cell_output"), path.name  # it stands under what it printed


def test_the_numbers_of_a_figure_are_those_of_its_formula(book):
    """log SNR of the cosine schedule (chapter 2) against its closed form, at every point that is drawn."""
    text = (book / "_static/figures/02_gaussian_diffusion-fig-logsnr.csv").read_text(encoding="utf-8")
    found = [row for row in csv.DictReader(io.StringIO(text)) if row["series"] == "cosine"]
    t, shown = (np.array([float(row[name]) for row in found]) for name in ("t", "log SNR"))
    low, high = np.arctan(np.exp(-5.0)), np.arctan(np.exp(5.0))
    assert len(t) > 50
    np.testing.assert_allclose(shown, -2 * np.log(np.tan(low + t * (high - low))), atol=2e-5)


@pytest.fixture(params=["http", "file"])
def base(request, book, serve) -> str:
    return serve(book) if request.param == "http" else book.as_uri()


def test_the_number_leads_to_the_figure_the_code_unfolds_and_the_picture_is_saved(base, open_page):
    page = open_page(f"{base}/{STILL}.html")
    bar = page.locator(".bd-bar").nth(1)
    bar.locator(".bd-bar-number").click()
    page.wait_for_function("() => location.hash !== ''")
    figure = page.locator(page.evaluate("() => location.hash"))
    assert figure.locator(".bd-bar").get_attribute("data-number") == bar.get_attribute("data-number")
    assert bar.locator("[role=status]").inner_text()
    bar.locator(".bd-bar-code").click()
    fold = page.locator(bar.locator(".bd-bar-code").get_attribute("href"))
    assert fold.evaluate("fold => fold.open && fold.contains(document.activeElement)")
    if base.startswith("http"):  # from a file it opens beside the page, which may not save it
        with page.expect_download() as download:
            bar.locator(".bd-bar-picture").click()
        assert download.value.suggested_filename.endswith(".png")
    with page.expect_download() as download:
        bar.locator(".bd-bar-csv").click()
    assert download.value.path().read_text().startswith("panel,series,")
    assert page.errors == []
    assert page.external == []


def test_a_citation_names_book_figure_and_place_and_escape_closes_it(base, open_page):
    page = open_page(f"{base}/{STILL}.html")
    cite = page.locator(".bd-bar-cite").nth(1)
    cite.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog.bd-cite[open]")
    dialog.wait_for()
    text = dialog.locator("pre").inner_text()
    assert text.startswith("@software{bdbook:figure-")
    assert text.count("{") == text.count("}")
    assert "bdbook: diffusion models that blur" in text
    assert "Two noise schedules" in text
    assert ("url" in text) == base.startswith("http")
    page.keyboard.press("Escape")
    page.locator("dialog.bd-cite:not([open])").wait_for(state="attached")
    assert cite.evaluate("node => node === document.activeElement")
    page.locator(".bd-cite-book").first.click()
    assert page.locator("dialog.bd-cite[open] h2").inner_text() == "Cite this book"
    assert "figure" not in page.locator("dialog.bd-cite[open] pre").inner_text()
    assert page.errors == []  # before axe asks for style sheets
    assert grave(page, {"include": [["dialog.bd-cite"]]}) == []


# Points of the first line that is drawn, against the scales of its plot.
FIRST = """() => document.querySelector(".bdbook-widget path.bd-line[d]").bdbookPoints"""


def test_a_moving_figure_is_saved_as_it_stands(base, open_page):
    page = open_page(f"{base}/{MOVING}.html")
    page.locator(".bdbook-widget path.bd-line[d]").last.wait_for(state="attached")
    bar = page.locator("figure:has(.bdbook-widget) .bd-bar").first
    page.locator('[name="t"]').first.press("ArrowRight")
    with page.expect_download() as download:
        bar.locator("[data-save=csv]").click()
    found = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    xs, ys = page.evaluate(FIRST)
    first = [row for row in found if row["series"] == found[0]["series"]]
    x, y = list(found[0])[2:4]
    np.testing.assert_allclose([[float(row[x]), float(row[y])] for row in first], np.transpose([xs, ys]), rtol=1e-12)
    size = page.locator(".bdbook-widget").first.bounding_box()
    with page.expect_download() as download:
        bar.locator("[data-save=png]").click()
    picture = Image.open(download.value.path())
    assert abs(picture.width - 2 * size["width"]) <= 2
    assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 500  # the photograph is in it
    with page.expect_download() as download:
        bar.locator("[data-save=svg]").click()
    text = download.value.path().read_text()
    assert text.count("data:image/png") == page.locator(".bdbook-widget").first.locator("canvas").count()
    assert page.errors == []
    assert page.external == []


def test_on_a_dark_page_still_figures_are_dark_and_the_dark_one_is_saved(book, serve, open_page):
    page = open_page(f"{serve(book)}/{STILL}.html", dark=True)
    ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert page.locator(".bd-plot").count() == page.locator("figure .bd-plot img.only-dark").count() > 2
    for plot in page.locator(".bd-plot").all():
        assert not plot.locator("img.only-light").is_visible()
        shown = plot.locator("img.only-dark")
        shown.scroll_into_view_if_needed()
        shown.evaluate("image => image.decode()")
        assert shown.evaluate("image => [image.naturalWidth > 100, getComputedStyle(image).filter]") == [True, "none"]
        path = (book / STILL).parent / shown.get_attribute("src")
        picture = np.asarray(Image.open(path).convert("RGB"))
        assert f"rgb({', '.join(map(str, picture[0, 0]))})" == ground
    bar = page.locator(".bd-bar").nth(1)
    with page.expect_download() as download:
        bar.locator(".bd-bar-picture").click()
    assert np.asarray(Image.open(download.value.path()).convert("RGB"))[0, 0].max() < 40


def test_on_a_phone_words_in_plots_are_legible_and_the_page_does_not_scroll_sideways(book, open_page):
    page = open_page(f"{book.as_uri()}/{STILL}.html", width=360, height=740)
    page.evaluate(TYPESET)
    for plot in page.locator(".bd-plot").all():
        image = plot.locator("img.only-light")
        image.scroll_into_view_if_needed()
        image.evaluate("image => image.decode()")
        across, natural = image.evaluate("image => [image.clientWidth, image.naturalWidth]")
        assert across >= 0.7 * natural  # of letters of 14 px, 10
    assert page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert grave(page, {"include": [[".bd-bar"], [".bd-fold"], [".bd-plot"]]}) == []


def test_a_shared_link_shows_title_first_sentence_and_picture(book):
    seen = set()
    for path, page, _ in numbered(book):
        told = {tag.get("property") or tag.get("name"): tag["content"] for tag in page.select("meta[content]")}
        assert told["og:title"] == page.article.h1.get_text().rstrip("#").strip() or page.article.h1.select(".math")
        assert len(told.get("description", "")) > 20, path.name
        assert told["description"] == told["og:description"]
        assert told["twitter:card"] == "summary_large_image"
        picture = Image.open((path.parent / told["og:image"]).resolve())
        assert picture.size == (int(told["og:image:width"]), int(told["og:image:height"])) == (1200, 630)
        title = page.title.get_text()
        assert title.lower().count("diffusion models that blur") <= 1, title
        assert title not in seen, title
        seen.add(title)
        assert not page.select("link[rel=canonical]")  # no address was configured
    assert (book / "_static/card.jpg").stat().st_size < 100_000
