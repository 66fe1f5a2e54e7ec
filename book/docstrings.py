"""Docstrings of the library as HTML: plain text with formulas in it, u_t and |x| and V' x, and little structure.

Paragraphs; indented blocks, which stay as they are; columns of names and what they mean; `code`, which becomes a link
where it names something that is known.
"""

import html
import re
import textwrap

CODE = re.compile(r"(?::\w+:)?(`+)([^`]+)\1|(\"[\w.+-]+\")")
TERM = re.compile(r"(?:^|(?<=[.;] ))(\w+(?:, \w+)*)(?=: )")
NUMPYDOC = re.compile(r"(\S.*?) : (.*)")
COLUMNS = re.compile(r"(\S.*?) {2,}(\S.*)")


def escape(text: str) -> str:
    """Plain text as HTML."""
    return html.escape(text, quote=False)


def prose(text: str, name: str, known: frozenset[str], terms: frozenset[str] = frozenset()) -> str:
    """The docstring of `name` as HTML. known: all anchors; terms: the arguments that the text may explain."""
    parts = []
    for block in re.split(r"\n\s*\n", text) if text else []:
        lines = block.split("\n")
        if len(lines) > 1 and re.fullmatch(r"-{3,}", lines[1]):
            parts.append(f'<p class="bd-also">{escape(lines[0])}</p>')
            lines = lines[2:]
        indented = [line.startswith("  ") for line in lines]
        pattern = next((p for p in (NUMPYDOC, COLUMNS) if not indented[0] and columns(lines, p)), None)
        if all(indented):
            parts.append(f"<pre>{escape(textwrap.dedent(block))}</pre>")
        elif pattern:
            parts.append(f"<dl>{table(lines, pattern, name, known)}</dl>")
        else:
            parts.append(f"<p>{inline(' '.join(block.split()), name, known, terms)}</p>")
    return "\n".join(parts)


def columns(lines: list[str], pattern: re.Pattern) -> bool:
    """Whether lines are names and what they mean, which goes on in indented lines; a word may stand alone."""
    kept = [line for line in lines if not line.startswith("  ") and " " in line]
    return bool(kept) and all(map(pattern.fullmatch, kept))


def table(lines: list[str], pattern: re.Pattern, name: str, known: frozenset[str]) -> str:
    """Rows of a list of definitions."""
    rows = []
    for line in lines:
        if not line.startswith("  "):
            found = pattern.fullmatch(line)
            rows.append([found[1], found[2]] if found else [line, ""])
        elif NUMPYDOC.fullmatch(line.strip()):  # a name within the meaning, on a line of its own
            rows[-1].append(line.strip())
        else:
            rows[-1][-1] += f" {line.strip()}"
    return "".join(
        f"<dt><code>{escape(term)}</code></dt><dd>{'<br>'.join(inline(part, name, known) for part in meaning)}</dd>"
        for term, *meaning in rows
    )


def inline(text: str, name: str, known: frozenset[str], terms: frozenset[str] = frozenset()) -> str:
    """A paragraph as HTML: `code`, "words" that an argument can be, and the names of arguments that it explains."""
    parts, at = [], 0
    for found in CODE.finditer(text):
        parts.append(explained(text[at : found.start()], terms, at == 0))
        shown = found[2] or found[3]
        parts.append(link(None if shown in terms else resolved(shown, name, known), shown, known))
        at = found.end()
    return "".join([*parts, explained(text[at:], terms, at == 0)])


def explained(text: str, terms: frozenset[str], first: bool) -> str:
    """Plain text as HTML, with `name:` marked where the name is an argument's."""

    def marked(found: re.Match) -> str:
        names = found[1].split(", ")
        return f"<code>{found[1]}</code>" if (first or found.start()) and terms.issuperset(names) else found[1]

    return TERM.sub(marked, escape(text))


def resolved(shown: str, name: str, known: frozenset[str]) -> str | None:
    """The anchor that a piece of code names, seen from the entry `name`; None if it names none, or might two."""
    called = re.sub(r"\(.*\)$", "", shown).removeprefix(".")
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        if (near := ".".join([*parts[:cut], called])) in known:
            return near
    if "." not in called and not called[:1].isupper():  # a word that means something else elsewhere
        return None
    far = [anchor for anchor in known if anchor.endswith(f".{called}")]
    return far[0] if len(far) == 1 else None


def link(anchor: str | None, shown: str, known: frozenset[str]) -> str:
    """Code, which leads to its anchor if it has one."""
    code = f"<code>{escape(shown)}</code>"
    return f'<a href="#{anchor}">{code}</a>' if anchor in known else code
