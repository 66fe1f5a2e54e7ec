"""Print the built book into one PDF, with Chromium.

    python book/pdf.py HTML PDF     the pages of the folder HTML, in the order of _toc.yml, into the file PDF

Chromium prints each page by itself. The results are joined behind a title page, with bookmarks for parts, chapters
and sections, page numbers throughout, and links between chapters that stay within the file. Run from the repository
root.
"""

import html
import io
import shutil
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from playwright.sync_api import Browser, Page, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, FloatObject, NameObject, NullObject

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
NO_CHROMIUM = (
    "The pages are printed by Chromium, and none was found. On Debian: apt-get install chromium; elsewhere: "
    ".venv/bin/playwright install chromium"
)
PATIENCE = 300_000  # ms a chapter; a slow machine is no failure
SCALE = 0.8  # 12.8 px of text, at 96 px an inch, is 9.6 pt
MARGIN = {"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"}
WIDTH = round((210 - 36) / 25.4 * 96 / SCALE)  # px between the margins of A4: figures are drawn for it

READY = """() => window.MathJax?.startup?.promise
  && [...document.querySelectorAll(".bd-article .math")].every((node) => node.querySelector("mjx-container"))
  && [...document.querySelectorAll(".bdbook-figure")].every((node) => node.querySelector("svg path.bd-line[d]"))
  && [...document.images].every((image) => image.complete)"""
# Chromium records where a link of the same page leads, and nothing else: so there is one to every anchor. What is
# wider than the paper shrinks.
PREPARE = """() => {
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
  const heads = [...article.querySelectorAll("h2")].map((head) => [head.parentElement.id, title(head)]);
  const links = [...article.querySelectorAll("[id]")].map((node) => {
    const link = document.createElement("a");
    link.href = `#${node.id}`;
    return link;
  });
  article.append(...links);
  return { title: title(article.querySelector("h1")), heads };
}"""


def launch(playwright) -> Browser:
    """The installed Chromium, or playwright's own, headless."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), playwright.chromium.executable_path)
    if not Path(found).exists():
        sys.exit(NO_CHROMIUM)
    return playwright.chromium.launch(executable_path=found, args=FLAGS)


def printed(page: Page, **options) -> PdfReader:
    """What Chromium prints of the page, on A4."""
    return PdfReader(io.BytesIO(page.pdf(format="A4", print_background=True, **options)))


def print_chapter(page: Page, path: Path) -> tuple[dict, PdfReader]:
    """Title and second-level heads, (anchor, title) each, of a built page, and the page on paper."""
    page.goto(path.as_uri())
    page.wait_for_function(READY)
    said = page.evaluate(PREPARE)
    return said, printed(page, scale=SCALE, margin=MARGIN)


def front(page: Page, settings: dict, contents: list[tuple[str, str, int]]) -> PdfReader:
    """A title page and the contents: (part or "", chapter, page) each."""
    rows = "".join(
        (f"<h2>{html.escape(part)}</h2>" if part else "")
        + f"<p><span>{html.escape(title)}</span><i></i><span>{number}</span></p>"
        for part, title, number in contents
    )
    page.set_content(f"""<style>
      body {{ margin: 0; font: 11pt/1.5 sans-serif; }}
      header {{ height: 150mm; padding-top: 80mm; break-after: page; }} h1 {{ font-size: 30pt; line-height: 1.2; }}
      h2 {{ margin: 5mm 0 1mm; font-size: 11pt; break-after: avoid; }} p {{ display: flex; gap: 2mm; margin: 0; }}
      i {{ flex: 1; border-bottom: 1px dotted #888; margin-bottom: 1.5mm; }}</style>
      <header><h1>{html.escape(settings["title"])}</h1>{html.escape(settings["author"])}, {settings["copyright"]}
      <div>The pages themselves move and compute; this is what they look like at rest.</div></header>
      <h1 style="font-size: 18pt">Contents</h1>{rows}""")
    return printed(page, margin=MARGIN)


def numbers(page: Page, titles: list[str]) -> PdfReader:
    """Empty pages but for their number and the title of the chapter that each is in."""
    feet = "".join(
        f"<div><span>{html.escape(title)}</span><span>{number}</span></div>" for number, title in enumerate(titles, 1)
    )
    page.set_content(f"""<style>
      body {{ margin: 0; font: 8.5pt sans-serif; color: #555; }}
      div {{ box-sizing: border-box; height: 296.9mm; padding: 284mm 18mm 0; break-after: page; display: flex;
             justify-content: space-between; }} div:last-child {{ break-after: avoid; }}</style>{feet}""")
    return printed(page)


def connect(writer: PdfWriter, first: int, ends: list[int], places: dict[Path, dict]) -> None:
    """Lead the links of the chapters' pages, from `first` on, to pages of the same file.

    ends: for each chapter the number of the page after it; places: path of a chapter's HTML -> anchor -> (page of the
    file, left, top), "" being the chapter's beginning.
    """
    chapters = list(places)
    for number in range(first, len(writer.pages)):
        own = chapters[next(i for i, end in enumerate(ends) if number < end)]
        kept = ArrayObject()
        for reference in writer.pages[number].get("/Annots", ()):
            link = reference.get_object()
            if "/Dest" in link:
                path, anchor = own, str(link["/Dest"]).removeprefix("/")
            else:
                parts = urlsplit(link.get("/A", {}).get("/URI", ""))
                if parts.scheme != "file":
                    kept.append(reference)
                    continue
                path, anchor = Path(unquote(parts.path)), unquote(parts.fragment)
            if path not in places:
                continue  # a file that is not printed, such as a notebook to download
            page, left, top = places[path].get(anchor, places[path][""])
            link.pop("/A", None)
            link[NameObject("/Dest")] = ArrayObject(
                [writer.pages[page].indirect_reference, NameObject("/XYZ"), left, top, NullObject()]
            )
            kept.append(reference)
        writer.pages[number][NameObject("/Annots")] = kept


def write(source: Path, target: Path, settings: dict, chapters: list[tuple[str, str]]) -> None:
    """Print `chapters`, (part or "", file without its ending) each, from the built pages in `source` into `target`."""
    found = [(part, (source / f"{file}.html").resolve()) for part, file in chapters]
    missing = [path for _, path in found if not path.is_file()]
    if missing:
        sys.exit(f"There is no {missing[0]}: make book")
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": WIDTH, "height": 1100}, color_scheme="light")
        page.set_default_timeout(PATIENCE)
        page.emulate_media(media="print")
        results = []
        for _, path in found:
            begin = time.perf_counter()
            results.append(print_chapter(page, path))
            said, reader = results[-1]
            print(f"{said['title']:44} {len(reader.pages):3} pages {time.perf_counter() - begin:6.1f} s", flush=True)
        titles = [said["title"] for said, reader in results for _ in reader.pages]
        starts = [sum(len(reader.pages) for _, reader in results[:i]) for i in range(len(results) + 1)]
        contents = [
            (part, said["title"], start + 1) for (part, _), (said, _), start in zip(found, results, starts, strict=False)
        ]
        opening, feet = front(page, settings, contents), numbers(page, titles)
        browser.close()

    writer = PdfWriter()
    for reader in [opening, *(reader for _, reader in results)]:
        for leaf in reader.pages:
            writer.add_page(leaf)
    first = len(opening.pages)
    for leaf, foot in zip(writer.pages[first:], feet.pages, strict=True):
        leaf.merge_page(foot)
        leaf.compress_content_streams()
    places = {}
    for (_, path), (_, reader), start in zip(found, results, starts, strict=False):
        places[path] = {"": (first + start, NullObject(), NullObject())} | {
            name.removeprefix("/"): (
                first + start + reader.get_destination_page_number(there),
                FloatObject(there.left or 0),
                FloatObject(there.top or 0),
            )
            for name, there in reader.named_destinations.items()
        }
    connect(writer, first, [first + start for start in starts[1:]], places)

    parent = None
    for (part, path), (said, _) in zip(found, results, strict=True):
        if part:
            parent = writer.add_outline_item(part, places[path][""][0], bold=True)
        chapter = writer.add_outline_item(said["title"], places[path][""][0], parent=parent)
        for anchor, title in said["heads"]:
            writer.add_outline_item(title, places[path].get(anchor, places[path][""])[0], parent=chapter)
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
