"""What `reading.js` and `search.js` show on every page: targets of references between pages, the notation, finds.

A page that is read from a file may load scripts and can fetch nothing. So all are cut out of the finished pages and
written as scripts, `_static/hovers.js`, `notation.js` and `objects.js`, which the pages load when they are needed.
"""

import json
import posixpath
from pathlib import Path
from urllib.parse import unquote, urlsplit

import searching
from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx

TARGETS = "div.math, figure, div.proof, div.exercise, div.citation"  # as in reading.js
NOTATION = "book/notation.html"


def articles(folder: Path) -> dict[str, Tag]:
    """Path of a page below `folder` -> what it says."""
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        article = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").find("article")
        if article:
            pages[path.relative_to(folder).as_posix()] = article
    return pages


def resolve(page: str, address: str) -> str:
    """A relative address on `page`, as one relative to the root of the book."""
    path, _, anchor = address.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
    return f"{path}#{anchor}" if anchor else path


def cut_out(element: Tag, page: str) -> str:
    """The HTML of `element` for use on any page: `%root%` stands for the way to the root of the book."""
    copy = BeautifulSoup(str(element), "html.parser")
    # A figure that moves is not shown twice: its caption stays.
    for node in copy.select("a.headerlink, style, script, .bdbook-figure, .bd-bar"):
        node.decompose()
    for node in copy.find_all(True):
        del node["id"]
        if "bd-math" in node.get("class", []):
            node["class"] = ["bd-math", "math"]  # what else Sphinx says on each of a thousand weighs much
        for name in {"href", "src"} & node.attrs.keys():
            if not urlsplit(node[name]).scheme:
                node[name] = "%root%" + resolve(page, node[name])
    # One picture for both pages, light and dark: reading.js chooses.
    for dark in copy.select("img.only-dark"):
        light = dark.find_previous_sibling("img")
        light["data-dark"] = dark["src"]
        light["class"].remove("only-light")
        dark.decompose()
    return str(copy)


def hovers(pages: dict[str, Tag]) -> dict[str, str]:
    """Address of a target that another page refers to -> its HTML."""
    found = {}
    for page, article in pages.items():
        for link in article.select("a[href*='#']:not(.headerlink)"):
            if urlsplit(link["href"]).scheme:
                continue
            address = unquote(resolve(page, link["href"]))
            path, _, anchor = address.partition("#")
            target = pages[path].find(id=anchor) if path != page and path in pages and address not in found else None
            if target and target.css.match(TARGETS):
                found[address] = cut_out(target, path)
    return dict(sorted(found.items()))


def write_scripts(app: Sphinx, exception: Exception | None) -> None:
    """Write the scripts beside the other static files."""
    if exception or app.builder.format != "html":
        return
    pages = articles(Path(app.outdir))
    found = {"hovers": hovers(pages), "objects": searching.index(pages)}
    notation = pages[NOTATION].section
    notation.h1.decompose()  # the drawer has its own
    for name, value in (found | {"notation": cut_out(notation, NOTATION)}).items():
        script = f"(window.bdbookReading ??= {{}}).{name} = {json.dumps(value, ensure_ascii=False)};\n"
        (Path(app.outdir) / "_static" / f"{name}.js").write_text(script, encoding="utf-8")


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", write_scripts)
    app.set_html_assets_policy("always")  # MathJax on every page: the notation may be opened on any
    return {"parallel_read_safe": True, "parallel_write_safe": True}
