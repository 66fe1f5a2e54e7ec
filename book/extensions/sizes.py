"""What the browser must know of pictures and formulas before they come: their sizes, so that a page keeps their room,
and the punctuation behind a formula, which a line would else begin with.
"""

import html
import re
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from PIL import Image
from sphinx.application import Sphinx

PICTURE = re.compile(r'<img (?![^>]*\b(?:width|height)=)(?=[^>]*\bsrc="([^"]*_images/[^"]+\.(?:png|jpg))")')
FORMULA = re.compile(r'<span class="math notranslate nohighlight">(\\\((.*?)\\\)</span>)([.,;:!?)]*)', re.DOTALL)
MATHJAX = 1.3  # its formulas within a line beside matplotlib's, in em of the text around them: the median of the book's
# What matplotlib writes in another way, as wide.
SPELLINGS = [
    (r"\\tfrac", r"\\frac"),
    (r"\\(frac|sqrt) ?(\w)(?![a-z])", r"\\\1{\2}"),  # one letter without braces, then the other of a fraction
    (r"(\\frac\{\w\}) ?(\w)", r"\1{\2}"),
    (r"\\([gl])e(?![a-z])", r"\\\1eq"),
    (r"\\[lr]Vert", r"\\|"),
    (r"\\big[lr]", ""),
    (r"\\math(bb|cal|rm|bf) ?(\w)", r"\\mathrm{\2}"),
]


@cache
def width(tex: str) -> float | None:
    """About the width of a formula within a line, em; None for one that matplotlib cannot set."""
    for spelling, its in SPELLINGS:
        tex = re.sub(spelling, its, tex)
    with matplotlib.rc_context({"mathtext.fontset": "cm"}):
        try:
            return MATHJAX * MathTextParser("path").parse(f"${tex}$", 72, FontProperties(size=100))[0] / 100
        except ValueError:
            return None


def with_sizes(text: str, folder: Path) -> str:
    """A page of folder with the sizes of the book's pictures and formulas; the style sheet makes use of them."""

    def sized(tag: re.Match) -> str:
        with Image.open(folder / tag[1]) as picture:
            across, down = picture.size
        return f'<img width="{across}" height="{down}" '

    def held(tag: re.Match) -> str:
        formula, tex, behind = tag.groups()
        across = width(html.unescape(tex))
        room = "" if across is None else f' style="--bd-width: {across:.2f}em"'
        whole = f'<span class="bd-math math notranslate nohighlight"{room}>{formula}'
        return f'<span class="bd-held">{whole}{behind}</span>' if behind else whole

    return FORMULA.sub(held, PICTURE.sub(sized, text))


def write_sizes(app: Sphinx, exception: Exception | None) -> None:
    """Give pictures and formulas of all pages their sizes; pages that an earlier build has made have them already."""
    if exception or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        before = page.read_text(encoding="utf-8")
        after = with_sizes(before, page.parent)
        if after != before:
            page.write_text(after, encoding="utf-8")


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", write_sizes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
