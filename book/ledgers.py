"""The three ledgers, equations.yml, claims.yml and errata.yml, read strictly and turned into pages.

    python book/ledgers.py pages FOLDER     write equations.md, claims.md, errata.md and index.md into FOLDER
    python book/ledgers.py chapters         write each chapter's table of claims into its notebook (make claims)

An equation says where the book derives it, which function it is and which test would notice if it broke; a
claim has a verdict, by the rule of verdicts.py, and its evidence; an erratum has the printed form, the right one and
who shows it. The pages are made while staging (book/stage.py) and never committed; the tables are committed, since
the notebooks are read without a build too.
"""

import html
import json
import re
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import chapters
import verdicts
import yaml

from bdbook import files

HERE = Path(__file__).resolve().parent
PAGES = ("equations", "claims", "errata")
CHAPTERS = HERE.parent / "notebooks"
SOURCES = {
    "Lee": "Lee et al. 2022: progressive deblurring",
    "HS": "Hoogeboom & Salimans 2022: blurring diffusion models",
    "Bansal": "Bansal et al. 2022: cold diffusion",
    "Daras": "Daras et al. 2022: soft diffusion, as the others describe it",
    "Later": "Later papers, each with its entry under Since 2022",
    "bdbook": "This book's own",
}
# scaled: a training of the papers, of which the book shows a smaller one.
STATUSES = {"done": "✓", "scaled": "≈", "open": "…"}
SLIPS = {"formula": "∑", "editorial": "¶"}
POINTER = re.compile(r"(?P<name>\d\d_\w+)(?:#(?P<fragment>[a-z0-9][\w-]*))?")
TEST = re.compile(r"tests/[\w/]+\.py::test_\w+")
DOTTED = re.compile(r"[a-zA-Z_]\w*(\.\w+)+")
ID = re.compile(r"[a-z0-9]+(-[a-z0-9_]+)*")
TEST_NAMED = re.compile(r'<code class="bd-name">(?P<file>tests/[\w/]+\.py)::\w+</code>')
UNESCAPED = re.compile(r"(\$[^$]*\$|`[^`]*`)")

# field -> what it must be: a tuple of words, a pattern for a string, a list of patterns, or str for prose.
COMMON = {"id": ID, "source": tuple(SOURCES)}
FIELDS = {
    "equations": COMMON
    | {"label": str, "says": str, "chapter": [POINTER], "code": [DOTTED], "test": [TEST], "status": tuple(STATUSES)},
    "claims": COMMON
    | {"where": str, "claim": str, "kind": ("mathematical", "empirical", "editorial"), "verdict": verdicts.GIVEN}
    | {"evidence": [POINTER, TEST], "note": str},
    "errata": COMMON
    | {"where": str, "kind": tuple(SLIPS), "printed": str, "right": str, "why": str}
    | {"shown_by": [POINTER, TEST]},
}
OPTIONAL = {
    "equations": {"check": str, "erratum": ID, "waits_for": str},
    "claims": {"finding": verdicts.FINDINGS, "compares": [verdicts.COMPARISON]},
    "errata": {"waits_for": str},
}


def read(folder: Path = HERE) -> dict[str, list[dict]]:
    """The three ledgers in `folder`, checked: name -> entries in the order of the file."""
    ledgers = {name: _entries(folder / f"{name}.yml", name) for name in PAGES}
    errata = {entry["id"] for entry in ledgers["errata"]}
    for entry in ledgers["equations"]:
        if "erratum" in entry and entry["erratum"] not in errata:
            _fail("equations.yml", entry["id"], f"erratum {entry['erratum']!r} is not in errata.yml")
    return ledgers


def write(folder: Path, ledgers: dict[str, list[dict]] | None = None, repository: str = "") -> dict[str, Path]:
    """Write the pages into `folder`, each at once; name -> path. The same ledgers give the same bytes.

    A test is a link where `repository` says under which address the files of the repository can be read.
    """
    ledgers = read() if ledgers is None else ledgers
    render = {"equations": _equations, "claims": _claims, "errata": _errata, "index": _index}
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.md" for name in render}
    for name, path in paths.items():
        text = render[name](ledgers)
        files.write_atomically(path, TEST_NAMED.sub(partial(_read_there, repository), text) if repository else text)
    return paths


def _read_there(repository: str, named: re.Match) -> str:
    """The name of a test with a link to its file."""
    return f'<a href="{html.escape(repository)}/{named["file"]}">{named[0]}</a>'


# --- reading -------------------------------------------------------------------------------------------------


def _entries(path: Path, name: str) -> list[dict]:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name}: not YAML: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path.name}: expected a list of entries, each a mapping that begins with '- id: ...'")
    seen = set()
    for number, entry in enumerate(entries, 1):
        label = str(entry.get("id", f"entry {number}"))
        _check_fields(path.name, label, entry, FIELDS[name], OPTIONAL[name])
        if label in seen:
            _fail(path.name, label, "this id appears twice; expected each id once")
        seen.add(label)
        _check_sense(path.name, label, entry)
    return entries


def _check_fields(file: str, label: str, entry: dict, required: dict, optional: dict) -> None:
    known = required | optional
    for field in entry.keys() - known.keys():
        _fail(file, label, f"unknown field {field!r}; expected {', '.join(known)}")
    for field in required.keys() - entry.keys():
        _fail(file, label, f"field {field!r} is missing; expected {', '.join(required)}")
    for field, value in entry.items():
        _check_value(file, label, field, value, known[field])


def _check_value(file: str, label: str, field: str, value, kind) -> None:
    if isinstance(kind, list):
        if not isinstance(value, list):
            _fail(file, label, f"{field} was {value!r}; expected a list")
        for item in value:
            if not any(_matches(item, pattern) for pattern in kind):
                _fail(file, label, f"{field} has {item!r}; expected {' or '.join(_example(k) for k in kind)}")
        if len(set(map(str, value))) < len(value):
            _fail(file, label, f"{field} names something twice: {value}")
    elif isinstance(kind, tuple):
        if value not in kind:
            _fail(file, label, f"{field} was {value!r}; expected one of {', '.join(kind)}")
    elif not isinstance(value, str) or not value.strip():
        _fail(file, label, f"{field} was {value!r}; expected text")
    elif kind is not str and not kind.fullmatch(value):
        _fail(file, label, f"{field} was {value!r}; expected {_example(kind)}")
    elif kind is str and (value.count("$") % 2 or value.count("`") % 2):
        _fail(file, label, f"{field} has a formula or code that is not closed: {value!r}")


def _matches(item, kind: re.Pattern | dict) -> bool:
    """Whether an item of a list is a text of that pattern, or a mapping with just those fields (two may lack)."""
    if isinstance(kind, re.Pattern):
        return isinstance(item, str) and kind.fullmatch(item) is not None
    return isinstance(item, dict) and verdicts.is_comparison(item)


def _example(pattern: re.Pattern | dict) -> str:
    if isinstance(pattern, dict):
        return verdicts.EXAMPLE
    return {
        POINTER: "a pointer like 05_blurring_diffusion#markov-transitions",
        TEST: "a test like tests/test_samplers.py::test_marginal_is_kept",
        DOTTED: "a dotted name like bdbook.samplers.ancestral",
        ID: "an id like lee-eq-7",
    }[pattern]


def _check_sense(file: str, label: str, entry: dict) -> None:
    """What the fields must say together."""
    waits = "waits_for" in entry
    if entry.get("status") == "open" and not waits:
        _fail(file, label, "it is open; expected waits_for to say what it waits for")
    shown = entry.get("status") in ("done", "scaled")
    if shown and waits:
        _fail(file, label, "it is not open, so it waits for nothing; expected no waits_for")
    if shown and not entry["chapter"]:
        _fail(file, label, f"it is {entry['status']}; expected at least one chapter")
    if shown and not entry["code"] and "check" not in entry:
        _fail(file, label, "it names no code; expected check to say why")
    if "verdict" in entry and (broken := verdicts.broken(entry)):
        _fail(file, label, broken)
    if "shown_by" in entry and entry["kind"] == "formula" and not entry["shown_by"] and not waits:
        _fail(file, label, "nobody shows it; expected shown_by, or waits_for")


def _fail(file: str, label: str, what: str) -> None:
    raise ValueError(f"{file}, {label}: {what}")


# --- the pages -----------------------------------------------------------------------------------------------


def _equations(ledgers: dict[str, list[dict]]) -> str:
    entries = ledgers["equations"]
    intro = (
        "Every numbered equation, algorithm, listing and table of the three sources, in this book's symbols "
        "([](notation.md)): where it is derived, which function of the library it is, and which test fails if that "
        "function stops being it. *Done* means all of these exist; *scaled*, of a table of trainings, that the book "
        "shows the same comparison at a smaller scale; *open* names what it waits for. A misprint leads to its "
        "[correction](errata.md)."
    )
    return _page("Equations", intro, entries, "status", STATUSES, _equation)


def _equation(entry: dict) -> list[list[str]]:
    says = [_text(entry["says"])]
    if "check" in entry:
        says.append(_text(entry["check"]))
    if "erratum" in entry:
        says.append(f'Printed otherwise: <a href="errata.html#{entry["erratum"]}">erratum</a>.')
    where = [_evidence(entry[field]) for field in ("chapter", "code", "test") if entry[field]]
    return [[_head(entry["label"], STATUSES, entry["status"], entry)], says, where]


def _claims(ledgers: dict[str, list[dict]]) -> str:
    intro = (
        "What the three papers claim, in our words, and what this book can say to it; then what "
        "[later papers](since_2022.md) say, and at the end what the book claims itself. *Proved*: derived in a "
        "chapter. *Exact*: computed without a training, in the laboratory of Gaussian data, by algebra or by counting. "
        "Both say whether the claim stands as it was made. *Seen*, *mixed* and *not seen* are of the recorded "
        "trainings, at book scale: a claim is seen where every recorded measure and every seed agree, and mixed where "
        "one dissents, which is then named. A program decides it from the records, and no such evidence says anything "
        "of trainings at a paper's scale. *Not testable here*: it speaks of those, of readers' eyes, or of runs that "
        "nobody else can repeat."
    )
    entries = [entry | {"word": verdicts.word(entry)} for entry in ledgers["claims"]]
    return _page("Claims", intro, entries, "word", verdicts.SIGNS, _claim)


def _claim(entry: dict) -> list[list[str]]:
    finding = f", {entry['finding']}" if "finding" in entry else ""
    head = _head(f"{entry['where']}, {entry['kind']}", verdicts.SIGNS, entry["word"], entry) + finding
    here = [f"Here: {_text(verdicts.note(entry))}"]
    here += [_evidence(entry["evidence"])] if entry["evidence"] else []
    return [[head], [f"Claim: {_text(entry['claim'])}"], here]


def _errata(ledgers: dict[str, list[dict]]) -> str:
    intro = (
        "Slips in print, found while deriving and computing everything again: most are of the kind that every long "
        "paper has, some touch an argument. A *formula* is shown to fail, and its correction to hold, by a chapter or "
        "a test; an *editorial* slip is shown by quoting it. We read the papers as text taken from their pages, so "
        "where a symbol alone is at stake it may have been right in print."
    )
    return _page("Errata", intro, ledgers["errata"], "kind", SLIPS, _erratum)


def _erratum(entry: dict) -> list[list[str]]:
    why = [_text(entry["why"])]
    why += [_evidence(entry["shown_by"])] if entry["shown_by"] else []
    forms = [f"Printed: {_text(entry['printed'])}", f"Right: {_text(entry['right'])}"]
    return [[_head(entry["where"], SLIPS, entry["kind"], entry)], forms, why]


def _index(ledgers: dict[str, list[dict]]) -> str:
    """The landing page: index.md with a card for each chapter, its sentence, and the verdicts that it leads to."""
    sentences = yaml.safe_load((HERE / "chapters.yml").read_text(encoding="utf-8"))
    cards = "\n\n".join(_card(name, sentence, ledgers["claims"]) for name, sentence in sentences.items())
    grid = f"::::{{grid}} 1 2 2 2\n:gutter: 0\n:class-container: bd-chapters\n\n{cards}\n::::"
    return (HERE / "index.md").read_text(encoding="utf-8").replace("{{cards}}", grid)


def _card(name: str, sentence: str, claims: list[dict]) -> str:
    notebook = json.loads((CHAPTERS / f"{name}.ipynb").read_text(encoding="utf-8"))
    here = [claim for claim in claims if any(item.partition("#")[0] == name for item in claim["evidence"])]
    found = Counter(verdicts.word(claim) for claim in here)
    tally = ", ".join(f"{found[word]} {word}" for word in verdicts.SIGNS if found[word])
    head = f":::{{grid-item-card}} {chapters.numbered(name, notebook)}"
    options = f":link: ../notebooks/{name}\n:link-type: doc\n:shadow: none"
    claimed = f"\n\n<small>Claims: {tally}.</small>" if tally else ""
    return f"{head}\n{options}\n{sentence}{claimed}\n:::"


def _page(title: str, intro: str, entries: list[dict], field: str, words: dict[str, str], render) -> str:
    """A page: the counts, then a section a paper and a row an entry."""
    present = [word for word in words if any(entry[field] == word for entry in entries)]
    sources = [source for source in SOURCES if any(entry["source"] == source for entry in entries)]
    rows = [
        f"| {'verdict' if field == 'word' else field} | {' | '.join(sources)} | all |",
        "|---|" + "--:|" * (len(sources) + 1),
    ]
    for word in present:
        counts = [sum(e[field] == word and e["source"] == source for e in entries) for source in sources]
        rows.append(f"| {words[word]} {word} | {' | '.join(map(str, counts))} | {sum(counts)} |")
    totals = [sum(e["source"] == source for e in entries) for source in sources]
    rows.append(f"| together | {' | '.join(map(str, totals))} | {len(entries)} |")
    parts = [f"# {title}", intro, "\n".join(rows)]
    for source in sources:
        parts.append(f"## {SOURCES[source]}")
        for entry in entries:
            if entry["source"] == source:
                parts.append(_row(entry, entry[field], render(entry)))
    return "\n\n".join(parts) + "\n"


def _row(entry: dict, word: str, cells: list[list[str]]) -> str:
    """An entry: cells of paragraphs, side by side where there is room (bdbook.css), with what filter.js asks for."""
    items = [item for field in ("chapter", "evidence", "shown_by") for item in entry.get(field, [])]
    seen = sorted({chapters.number(item) for item in items if POINTER.fullmatch(item)})
    data = f'data-word="{word}" data-source="{entry["source"]}" data-chapters="{" ".join(map(str, seen))}"'
    # A formula wider than its cell scrolls there.
    inner = "\n\n".join('<div class="bd-wide">\n\n' + "\n\n".join(cell) + "\n\n</div>" for cell in cells)
    return f'<div class="bd-entry-row" id="{entry["id"]}" {data}>\n\n{inner}\n\n</div>'


def _head(label: str, words: dict[str, str], word: str, entry: dict) -> str:
    waits = f", waits for {_text(entry['waits_for'])}" if "waits_for" in entry else ""
    return f"**{_text(label)}** · {words[word]} {word}{waits}"


def _evidence(items: list[str]) -> str:
    return " · ".join(_pointer(item) for item in items)


def _pointer(item: str) -> str:
    """A chapter as a link, a test or a function as code that a narrow page can break; a function leads to api.md."""
    if "::" in item or not item[0].isdigit():
        code = f'<code class="bd-name">{html.escape(item)}</code>'
        return code if "::" in item else f'<a href="api.html#{item}">{code}</a>'
    found = POINTER.fullmatch(item)
    fragment = found["fragment"]
    kinds = {"equation-": "equation", "prop-": "proposition", "fig-": "figure", "ex-": "exercise"}
    what = next((word for start, word in kinds.items() if fragment and fragment.startswith(start)), "section")
    address = f"../notebooks/{found['name']}.html" + (f"#{fragment}" if fragment else "")
    return f'<a href="{address}">chapter {chapters.number(item)}{f", {what}" if fragment else ""}</a>'


def _text(prose: str) -> str:
    """Prose with $formulas$ and `code` as MyST that says just that: no markup but these two, no raw HTML."""
    parts = UNESCAPED.split(" ".join(prose.split()))
    return "".join(part if k % 2 else html.escape(_escape(part), quote=False) for k, part in enumerate(parts))


def _escape(plain: str) -> str:
    return re.sub(r"([\\*_\[\]{}|~#])", r"\\\1", plain)


# --- the chapters' tables --------------------------------------------------------------------------------------

TABLE = "claims"  # the tag of the cell that is made
HEADING = "## What the sources say, and what was seen here"
ROLES = {"prop": "prf:ref", "thm": "prf:ref", "fig": "numref", "ex": "ref", "equation": "eq"}


def table(chapter: str, ledgers: dict[str, list[dict]]) -> str:
    """A chapter's section on what the sources say: the claims whose evidence it holds. Empty where there are none."""
    rows = []
    for entry in ledgers["claims"]:
        here = [item.partition("#")[2] for item in entry["evidence"] if item.partition("#")[0] == chapter]
        if here:
            word, finding = verdicts.word(entry), f", {entry['finding']}" if "finding" in entry else ""
            place = f"{entry['source']}, {entry['where']}" if entry["source"] != "bdbook" else "this book"
            links = "; ".join(filter(None, (_role(fragment) for fragment in here)))
            said = f"**{verdicts.SIGNS[word]} {word}**{finding}. {_cell(verdicts.note(entry))}"
            rows.append(f"| {_cell(entry['claim'])} ({_cell(place)}) | {said}{f' ({links})' if links else ''} |")
    if not rows:
        return ""
    return "\n".join([HEADING, "", "| claim | here |", "| --- | --- |", *rows])


def _role(fragment: str) -> str:
    """A reference to a labelled thing of the same chapter; none to a section, which the reader has just read."""
    kind, _, name = fragment.partition("-")
    if kind not in ROLES:
        return ""
    return f"{{{ROLES[kind]}}}`{name if kind == 'equation' else fragment}`"


def _cell(prose: str) -> str:
    """Prose as a cell of a Markdown table: formulas and code as they are, with no bar that would end the cell."""
    return _text(prose).replace(r"\|", "&#124;").replace("|", r"\vert ")


def write_tables(folder: Path = CHAPTERS, ledgers: dict[str, list[dict]] | None = None) -> list[Path]:
    """Write each chapter's table into its notebook, in the cell tagged for it; the notebooks that changed."""
    ledgers = read() if ledgers is None else ledgers
    changed = []
    for path in sorted(folder.glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        notebook = json.loads(text)
        cells = [cell for cell in notebook["cells"] if TABLE in cell["metadata"].get("tags", [])]
        made = table(path.stem, ledgers)
        if len(cells) != bool(made):
            what = f"{len(cells)} cells are tagged {TABLE!r} and {'some' if made else 'no'} claims have evidence there"
            _fail("claims.yml", path.stem, f"{what}; expected one such cell where there are claims, and none elsewhere")
        for cell in cells:
            cell["source"] = made.splitlines(keepends=True)
        if (new := json.dumps(notebook, indent=1, ensure_ascii=False) + "\n") != text:
            files.write_atomically(path, new)
            changed.append(path)
    return changed


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pages", folder]:
            write(Path(folder))
        case ["chapters"]:
            print(*write_tables(), sep="\n")
        case _:
            sys.exit(__doc__)
