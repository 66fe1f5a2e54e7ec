"""The numbers in the notebooks to run are those of the built book, and the book offers them for download."""

import json
import zipfile
from pathlib import Path

import handout
import pytest
from bs4 import BeautifulSoup

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]


def printed(soup: BeautifulSoup, label: str, kind: str) -> str:
    """The number of a label on a built page, as the page prints it."""
    if kind == "Equation":
        return soup.find(id=f"equation-{label}").select_one(".eqno").get_text().strip("()¶ #")
    target = soup.find(id=label)
    return target.select_one(".caption-number").get_text().replace("Fig.", "Figure").strip()


def test_every_number_is_the_books(book):
    of_sources = handout.read(ROOT)
    pages = {}
    compared = dict.fromkeys(("Figure", "Equation", "Exercise", "Proposition", "Theorem", "Lemma", "Corollary"), 0)
    for label, target in of_sources.labels.items():
        if target.kind == "Section":
            continue
        if target.page not in pages:
            pages[target.page] = BeautifulSoup((book / f"{target.page}.html").read_text(), "html.parser")
        expected = str(target.number) if target.kind == "Equation" else target.name
        assert printed(pages[target.page], label, target.kind) == expected, label
        compared[target.kind] += 1
    assert min(compared.values()) > 0
    assert compared["Figure"] > 60


def test_the_download_of_a_chapter_is_the_notebook_to_run(book, tmp_path):
    notebooks = handout.write(ROOT, tmp_path)
    archive = zipfile.ZipFile(book / "handout" / handout.ARCHIVE)
    assert archive.namelist() == [f"notebooks/{path.name}" for path in notebooks]
    for path in notebooks:
        sources = [cell["source"] for cell in json.loads(path.read_text())["cells"]]
        for given in (archive.read(f"notebooks/{path.name}"), (book / "_sources/notebooks" / path.name).read_bytes()):
            assert [cell["source"] for cell in json.loads(given)["cells"]] == sources
