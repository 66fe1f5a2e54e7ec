"""The number and the title of a chapter: one place that knows them, and what it refuses."""

import json

import chapters
import ledgers
import pytest
import stage
import yaml
from hypothesis import given
from hypothesis import strategies as st

TITLES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1)


def notebook(source: str | list[str]) -> dict:
    return {"cells": [{"cell_type": "markdown", "source": source}], "metadata": {}}


@given(st.integers(1, 99), TITLES, st.text(st.characters(exclude_categories=("C", "Z"))))
def test_a_title_gets_its_number_and_nothing_else_changes(n, title, rest):
    name = f"notebooks/{n:02}_of_something.ipynb"
    for source in (f"# {title}\n\n{rest}", [f"# {title}\n", "\n", rest]):
        given_to = notebook(source)
        chapters.with_number(name, given_to)
        assert "".join(given_to["cells"][0]["source"]) == f"# {n} · {title}\n\n{rest}"


@pytest.mark.parametrize("source", ["", "## A section", "No heading\n\n# Late"])
def test_a_notebook_without_a_title_is_refused(source):
    with pytest.raises(ValueError, match=r"09_tacos begins with .*; expected its title"):
        chapters.numbered("09_tacos", notebook(source))


def test_a_file_without_a_number_is_refused():
    with pytest.raises(ValueError, match=r"notation.md has no number; expected .* such as 09_tacos.ipynb"):
        chapters.number("book/notation.md")


def test_staged_chapters_have_their_numbers_and_the_committed_ones_none(tmp_path):
    committed = sorted(ledgers.CHAPTERS.glob("[0-9]*.ipynb"))
    for path, lean in zip(committed, stage.write_lean(tmp_path, committed), strict=True):
        before, after = (json.loads(file.read_text(encoding="utf-8"))["cells"] for file in (path, lean))
        first = "".join(before[0]["source"])
        assert "".join(after[0]["source"]) == f"# {int(path.name.split('_')[0])} · {first.removeprefix('# ')}"
        assert after[1:] == before[1:]


def test_every_chapter_has_its_card_in_the_order_of_the_contents():
    toc = yaml.safe_load((ledgers.HERE.parent / "_toc.yml").read_text(encoding="utf-8"))
    listed = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    cards = yaml.safe_load((ledgers.HERE / "chapters.yml").read_text(encoding="utf-8"))
    assert [f"notebooks/{name}" for name in cards] == [file for file in listed if file.startswith("notebooks/")]
