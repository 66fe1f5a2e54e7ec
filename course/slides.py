"""Slides of the course's meetings, by reveal.js, without a network: `make slides`.

    python course/slides.py EXECUTED REVEAL FOLDER

course/plan.yml names what a deck shows by the chapters' labels. Statements, equations and captions are those of the
notebooks to run (book/handout.py), figures what the executed chapters in EXECUTED printed, live ones included. REVEAL
is the npm package reveal.js. Run from the repository root.
"""

import html
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from nbconvert.filters import markdown2html

from bdbook.errors import unknown
from bdbook.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "book")]
import handout  # noqa: E402

REVEAL_FILES = ("reveal.js", "reset.css", "reveal.css", "theme/white.css")
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="stylesheet" href="reveal/reset.css">
<link rel="stylesheet" href="reveal/reveal.css">
<link rel="stylesheet" href="reveal/theme/white.css">
<link rel="stylesheet" href="slides.css">
<script>
  // Slides that are not shown have no size, so formulas are set before reveal.js hides them.
  window.MathJax = {{
    loader: {{ load: ["input/tex-full", "output/svg", "a11y/assistive-mml"] }},
    options: {{ enableMenu: false }},
    tex: {{ inlineMath: [["$", "$"]], processEscapes: true }},
    startup: {{
      pageReady: () => MathJax.startup.defaultPageReady().then(() =>
        Reveal.initialize({{ hash: true, slideNumber: "c/t", transition: "none", width: 1280, height: 720, margin: 0.03,
          center: false }})).then(fit).then(() => Reveal.on("slidechanged", fit)),
    }},
  }};
  // What is too wide or too high for a slide becomes smaller: long equations, live figures.
  function fit() {{
    const body = Reveal.getCurrentSlide().querySelector(".body");
    if (!body || body.style.zoom) return;
    for (const formula of body.querySelectorAll('mjx-container[display="true"]'))
      if (formula.scrollWidth > body.clientWidth)
        formula.style.fontSize = `${{(99 * body.clientWidth) / formula.scrollWidth}}%`;
    body.style.zoom = Math.min(1, 640 / body.offsetHeight);
  }}
</script>
<script src="reveal/reveal.js"></script>
<script src="mathjax/startup.js" defer></script>
</head>
<body><div class="reveal"><div class="slides">
{slides}
</div></div></body>
</html>
"""


@dataclass(frozen=True)
class Shelf:
    """What slides are made from: the book, its chapters as notebooks to run, and the outputs of the executed ones."""

    book: handout.Book
    executed: Path
    made: dict[str, list[dict]] = field(default_factory=dict)

    def cells(self, page: str) -> list[dict]:
        """The plain cells of a chapter, code cells with what they printed."""
        if page not in self.made:
            self.made[page] = self.plain(page)
        return self.made[page]

    def plain(self, page: str) -> list[dict]:
        made = handout.rewrite(page, handout.cells_of(ROOT / f"{page}.ipynb"), self.book)["cells"]
        outputs = {
            cell.get("id"): cell.get("outputs") for cell in handout.cells_of(self.executed / f"{page[10:]}.ipynb")
        }
        return [cell | {"outputs": outputs.get(cell["id"])} for cell in made]

    def slide(self, label: str) -> str:
        """A slide of a figure, statement, equation or exercise; ValueError for a label that the chapters lack."""
        if label not in self.book.labels:
            raise unknown("label in course/plan.yml", label, self.book.labels)
        target, heading = self.book.labels[label], ""
        for index, cell in enumerate(cells := self.cells(target.page)):
            text = cell["source"] if cell["cell_type"] == "markdown" else ""
            for block in re.split(r"\n(?=## )", text):
                heading = block.partition("\n")[0].lstrip("# ") if re.match(r"##? ", block) else heading
                if found := of_label(block, target):
                    shown = [markdown(found)]
                    if target.kind == "Figure":  # the caption stands below its cell
                        shown.insert(0, pictures(cells[index - 1]["outputs"]))
                    return section(heading, "\n".join(shown), target.kind.lower())
        raise ValueError(f"{label} is a {target.kind.lower()} of {target.page} that has no form on a slide")


def of_label(block: str, target: handout.Target) -> str:
    """The part of a text that a label stands for: a statement without its proof, an equation after its paragraph."""
    if target.kind == "Equation":
        parts = re.split(r"\n{2,}", block)
        for index, part in enumerate(parts):
            if rf"\tag{{{target.number}}}" in part:
                before = parts[index - 1] if index and not parts[index - 1].startswith("#") else ""
                return f"{before}\n\n{part}"
        return ""
    begin = rf"(?:\*\*|### ){target.kind} {target.number}\b"  # an exercise has a heading
    found = re.search(
        rf"^{begin}.*?(?=^\*\*Proof|^<details>|^\*\*(?:Figure|Proposition|Theorem)|\Z)", block, re.M | re.S
    )
    return found[0] if found else ""


def markdown(text: str) -> str:
    """HTML; links between notebooks become their words."""
    return markdown2html(re.sub(r"\[([^]]*)\]\((?!http)[^)\s]*\)", r"\1", text))


def pictures(outputs: list[dict]) -> str:
    """What a cell showed: its live figure, or its images."""
    shown = [output["data"] for output in outputs or [] if "data" in output]
    live = ["".join(data["text/html"]) for data in shown if "text/html" in data]
    images = ["".join(data["image/png"]).strip() for data in shown if "image/png" in data]
    if not live and not images:
        raise ValueError("a figure of course/plan.yml printed no picture; are the executed chapters whole?")
    return "\n".join(live or [f'<img alt="" src="data:image/png;base64,{image}">' for image in images])


def section(heading: str, body: str, kind: str) -> str:
    return f'<section class="{kind}"><h2>{html.escape(heading)}</h2>\n<div class="body">\n{body}\n</div></section>'


def deck(number: int, meeting: dict, shelf: Shelf) -> str:
    """The page of one meeting."""
    title = f"{number}. {meeting['title']}"
    slides = [f'<section class="title"><h1>{html.escape(title)}</h1></section>']
    for each in meeting["slides"]:
        asked = isinstance(each, dict)
        slides.append(section("", f"<p>{html.escape(each['ask'])}</p>", "ask") if asked else shelf.slide(each))
    return PAGE.format(title=html.escape(title), slides="\n".join(slides))


def write(plan: list[dict], shelf: Shelf, reveal: Path, folder: Path) -> list[Path]:
    """All decks and what they load; the decks' files."""
    for name in REVEAL_FILES:
        write_atomically(folder / "reveal" / name, (reveal / "dist" / name).read_bytes())
    shutil.copytree(ROOT / "book/assets/vendor/mathjax", folder / "mathjax", dirs_exist_ok=True)
    write_atomically(folder / "slides.css", (ROOT / "course/slides.css").read_bytes())
    written = []
    for number, meeting in enumerate(plan, 1):
        written.append(folder / f"{number}.html")
        write_atomically(written[-1], deck(number, meeting, shelf))
    return written


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    executed, reveal, folder = map(Path, sys.argv[1:])
    plan = yaml.safe_load((ROOT / "course/plan.yml").read_text(encoding="utf-8"))
    written = write(plan, Shelf(handout.read(ROOT), executed), reveal, folder)
    print(f"{len(written)} decks: file://{written[0].resolve()} and the next")
