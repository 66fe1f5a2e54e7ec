"""The chapters as notebooks to run: what a hub, Colab, Kaggle, VS Code and GitHub are given.

    python book/handout.py FOLDER     write them into FOLDER/notebooks, and all in one archive; `make handout`

The committed chapters are written in MyST, which the book's build reads and a notebook server does not. A copy says the
same in plain Markdown: figures, equations, propositions and exercises with the numbers that they have in the book,
citations with a list of references, links that lead from notebook to notebook, solutions and the code that the book
hides folded away. What this program does not know it refuses, so that no reader meets it raw. jupyterlab-myst is not
installed beside them: tried at 2.7.0, it counts the equations of each notebook anew, so that they contradict the book,
and shows no mark that a solution opens.

Numbers are counted as Sphinx counts them, through all pages in the order of _toc.yml; a test compares them with those
of the built book (tests/browser/test_handout_numbers.py). REPO_URL and REPO_BRANCH (launch.py) say where the first cell
finds the library on Colab and Kaggle. Run from the repository root.
"""

import io
import json
import os
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import launch
import yaml
from pybtex.database import BibliographyData, Entry, parse_file
from pybtex.plugin import find_plugin

from bdbook.files import write_atomically

DIRECTIVE = re.compile(
    r"^(?P<ticks>`{3,})\{(?P<name>[\w:]+)\} *(?P<title>.*)\n(?P<options>(?::[\w-]+:.*\n)*)"
    r"(?P<body>(?:.*\n)*?)(?P=ticks) *$",
    re.MULTILINE,
)
ROLE = re.compile(r"\{(?P<name>[\w:]+)\}`(?P<text>[^`]+)`")
HEADING_LABEL = re.compile(r"^\((?P<label>[\w-]+)\)=\n(?P<hashes>#+) (?P<title>.*)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!\w+:)(?P<target>[^)\s]+)\)")
NUMBERED = {
    "prf:proposition": "Proposition",
    "prf:theorem": "Theorem",
    "prf:lemma": "Lemma",
    "prf:corollary": "Corollary",
    "exercise": "Exercise",
}
ARCHIVE = "bdbook-notebooks.zip"
END_OF_PROOF = r"$\square$"
PARAMETERS = """\
# How much is computed: "smoke" (seconds), "cpu" (minutes) or "gpu".
# None: gpu where there is one, else cpu.
"""


class UnknownError(ValueError):
    """Something in a chapter that has no plain form here; the message says what, where, and what to do."""


@dataclass(frozen=True)
class Target:
    """What a label stands for: "Figure", 13, on the page notebooks/05_blurring_diffusion; a section has a title."""

    kind: str
    number: int
    page: str
    title: str = ""

    @property
    def name(self) -> str:
        """As prose says it."""
        match self.kind:
            case "Equation":
                return f"({self.number})"
            case "Section":
                return self.title
            case _:
                return f"{self.kind} {self.number}"


@dataclass(frozen=True)
class Book:
    """What chapters refer to: labels, the bibliography, and the pages in their order."""

    pages: tuple[str, ...]
    labels: dict[str, Target]
    bibliography: BibliographyData
    titles: dict[str, str] = field(default_factory=dict)


def pages_of(toc: dict) -> tuple[str, ...]:
    """Every page of a _toc.yml, in reading order, without its ending."""
    return toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])


def option(directive: re.Match, name: str) -> str | None:
    found = re.search(rf"^:{name}: *(.*)$", directive["options"], re.MULTILINE)
    return found[1].strip() if found else None


def cells_of(page: Path) -> list[dict]:
    """The cells of a notebook; a Markdown file is one."""
    if page.suffix == ".md":
        return [{"cell_type": "markdown", "metadata": {}, "source": page.read_text(encoding="utf-8")}]
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells]


def labels_of(page: str, cells: list[dict], count: Counter) -> Iterator[tuple[str, Target]]:
    """(label, target) of each thing on a page; `count` goes on from the pages before."""
    for cell in cells:
        if cell["cell_type"] == "code":
            figure = cell["metadata"].get("mystnb", {}).get("figure")
            if figure:
                count["Figure"] += 1
                yield figure["name"], Target("Figure", count["Figure"], page)
            continue
        for section in HEADING_LABEL.finditer(cell["source"]):
            yield section["label"], Target("Section", 0, page, section["title"])
        for directive in DIRECTIVE.finditer(cell["source"]):
            label, kind = option(directive, "label"), NUMBERED.get(directive["name"])
            if directive["name"] == "math" and label:
                kind = "Equation"
            if kind:
                count[kind] += 1
                if label:
                    yield label, Target(kind, count[kind], page)


def read(root: Path) -> Book:
    """The book whose sources are in `root`."""
    pages, count, labels, titles = pages_of(yaml.safe_load((root / "_toc.yml").read_text())), Counter(), {}, {}
    for page in pages:
        source = root / (f"{page}.ipynb" if page.startswith("notebooks/") else f"{page}.md")
        if not source.is_file():
            continue  # a page that is made while the book is built has no labels of its own
        cells = cells_of(source)
        labels |= dict(labels_of(page, cells, count))
        heading = re.search(r"^# (.*)$", cells[0]["source"], re.MULTILINE)
        titles[page] = heading[1] if heading else Path(page).name
    return Book(pages, labels, parse_file(str(root / "book/references.bib")), titles)


# --- citations -------------------------------------------------------------------------------------------------------


def authors(entry: Entry) -> str:
    """As the book's citations name them: one, two, or the first of many."""
    names = [" ".join(person.prelast_names + person.last_names) for person in entry.persons["author"]]
    names = [name.strip("{}") for name in names]
    return f"{names[0]} *et al.*" if len(names) > 2 else " and ".join(names)


@cache
def _plain():
    return find_plugin("pybtex.style.formatting", "plain")(), find_plugin("pybtex.backends", "plaintext")()


def reference(entry: Entry) -> str:
    """A line of the list of references."""
    style, backend = _plain()
    (made,) = style.format_entries([entry])
    text = made.text.render(backend)
    url = entry.fields.get("url")
    if url:
        text = text.replace(f"URL: {url}", "").rstrip(" ,.")
        text = f"{text}. [{url.removeprefix('https://')}]({url})"
    return f"- {text}"


# --- Markdown --------------------------------------------------------------------------------------------------------


@dataclass
class Chapter:
    """One chapter while it is rewritten; `cited` collects the keys of what it cites, in order."""

    page: str
    book: Book
    cited: dict[str, None] = field(default_factory=dict)

    def unknown(self, what: str, name: str) -> UnknownError:
        return UnknownError(
            f'{self.page}.ipynb has the {what} "{name}", which has no form in plain Markdown. Write it another way, or '
            "add one to book/handout.py."
        )

    def link(self, text: str, page: str, anchor: str = "") -> str:
        """A link to a page, or plain words where it is the chapter itself or a page that is no notebook."""
        if (page == self.page and not anchor) or not page.startswith("notebooks/"):
            return text
        file = "" if page == self.page else f"{Path(page).name}.ipynb"
        return f"[{text}]({file}{anchor})"

    def to_label(self, label: str, text: str = "") -> str:
        if label not in self.book.labels:
            raise self.unknown("label", label)
        target = self.book.labels[label]
        anchor = f"#{target.title.replace(' ', '-')}" if target.kind == "Section" else ""
        return self.link(text or target.name, target.page, anchor)

    def cite(self, keys: str, in_text: bool) -> str:
        """One citation or several: "Bansal *et al.* (2022)" or "(Bansal *et al.*, 2022)", each a link to its paper."""
        made = []
        for key in (key.strip() for key in keys.split(",")):
            if key not in self.book.bibliography.entries:
                raise self.unknown("citation", key)
            self.cited[key] = None
            entry = self.book.bibliography.entries[key]
            who, year, url = authors(entry), entry.fields["year"], entry.fields.get("url")
            words = f"{who} ({year})" if in_text else f"{who}, {year}"
            made.append(f"[{words}]({url})" if url else words)
        return " and ".join(made) if in_text else f"({'; '.join(made)})"

    def role(self, found: re.Match) -> str:
        name, text = found["name"], found["text"].strip()
        titled = re.fullmatch(r"(.*?)\s*<([\w-]+)>", text)
        match name:
            case "cite" | "cite:p":
                return self.cite(text, in_text=False)
            case "cite:t":
                return self.cite(text, in_text=True)
            case "numref" | "eq" | "prf:ref" | "ref":
                return self.to_label(titled[2], titled[1]) if titled else self.to_label(text)
            case "glue:text":
                return f"«{text}»"  # recorded.said knows it once the chapter has run
            case _:
                raise self.unknown("role", name)

    def directive(self, found: re.Match) -> str:
        name, title, body = found["name"], found["title"].strip(), found["body"].rstrip("\n")
        label = option(found, "label")
        if name == "math":
            tag = rf" \tag{{{self.book.labels[label].number}}}" if label else ""
            return f"$$\n{body}{tag}\n$$"
        if name in NUMBERED:
            number = self.number(found, label)
            if name == "exercise":  # a heading: what a solution before it computes is folded as far as this
                return f"### Exercise {number}{f' ({title})' if title else ''}\n\n{body}"
            return f"**{NUMBERED[name]} {number}{f' ({title})' if title else ''}.** {body}"
        if name == "prf:proof":
            return f"**Proof.** {body}{' ' if not body.endswith('$$') else chr(10) * 2}{END_OF_PROOF}"
        if name == "solution":
            return f"<details>\n<summary><b>Solution of {self.to_label(title)}</b></summary>\n\n{body}\n\n</details>"
        if name == "admonition":
            return f"**{title}.** {body}"
        raise self.unknown("directive", name)

    def number(self, found: re.Match, label: str | None) -> int:
        if label is None:
            raise UnknownError(
                f"{self.page}.ipynb has a {found['name']} without a label, and so without a number here. Give it one: "
                ":label: on the line below its title."
            )
        return self.book.labels[label].number

    def local_link(self, found: re.Match) -> str:
        target, _, label = found["target"].partition("#")
        if not target:
            section = self.book.labels.get(label)
            return f"](#{section.title.replace(' ', '-')})" if section else found[0]
        page = os.path.normpath(f"{Path(self.page).parent}/{target}").removesuffix(".ipynb").removesuffix(".md")
        if page in self.book.pages and page.startswith("notebooks/"):
            return f"]({Path(page).name}.ipynb)"
        raise self.unknown("link", found["target"])

    def plain(self, text: str) -> str:
        """Markdown that any notebook server shows."""
        text = DIRECTIVE.sub(self.directive, text)
        text = HEADING_LABEL.sub(r"\g<hashes> \g<title>", text)
        text = ROLE.sub(self.role, text)
        return LINK.sub(self.local_link, text)


# --- cells -----------------------------------------------------------------------------------------------------------


def markdown_cell(source: str, name: str) -> dict:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": source}


def code_cell(source: str, name: str, metadata: dict | None = None) -> dict:
    cell = {"cell_type": "code", "execution_count": None, "id": name, "metadata": metadata or {}, "outputs": []}
    return cell | {"source": source}


def notebook(cells: list[dict]) -> dict:
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def folded(source: bool, outputs: bool = False) -> dict:
    """Metadata that folds a cell's code, or what it prints, away; JupyterLab shows a bar to open it."""
    return {"jupyter": ({"source_hidden": True} if source else {}) | ({"outputs_hidden": True} if outputs else {})}


def computed(text: str, name: str) -> Iterator[dict]:
    """Cells for a text in which «names» stand for what the chapter computes: blocks that have one are said by code."""
    for index, block in enumerate(re.split(r"\n{2,}(?=\S)", text.strip())):
        if "«" in block:
            quoted = block.replace('"""', r"\"\"\"")
            yield code_cell(f'recorded.said(r"""\n{quoted}\n""")', f"{name}-{index}", folded(True))
        else:
            yield markdown_cell(block, f"{name}-{index}")


def joined(cells: list[dict]) -> list[dict]:
    """Neighbouring pieces of one text as one cell again."""
    made: list[dict] = []
    for cell in cells:
        if made and cell["cell_type"] == made[-1]["cell_type"] == "markdown":
            made[-1]["source"] += "\n\n" + cell["source"]
        else:
            made.append(cell)
    return made


def code(cell: dict) -> dict:
    """A code cell as a reader runs it: folded where the book hides it."""
    tags, source = cell["metadata"].get("tags", []), cell["source"]
    if "parameters" in tags:
        return code_cell(PARAMETERS + source, cell["id"], {"tags": ["parameters"]})
    whole = {"hide-cell"} & set(tags)
    hidden = folded(
        source=bool(whole or {"hide-input", "remove-input", "remove-cell"} & set(tags)),
        outputs=bool(whole or {"hide-output"} & set(tags)),
    )
    return code_cell(source, cell["id"], hidden if hidden["jupyter"] else {})


def caption(chapter: Chapter, cell: dict) -> Iterator[dict]:
    figure = cell["metadata"].get("mystnb", {}).get("figure")
    if figure:
        number = chapter.book.labels[figure["name"]].number
        text = chapter.plain(figure["caption"])
        yield markdown_cell(f"**Figure {number}.** {text}", f"{cell['id']}-caption")


def setup(repo: str, branch: str) -> dict:
    """The first cell, for Colab and Kaggle: it does nothing where the library is installed."""
    source = f"bdbook[chapters] @ git+{repo}@{branch}" if repo else "bdbook[chapters]"
    return code_cell(
        f"""\
# For Colab and Kaggle: installs the book's library where it is missing,
# from a wheel beside this notebook, or else from {repo or "PyPI"}.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("bdbook") is None:
    wheel = next(map(str, Path().glob("bdbook-*.whl")), None)
    what = f"bdbook[chapters] @ file://{{Path(wheel).resolve()}}" if wheel else "{source}"
    %pip install --quiet "$what"
""".rstrip(),
        "set-up",
        folded(True),
    )


def closed_solutions(chapter: Chapter, cells: list[dict]) -> Iterator[dict]:
    """The cells, with a heading that is folded before code that belongs to a solution: a run would show its output."""
    for before, cell, after in zip([None, *cells], cells, [*cells[1:], None], strict=False):
        hidden = cell["metadata"].get("jupyter", {}).get("outputs_hidden")
        if hidden and before and before["source"].endswith("</details>"):
            if after and not after["source"].startswith(("## ", "### ")):
                raise UnknownError(
                    f"{chapter.page}.ipynb: what follows the computed part of a solution would be folded with it. "
                    "Begin the cell after it with a heading, ##, or the next exercise."
                )
            yield markdown_cell("#### The solution, computed", f"{cell['id']}-closed") | {
                "metadata": {"jp-MarkdownHeadingCollapsed": True}
            }
        yield cell


def rewrite(page: str, cells: list[dict], book: Book, repo: str = "", branch: str = "main") -> dict:
    """The notebook to run, of the committed chapter `page`; nbformat 4.5."""
    chapter, made = Chapter(page, book), []
    for cell in cells:
        if cell["cell_type"] == "code":
            made += [code(cell), *caption(chapter, cell)]
        else:
            made += joined(list(computed(chapter.plain(cell["source"]), cell["id"])))
    if chapter.cited:
        entries = sorted((book.bibliography.entries[key] for key in chapter.cited), key=lambda entry: authors(entry))
        made.append(markdown_cell("\n".join(["## References", "", *map(reference, entries)]), "references"))
    made = list(closed_solutions(chapter, made))
    made.insert(1, setup(repo, branch))
    return notebook(made)


def start_page(book: Book, questions: dict[str, str]) -> dict:
    """00_start_here.ipynb: what the chapters ask, and how a notebook of them is used."""
    rows = [f"- [{book.titles[page]}]({Path(page).name}.ipynb). {question}" for page, question in questions.items()]
    text = "\n".join(
        [
            "# Diffusion models that blur",
            "",
            "The chapters of the book, to run. Open one, then *Run*, *Run All Cells*. Code that the book hides is "
            "folded: click the bar at its left to open it. So are the solutions of the exercises.",
            "",
            "These copies are yours: change them. When the book moves on, chapters that you left alone follow it, and "
            "beside one that you changed the new one appears under another name.",
            "",
            "If a notebook says that its kernel has died, its memory was full: shut the others down (the square at the "
            'far left lists them), write `profile = "smoke"` into its second cell of code, and run it from the top.',
            "",
            "A server that nobody uses is stopped after a while. Your files stay as you saved them; what a notebook "
            "had computed is gone from its memory, so run it from the top.",
            "",
            *rows,
        ]
    )
    return notebook([markdown_cell(text, "start")])


def question_of(cells: list[dict], plain: Callable[[str], str]) -> str:
    """What a chapter asks, from its first cell: "**The question.** ..." """
    found = re.search(r"\*\*The question\.\*\* *(.*?[.?!])[^.?!]*?(?:\n\n|\Z)", cells[0]["source"], re.DOTALL)
    return plain(found[1]) if found else ""


def write(root: Path, folder: Path, repo: str = "", branch: str = "main") -> list[Path]:
    """All chapters of the book in `root` as notebooks to run, in `folder`/notebooks; the files written."""
    book, made, questions = read(root), {}, {}
    for page in book.pages:
        if not page.startswith("notebooks/"):
            continue
        cells = cells_of(root / f"{page}.ipynb")
        made[Path(page).name] = rewrite(page, cells, book, repo, branch)
        questions[page] = question_of(cells, Chapter(page, book).plain)
    made = {"00_start_here": start_page(book, questions)} | made
    target = folder / "notebooks"
    target.mkdir(parents=True, exist_ok=True)
    for stale in {path.name for path in target.glob("*.ipynb")} - {f"{name}.ipynb" for name in made}:
        (target / stale).unlink()
    written = []
    for name, content in made.items():
        written.append(target / f"{name}.ipynb")
        write_atomically(written[-1], json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
    return written


def archive(files: list[Path], target: Path) -> None:
    """All of them in one file to download; the same notebooks give the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for path in files:
            packed.writestr(zipfile.ZipInfo(f"notebooks/{path.name}"), path.read_bytes(), zipfile.ZIP_DEFLATED)
    write_atomically(target, content.getvalue())


def main(folder: str) -> None:
    settings = {name: os.environ.get(name, "") for name in ("REPO_URL", "REPO_BRANCH")}
    branch = settings["REPO_BRANCH"] or "main"
    try:
        launch.options(settings["REPO_URL"], branch)  # refuses what is no address
        written = write(Path(), Path(folder), settings["REPO_URL"], branch)
    except ValueError as error:
        sys.exit(str(error))
    archive(written, Path(folder) / ARCHIVE)
    print(f"{len(written)} notebooks to run: {written[0].parent}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
