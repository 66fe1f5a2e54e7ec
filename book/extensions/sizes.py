"""Width and height of every picture, in its tag: a page that knows them keeps their room until they come."""

import re
from pathlib import Path

from PIL import Image
from sphinx.application import Sphinx

PICTURE = re.compile(r'<img (?![^>]*\b(?:width|height)=)(?=[^>]*\bsrc="([^"]*_images/[^"]+\.(?:png|jpg))")')


def with_sizes(text: str, folder: Path) -> str:
    """A page of folder, each picture of the book with its size in px; the style sheet keeps the proportions."""

    def sized(tag: re.Match) -> str:
        with Image.open(folder / tag[1]) as picture:
            width, height = picture.size
        return f'<img width="{width}" height="{height}" '

    return PICTURE.sub(sized, text)


def write_sizes(app: Sphinx, exception: Exception | None) -> None:
    """Give the pictures of all pages their sizes; pages that an earlier build has made have them already."""
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
