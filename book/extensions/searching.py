"""The search: an index of what the book holds, by name, and the words of each.

Sphinx's own index knows pages: this one knows propositions, figures, equations, exercises, functions, claims and
symbols, each with its place. It is cut out of the finished pages and written as a script, `_static/objects.js`
(reading.py), which `search.js` loads when the search opens; a page that is read from a file can load it too. Formulas
are words in it (readable.py). Sphinx's index is not made.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bs4 import NavigableString, Tag
from bs4.element import PreformattedString
from docutils import nodes
from readable import readable
from sphinx.application import Sphinx

NOTATION = "book/notation"
LEDGERS = {"book/equations.html": "Equations of the papers", "book/claims.html": "Claims", "book/errata.html": "Errata"}
# In the order in which groups with equally good finds are shown.
KINDS = ["Pages", "Propositions", "Sections", "Figures", "Equations of the papers", "Symbols", "Library", "Claims"]
KINDS += ["Errata", "Exercises", "References"]
SHOWN, BRIEF = 120, 50  # letters of a text that are shown, and of a function's, of which no more is searched
COMMON = 20  # a word that more objects say beyond what is shown tells little: it is left out there
SILENT = {"script", "style", "button", "svg", "pre", "img", "nav", "details"}
MUTE = {"headerlink", "eqno", "bdbook-figure", "toggle-button", "label", "bd-file", "cell_input", "solution"}
WORD = re.compile(r"[^\W_]+(?:_[^\W_]+)*")
SPHINX = ("searchindex.js", "_static/searchtools.js", "_static/language_data.js")


class Found(NamedTuple):
    """An object of the book: its kind, page, anchor ("" for the page itself), name, and all that it says."""

    kind: str
    page: str
    anchor: str
    name: str
    text: str


def said(node: Tag, without: frozenset[int] = frozenset()) -> str:
    """What an element says, formulas as words, less the elements whose `id()` is in `without`."""
    parts = []
    for child in node.children:
        if isinstance(child, NavigableString):
            if not isinstance(child, PreformattedString):
                parts.append(child)
        elif child.name not in SILENT and id(child) not in without:
            classes = set(child.get("class", []))
            if "math" in classes:
                tex = "".join(piece for piece in child.children if isinstance(piece, NavigableString))
                parts.append(f" {readable(tex)} " if child.name == "div" else readable(tex))
            elif not classes & MUTE:
                block = child.name not in {"a", "em", "strong", "code", "span", "b", "i", "small"}
                parts.append(f" {said(child, without)} " if block else said(child, without))
    return re.sub(r"\s+", " ", "".join(parts)).strip()


def number_and_name(title: str) -> str:
    """ "Proposition 14 (Transitions)" as "Proposition 14: Transitions"; "Fig. 12" as "Figure 12"."""
    title = re.sub(r"^Fig\. (\d+)", r"Figure \1", title)
    return re.sub(r"^(\w+ \d+) ?\((.*)\)$", r"\1: \2", title)


def parts(page: str, article: Tag) -> Iterator[tuple[Found, Tag]]:
    """The objects of a page but its sections, each with its element. What is folded away is left out."""
    for box in article.select("div.proof[id], div.exercise[id]"):
        title = box.select_one(".admonition-title")
        if title and title.select_one(".caption-number") and not box.find_parent("details"):
            kind = "Exercises" if "exercise" in box["class"] else "Propositions"
            text = said(box, frozenset({id(title)}))
            yield Found(kind, page, box["id"], number_and_name(said(title)), text), box
    for figure in article.select("figure[id]"):
        number, caption = figure.select_one(".caption-number"), figure.select_one(".caption-text")
        if number and caption and not figure.find_parent("details"):
            yield Found("Figures", page, figure["id"], number_and_name(said(number)), said(caption)), figure
    for row in article.select(".bd-entry-row"):
        head, *rest = row.find_all("div", recursive=False)
        text = " ".join(said(cell) for cell in rest)
        yield Found(LEDGERS[page], page, row["id"], f"{row['data-source']}, {said(head.strong)}", text), row
    for head in article.select(".bd-signature[id]"):
        within = head.parent.find_parent(class_="bd-entry")  # a method: its name says enough
        about = None if within else head.find_next_sibling(class_="bd-said")
        first = about.find("p", recursive=False) if about else None
        yield Found("Library", page, head["id"], head["id"], said(first) if first else ""), head.parent
    for row in article.select("tr[id^='symbol-']"):
        symbol, *rest = row.find_all(["td", "th"])
        yield Found("Symbols", page, row["id"], said(symbol), ": ".join(filter(None, map(said, rest)))), row
    for entry in article.select("div.citation[id]"):
        text = said(entry)
        yield Found("References", page, entry["id"], text.partition(". ")[0], text.partition(". ")[2]), entry


def found_on(page: str, article: Tag) -> list[Found]:
    """The page, its sections, and what stands in them; a section says what no smaller object in it says."""
    inner = list(parts(page, article))
    sections = article.select("section[id]")
    taken = frozenset(id(element) for _, element in inner) | {id(section) for section in sections}
    found = []
    for section in sections:
        head = section.find(["h1", "h2", "h3", "h4"], recursive=False)
        if not head:
            continue  # of a proposition or an exercise
        whole = head.name == "h1"
        text = said(section, taken | {id(head)})
        found.append(Found("Pages" if whole else "Sections", page, "" if whole else section["id"], said(head), text))
    return found + [each for each, _ in inner]


def words(text: str) -> list[str]:
    """The words of a text, in small letters, as often as they stand."""
    return [word.lower() for word in WORD.findall(text)]


def cut(text: str, most: int = SHOWN) -> str:
    """As much of a text as is shown, whole words."""
    return text if len(text) <= most else text[:most].rpartition(" ")[0] + " …"


def others(each: Found) -> set[str]:
    """The words of an object beyond those that are shown."""
    shown = {*words(each.name), *words(cut(each.text))}
    return {word for word in words(each.text) if len(word) > 2 and not word[0].isdigit()} - shown


def index(pages: dict[str, Tag]) -> dict:
    """What `search.js` reads: kinds, pages, and of each object kind, page, anchor, name, beginning and other words.

    The anchor of a function is its name, and left out.
    """
    found = [each for page, article in pages.items() for each in found_on(page, article)]
    names = {each.page: each.name for each in found if each.kind == "Pages"}
    listed = [page for page in pages if page in names]
    rest = [set() if each.kind == "Library" else others(each) for each in found]
    counts = Counter(word for one in rest for word in one)
    objects = []
    for each, one in zip(found, rest, strict=True):
        library = each.kind == "Library"
        beyond = " ".join(sorted(word for word in one if counts[word] <= COMMON))
        shown = cut(each.text, BRIEF if library else SHOWN)
        anchor = "" if library else each.anchor
        objects.append([KINDS.index(each.kind), listed.index(each.page), anchor, each.name, shown, beyond])
    return {"kinds": KINDS, "pages": [[page, names[page]] for page in listed], "objects": objects}


def name_symbols(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Give the rows of the notation anchors, symbol-1, symbol-2 and so on, and its first table a name."""
    if page == NOTATION:
        for table in list(doctree.findall(nodes.table))[:1]:
            table["classes"].append("bd-symbols")
        rows = [row for body in doctree.findall(nodes.tbody) for row in body.findall(nodes.row)]
        for number, row in enumerate(rows, 1):
            row["ids"].append(f"symbol-{number}")


def leave_out_sphinx(app: Sphinx) -> None:
    """No index of Sphinx's: the page of the search is one of `html_additional_pages`."""
    app.builder.search = False


def add_filter(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Give the ledgers the script that filters their entries, which asks for words as the search does."""
    if f"{page}.html" in LEDGERS:
        app.add_js_file("filter.js", priority=900, defer="defer")  # after search.js, whose words it uses


def remove_tools(app: Sphinx, exception: Exception | None) -> None:
    """Scripts that Sphinx adds for its own search."""
    for name in SPHINX:
        (Path(app.outdir) / name).unlink(missing_ok=True)


def setup(app: Sphinx) -> dict:
    app.connect("builder-inited", leave_out_sphinx)
    app.connect("doctree-resolved", name_symbols)
    app.connect("html-page-context", add_filter)
    app.connect("build-finished", remove_tools)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
