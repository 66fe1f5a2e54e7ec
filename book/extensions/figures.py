"""Every figure with its number, code, downloads and citation; folded code named by what it makes; the page's card.

A chapter's code is folded under what it makes, and what a chapter begins with under its first figure, so that a reader
meets the picture before the bars. The executed notebook holds with each still figure its numbers and its picture for
dark pages (bdbook/page/drawn.py): both become files beside the pages. `figures.js` does what takes a hand: copies,
saves, cites.
"""

import base64
import hashlib
import io
import json
import posixpath
import re
from functools import cache
from html import escape
from pathlib import Path

import yaml
from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from PIL import Image
from sphinx.application import Sphinx

MIME = "application/vnd.bdbook.figure+json"  # as in bdbook/page/drawn.py; moved into the metadata by book/stage.py
CITATION = Path(__file__).resolve().parents[2] / "CITATION.cff"
OPENING = "What this chapter imports"
BEHIND = "Code behind the numbers"  # of a cell whose output is folded away as well


class Bar(nodes.General, nodes.Element):
    """The bar under a figure: number, code, downloads, citation. Not text, so that the search does not find it."""


class DarkPicture(nodes.General, nodes.Element):
    """The picture of a figure for dark pages."""


class Plot(nodes.General, nodes.Element):
    """A still figure's pictures, which scroll together where the page is narrow: words in them stay legible."""


# --- what the notebook holds ---


@cache
def carried(notebook: Path, changed: float) -> dict[str, dict]:
    """Name of a figure -> what its output carries, of an executed notebook."""
    found = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        name = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
        held = [output["metadata"][MIME] for output in cell.get("outputs", []) if MIME in output.get("metadata", {})]
        if name and held:
            found[name] = held[0]
    return found


# --- the citation ---


def bibtex_text(node: nodes.Node) -> str:
    """The words of a node as BibTeX wants them, mathematics between dollars."""
    if isinstance(node, nodes.math):
        return f"${node.astext()}$"
    if isinstance(node, nodes.Text):
        return re.sub(r"([&%#_$])", r"\\\1", node.astext())
    return "".join(bibtex_text(child) for child in node.children)


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends one."""
    return re.split(r"(?<=[.?!])\s+(?=[A-Z$])", " ".join(text.split()), maxsplit=1)[0]


def citation(path: Path, year: str) -> dict[str, str]:
    """The fields of the book's entry, of CITATION.cff."""
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    names = [a.get("name") or f"{a['family-names']}, {a['given-names']}" for a in given["authors"]]
    authors = " and ".join(f"{{{name}}}" if "name" in a else name for a, name in zip(given["authors"], names))
    return {
        "author": authors,
        "title": given["title"],
        "year": str(given.get("date-released", year))[:4],
        "version": given["version"],
    }


# --- folded code ---


def visit_fold(translator, node: nodes.Element) -> None:
    prints = any(is_output(child) for child in node.children)
    named = node.get("named") or ("Code and what it prints" if "above-input" in node["classes"] else "What it prints")
    anchor = f' id="{node["anchor"]}"' if "anchor" in node else ""
    kind = "bd-fold" if prints else "bd-fold bd-code"  # what is printed goes to paper, code does not
    translator.body.append(f'<details class="{kind}"{anchor}>\n<summary>{escape(named)}</summary>\n')


def depart_fold(translator, node: nodes.Element) -> None:
    translator.body.append("</details>\n")


def is_cell(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def is_output(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code_output"


def name_folds(doctree: nodes.document, numbers: dict[str, str]) -> None:
    """Give each fold of code its name, and its place behind what the code makes."""
    opening = None
    for cell in [node for node in doctree.findall(nodes.container) if is_cell(node)]:
        fold = cell.children[0] if cell.children else None
        if not isinstance(fold, HideCodeCellNode) or any(is_output(child) for child in fold.children):
            if isinstance(fold, HideCodeCellNode) and within_solution(cell):
                fold["named"] = "The solution in code"
            continue
        figures = [node for node in cell.findall(nodes.figure) if node["ids"]]
        outputs = [child for child in cell.children if is_output(child)]
        if figures:
            fold["anchor"] = code_anchor(figures[0]["ids"][0])
            fold["named"] = f"Code of figure {numbers[figures[0]['ids'][0]]}"
            cell.remove(fold)
            place = figures[0].parent
            place.insert(place.index(figures[0]) + 1, fold)
            if opening:
                opening.parent.remove(opening)
                place.insert(place.index(fold) + 1, opening.children[0])
                opening = None
        elif outputs:
            listed = fold.astext().lstrip().startswith("listing(")
            fold["named"] = "What prints this listing" if listed else "Code of this output"
            cell.remove(fold)
            cell.append(fold)
        else:
            first = opening is None and not numbered_before(doctree, cell)
            fold["named"] = OPENING if first else BEHIND
            opening = cell if first else opening


def within_solution(node: nodes.Node) -> bool:
    while node is not None:
        if "solution" in " ".join(node.get("classes", []) if isinstance(node, nodes.Element) else []):
            return True
        node = node.parent
    return False


def numbered_before(doctree: nodes.document, cell: nodes.Node) -> bool:
    """Whether a figure stands before a cell."""
    for node in doctree.findall():
        if node is cell:
            return False
        if isinstance(node, nodes.figure):
            return True
    return False


def code_anchor(figure: str) -> str:
    return f"code-of-{figure}"


# --- the bar ---


def number_of(app: Sphinx, page: str) -> dict[str, str]:
    """Anchor of a figure of a page -> its number."""
    found = app.env.toc_fignumbers.get(page, {}).get("figure", {})
    return {anchor: ".".join(map(str, number)) for anchor, number in found.items()}


def write(app: Sphinx, path: str, content: bytes) -> None:
    file = Path(app.outdir) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def furnish(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Folds and bars of a page that is about to be written."""
    if app.builder.format != "html":
        return
    numbers = number_of(app, page)
    name_folds(doctree, numbers)
    notebook = Path(app.srcdir, f"{page}.ipynb")
    held = carried(notebook, notebook.stat().st_mtime) if notebook.is_file() else {}
    for figure in list(doctree.findall(nodes.figure)):
        anchor = next((name for name in figure["ids"] if name in numbers), None)
        if anchor is None:
            continue
        caption = next(iter(figure.findall(nodes.caption)), nodes.caption())
        bar = Bar(anchor=anchor, number=numbers[anchor], caption=first_sentence(bibtex_text(caption)))
        bar["code"] = any(node.get("anchor") == code_anchor(anchor) for node in doctree.findall(HideCodeCellNode))
        image = next(iter(figure.findall(nodes.image)), None)
        bar["moves"] = image is None
        own = held.get(anchor, {})
        if image is not None:
            bar["picture"] = image["uri"]
        if own.get("dark") and image is not None:
            dark = base64.b64decode(own["dark"])
            bar["dark"] = f"_images/{hashlib.sha256(dark).hexdigest()}.png"
            write(app, bar["dark"], dark)
            image["classes"].append("only-light")
            with Image.open(io.BytesIO(dark)) as picture:
                plot = Plot(across=picture.width)
            image.parent.replace(image, plot)
            plot += [image, DarkPicture(path=bar["dark"], alt=image.get("alt", ""))]
        if own.get("csv"):
            bar["csv"] = f"_static/figures/{posixpath.basename(page)}-{anchor}.csv"
            bar["left_out"] = "; ".join(own.get("left_out", []))
            write(app, bar["csv"], own["csv"].encode())
            held_as = json.dumps({posixpath.basename(bar["csv"]): own["csv"]}, ensure_ascii=False)
            script = f"Object.assign((window.bdbookNumbers ??= {{}}), {held_as});\n"
            write(app, bar["csv"].removesuffix("csv") + "js", script.encode())
        figure.append(bar)


def relative(translator, path: str) -> str:
    depth = translator.builder.current_docname.count("/")
    return "../" * depth + path


def visit_dark(translator, node: DarkPicture) -> None:
    where = escape(relative(translator, node["path"]))
    translator.body.append(f'<img class="only-dark" alt="{escape(node["alt"])}" loading="lazy" src="{where}" />\n')
    raise nodes.SkipNode


def visit_plot(translator, node: Plot) -> None:
    translator.body.append(f'<div class="bd-plot" style="--across: {node["across"]}">\n')


def depart_plot(translator, node: Plot) -> None:
    translator.body.append("</div>\n")


def visit_bar(translator, node: Bar) -> None:
    number, anchor, file = node["number"], node["anchor"], f"bdbook-figure-{node['number']}"
    parts = [f'<a class="bd-bar-number" href="#{anchor}" title="Copy the link to this figure">Figure {number}</a>']
    if node["code"]:
        parts.append(f'<a class="bd-bar-code" href="#{code_anchor(anchor)}">code</a>')
    if node["moves"]:
        for kind, title in (("PNG", "as a picture"), ("SVG", "as a drawing"), ("CSV", "the numbers of its lines")):
            parts.append(
                f'<button type="button" class="pst-js-only" data-save="{kind.lower()}" '
                f'title="Save the figure as it stands, {title}">{kind}</button>'
            )
    else:
        image = translator.builder.images.get(node["picture"])
        light = f"_images/{image}" if image else node["picture"]
        dark = f' data-dark="{escape(relative(translator, node["dark"]))}"' if "dark" in node else ""
        extension = posixpath.splitext(light)[1]
        parts.append(
            f'<a class="bd-bar-picture" href="{escape(relative(translator, light))}"{dark} '
            f'download="{file}{extension}">{extension[1:].upper()}</a>'
        )
        if "csv" in node:
            without = f", without {node['left_out']}" if node["left_out"] else ""
            parts.append(
                f'<a class="bd-bar-csv" href="{escape(relative(translator, node["csv"]))}" download="{file}.csv" '
                f'title="The numbers that are drawn{escape(without)}">CSV</a>'
            )
    parts.append('<button type="button" class="bd-bar-cite pst-js-only">cite</button>')
    caption = escape(node["caption"], quote=True)
    translator.body.append(
        f'<div class="bd-bar" role="group" aria-label="Figure {number}" data-number="{number}" data-anchor="{anchor}" '
        f'data-caption="{caption}">{"".join(parts)}</div>\n'
    )
    raise nodes.SkipNode


# --- the card ---


def plain(node: nodes.Node) -> str:
    """The words of a paragraph, mathematics as near to words as its letters are."""
    if isinstance(node, nodes.math):
        spelt = re.sub(r"\\(?:boldsymbol|mathrm|mathcal|text|operatorname)\b|[{}$]|\\[,;!]", "", node.astext())
        return spelt.replace("\\", "")
    if isinstance(node, nodes.Text):
        return node.astext()
    return "".join(plain(child) for child in node.children)


def description(doctree: nodes.document | None) -> str:
    """What a page says first, without the label that chapters begin with."""
    for paragraph in doctree.findall(nodes.paragraph) if doctree else ():
        words = " ".join(plain(paragraph).split()).removeprefix("The question. ")
        if len(words) > 40:
            return first_sentence(words)
    return ""


def card(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Title and description that a shared link shows, and the book's citation for figures.js."""
    book = app.config.html_title or app.config.project
    root = page == app.config.root_doc
    if root or page == "book/index":
        context["docstitle"] = ""  # the page's own title says it
    title = re.sub("<[^>]*>", "", context.get("title") or book)
    base = app.config.html_baseurl.rstrip("/")
    up = "../" * page.count("/")
    picture = f"{base}/_static/card.jpg" if base else f"{up}_static/card.jpg"
    tags = [
        ("name", "description", description(doctree)),
        ("property", "og:site_name", "bdbook"),
        ("property", "og:type", "article" if page.startswith("notebooks/") else "website"),
        ("property", "og:title", title),
        ("property", "og:description", description(doctree)),
        ("property", "og:image", picture),
        ("property", "og:image:width", "1200"),
        ("property", "og:image:height", "630"),
        ("property", "og:image:alt", "A photograph, more and more blurred"),
        ("property", "og:url", f"{base}/{page}.html" if base else ""),
        ("name", "twitter:card", "summary_large_image"),
    ]
    lines = [f'<meta {kind}="{name}" content="{escape(value)}" />' for kind, name, value in tags if value]
    fields = citation(CITATION, app.config.copyright) | {"page": title, "base": f"{base}/{page}.html" if base else ""}
    told = json.dumps(fields, ensure_ascii=False).replace("</", "<\\/")
    lines.append(f'<script type="application/json" id="bd-citation">{told}</script>')
    context["metatags"] = context.get("metatags", "") + "\n" + "\n".join(lines)


def setup(app: Sphinx) -> dict:
    app.add_node(HideCodeCellNode, override=True, html=(visit_fold, depart_fold))
    app.add_node(Bar, html=(visit_bar, None))
    app.add_node(DarkPicture, html=(visit_dark, None))
    app.add_node(Plot, html=(visit_plot, depart_plot))
    app.connect("doctree-resolved", furnish, priority=900)
    app.connect("html-page-context", card)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
