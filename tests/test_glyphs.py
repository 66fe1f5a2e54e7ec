"""The font of MathJax in two parts: every shape is in one of them, and unchanged."""

import json
import re

import glyphs
import pytest

FONT = (glyphs.Path(__file__).parents[1] / glyphs.FONT).read_text(encoding="utf-8")
FIRST, REST = glyphs.split(FONT)


def shapes(text: str) -> dict[str, dict[str, str]]:
    """Alphabet -> code -> shape, of a script that adds them by AddPaths, read by the layout of that call alone."""
    tables = re.findall(r"AddPaths\)\((?:\(globalThis[^)]*\)\.\w+=)?\w+\.(\w+),(\{[^}]*\})", text)
    return {name: json.loads(re.sub(r"(\d+):", r'"\1":', table)) for name, table in tables}


def test_nothing_is_lost():
    whole, first = shapes(FONT), shapes(FIRST)
    rest = json.loads(REST[REST.index("{") : REST.rindex("}") + 1].partition("))")[0])
    assert whole.keys() == first.keys() == rest.keys()
    assert sum(map(len, whole.values())) > 2000
    for alphabet, of_all in whole.items():
        assert first[alphabet].keys().isdisjoint(rest[alphabet])
        assert first[alphabet] | rest[alphabet] == of_all


def test_the_first_part_is_less_than_half_and_the_rest_of_its_program_as_it_was():
    assert len(FIRST) < 0.45 * len(FONT)
    bare = [re.sub(r'\d+:"[^"]*",?', "", text) for text in (FONT, FIRST)]
    assert re.sub(r"\(globalThis\.bdbookAlphabets\?\?=\{\}\)\.\w+=", "", bare[1]) == bare[0]


@pytest.mark.parametrize(("alphabet", "character", "stays"), [
    ("normal", "x", True), ("normal", "\U0001d465", True), ("normal", "\u03c3", True), ("normal", "\u2211", True),
    ("normal", "\u2620", False), ("fraktur", "A", False), ("italic", "\u0393", True),
])  # fmt: skip
def test_what_comes_at_once(alphabet, character, stays):
    assert glyphs.stays(alphabet, ord(character)) == stays
