"""Print the built book into one PDF, with Chromium.

    python book/pdf.py HTML PDF     the pages of the folder HTML, in the order of _toc.yml, into the file PDF

Chromium prints each page by itself. The results are joined behind a title page, with bookmarks for parts, chapters
and sections, page numbers throughout, and links between chapters that stay within the file. Run from the repository
root.
"""

import html
import io
import sys
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import chromium
import yaml
from playwright.sync_api import Page, sync_playwright
from pypdf import PageObject, PdfReader, PdfWriter
from pypdf.generic import ArrayObject, Fit, FloatObject, NameObject, NullObject

PATIENCE = 300_000  # ms a chapter; a slow machine is no failure
SCALE = 0.8  # 12.8 px of text, at 96 px an inch, is 9.6 pt
MARGIN = {"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"}
WIDTH = round((210 - 36) / 25.4 * 96 / SCALE)  # px between the margins of A4: figures are drawn for it

READY = """() => window.bdbookTypeset() && window.MathJax?.startup?.promise
  && [...document.querySelectorAll(".bd-article .math")].every((node) => node.querySelector("mjx-container"))
  && [...document.querySelectorAll(".bdbook-figure")].every((node) => node.querySelector(".bdbook-widget"))
  && [...document.images].every((image) => { image.loading = "eager"; return image.complete; })"""
# Chromium records where a link of the same page leads, and nothing else: so there is one to every anchor. What is
# wider than the paper shrinks.
PREPARE = """() => {
  // A film at the moment that tells the systems apart, wherever it stood: half of the way there.
  for (const film of document.querySelectorAll(".bd-film")) {
    film.querySelector("input[value=forward]")?.click();
    const time = film.querySelector("input[type=range]");
    time.value = film.matches(".bd-both-ways") ? 0.35 : 0.5;
    time.dispatchEvent(new Event("input", { bubbles: true }));
  }
  dispatchEvent(new Event("beforeprint"));
  const article = document.querySelector("article"), title = (node) => {
    const copy = node.cloneNode(true);
    for (const part of copy.querySelectorAll(".headerlink, svg")) part.remove();
    return copy.textContent.replace(/\\s+/g, " ").trim();
  };
  for (const node of article.querySelectorAll("div.math, table")) {
    const inner = node.querySelector("mjx-container") ?? node, room = node.parentElement.clientWidth;
    if (inner.scrollWidth > room) inner.style.zoom = room / inner.scrollWidth;
  }
  // A section may begin at the foot of a page and its head on the next.
  for (const section of article.querySelectorAll("section[id]")) {
    const head = section.querySelector(":scope > :is(h1, h2, h3, h4)");
    if (head) [head.id, section.id] = [section.id, ""];
  }
  const heads = [...article.querySelectorAll("h2")].map((head) => [head.id, title(head)]);
  const links = [...article.querySelectorAll("[id]:not([id=''])")].map((node) => {
    const link = document.createElement("a");
    link.href = `#${node.id}`;
    return link;
  });
  article.append(...links);
  return { title: title(article.querySelector("h1")), heads };
}"""


class Place(NamedTuple):
    """A page of the whole file, counted from 0, and a point on it."""

    page: int
    left: FloatObject | NullObject
    top: FloatObject | NullObject


def printed(page: Page, **options) -> PdfReader:
    """What Chromium prints of the page, on A4."""
    return PdfReader(io.BytesIO(page.pdf(format="A4", print_background=True, **options)))


class Chapter(NamedTuple):
    """A page of the book and what Chromium made of it."""

    part: str  # the part of the book that it opens, or ""
    path: Path
    title: str
    heads: list[tuple[str, str]]  # (anchor, title) of its sections
    reader: PdfReader
    start: int  # pages of chapters before it


def print_chapters(page: Page, paths: list[tuple[str, Path]]) -> list[Chapter]:
    """Print built pages, (part or "", path) each, with a line of progress for each."""
    chapters, start = [], 0
    for part, path in paths:
        begin = time.perf_counter()
        page.goto(path.as_uri())
        page.wait_for_function(READY)
        said = page.evaluate(PREPARE)
        chapters.append(Chapter(part, path, **said, reader=printed(page, scale=SCALE, margin=MARGIN), start=start))
        length = len(chapters[-1].reader.pages)
        start += length
        print(f"{said['title']:46} {length:3} pages {time.perf_counter() - begin:6.1f} s", flush=True)
    return chapters


def front(page: Page, settings: dict, chapters: list[Chapter]) -> PdfReader:
    """A title page and the contents."""
    rows = "".join(
        (f"<h2>{html.escape(chapter.part)}</h2>" if chapter.part else "")
        + f"<p><span>{html.escape(chapter.title)}</span><i></i><span>{chapter.start + 1}</span></p>"
        for chapter in chapters
    )
    page.set_content(f"""<style>
      body {{ margin: 0; font: 11pt/1.5 sans-serif; font-variant-ligatures: none; }}
      header {{ height: 150mm; padding-top: 80mm; break-after: page; }} h1 {{ font-size: 30pt; line-height: 1.2; }}
      h2 {{ margin: 5mm 0 1mm; font-size: 11pt; break-after: avoid; }} p {{ display: flex; gap: 2mm; margin: 0; }}
      i {{ flex: 1; border-bottom: 1px dotted #888; margin-bottom: 1.5mm; }}</style>
      <header><h1>{html.escape(settings["title"])}</h1>{html.escape(settings["author"])}, {settings["copyright"]}
      <div>The pages themselves move and compute; this is what they look like at rest.</div></header>
      <h1 style="font-size: 18pt">Contents</h1>{rows}""")
    return printed(page, margin=MARGIN)


def feet(page: Page, chapters: list[Chapter]) -> PdfReader:
    """Empty pages but for their number and the title of the chapter that each is in."""
    titles = [chapter.title for chapter in chapters for _ in chapter.reader.pages]
    rows = "".join(
        f"<div><span>{html.escape(title)}</span><span>{number}</span></div>" for number, title in enumerate(titles, 1)
    )
    page.set_content(f"""<style>
      body {{ margin: 0; font: 8.5pt sans-serif; color: #555; font-variant-ligatures: none; }}
      div {{ box-sizing: border-box; height: 296.9mm; padding: 284mm 18mm 0; break-after: page; display: flex;
             justify-content: space-between; }} div:last-child {{ break-after: avoid; }}</style>{rows}""")
    return printed(page)


def places(chapter: Chapter, first: int) -> dict[str, Place]:
    """Anchor -> its place in a file that has `first` pages before the first chapter; "" is the chapter's beginning."""
    start, reader = first + chapter.start, chapter.reader
    return {"": Place(start, NullObject(), NullObject())} | {
        name.removeprefix("/"): Place(
            start + reader.get_destination_page_number(there), FloatObject(there.left or 0), FloatObject(there.top or 0)
        )
        for name, there in reader.named_destinations.items()
    }


def connect(writer: PdfWriter, leaf: PageObject, own: Path, found: dict[Path, dict[str, Place]]) -> None:
    """Lead the links of a page of the chapter `own` to where the same file has their targets."""
    kept = ArrayObject()
    for reference in leaf.get("/Annots", ()):
        link = reference.get_object()
        if "/Dest" in link:
            path, anchor = own, str(link["/Dest"]).removeprefix("/")
        else:
            address = urlsplit(link.get("/A", {}).get("/URI", ""))
            if address.scheme != "file":
                kept.append(reference)
                continue
            path, anchor = Path(unquote(address.path)), unquote(address.fragment)
        if path not in found:
            continue  # a file that is not printed, such as a notebook to download
        place = found[path].get(anchor, found[path][""])
        link.pop("/A", None)
        link[NameObject("/Dest")] = ArrayObject(
            [writer.pages[place.page].indirect_reference, NameObject("/XYZ"), place.left, place.top, NullObject()]
        )
        kept.append(reference)
    leaf[NameObject("/Annots")] = kept


def add_bookmarks(writer: PdfWriter, chapters: list[Chapter], found: dict[Path, dict[str, Place]]) -> None:
    """Parts, chapters and sections in the outline."""
    part = None
    for chapter in chapters:
        here = found[chapter.path]
        if chapter.part:
            part = writer.add_outline_item(title=chapter.part, page_number=here[""].page, bold=True)
        item = writer.add_outline_item(title=chapter.title, page_number=here[""].page, parent=part)
        for anchor, title in chapter.heads:
            page, left, top = here[anchor]
            writer.add_outline_item(title=title, page_number=page, parent=item, fit=Fit.xyz(left, top))


def write(source: Path, target: Path, settings: dict, pages: list[tuple[str, str]]) -> None:
    """Print `pages`, (part or "", file without its ending) each, of the built book in `source` into `target`."""
    paths = [(part, (source / f"{file}.html").resolve()) for part, file in pages]
    for _, path in paths:
        if not path.is_file():
            sys.exit(f"There is no {path}: make book")
    with sync_playwright() as playwright:
        try:
            browser = chromium.launch(playwright)
        except FileNotFoundError as error:
            sys.exit(f"The pages are printed by Chromium, and {error}")
        page = browser.new_page(viewport={"width": WIDTH, "height": 1100}, color_scheme="light")
        page.set_default_timeout(PATIENCE)
        page.emulate_media(media="print")
        chapters = print_chapters(page, paths)
        opening, footers = front(page, settings, chapters), feet(page, chapters)
        browser.close()

    writer = PdfWriter()
    first = len(opening.pages)
    for reader in [opening, *(chapter.reader for chapter in chapters)]:
        for leaf in reader.pages:
            writer.add_page(leaf)
    found = {chapter.path: places(chapter, first) for chapter in chapters}
    owners = [chapter.path for chapter in chapters for _ in chapter.reader.pages]
    for leaf, own, footer in zip(writer.pages[first:], owners, footers.pages, strict=True):
        connect(writer, leaf, own, found)
        leaf.merge_page(footer)
        leaf.compress_content_streams()
    add_bookmarks(writer, chapters, found)
    writer.set_page_label(0, first - 1, style="/r")
    writer.set_page_label(first, len(writer.pages) - 1, style="/D")
    writer.add_metadata({"/Title": settings["title"], "/Author": settings["author"]})
    writer.page_mode = "/UseOutlines"
    writer.compress_identical_objects(remove_unreferenced=True)
    writer.write(target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    toc = yaml.safe_load(Path("_toc.yml").read_text(encoding="utf-8"))
    listed = [("", toc["root"])] + [
        (part["caption"] if i == 0 else "", chapter["file"])
        for part in toc["parts"]
        for i, chapter in enumerate(part["chapters"])
    ]
    config = yaml.safe_load(Path("_config.yml").read_text(encoding="utf-8"))
    write(Path(sys.argv[1]), Path(sys.argv[2]), config, listed)
