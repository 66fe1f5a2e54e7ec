"""The library's public names as one page: signatures and docstrings as they are in the code.

    python book/api.py FOLDER      write api.md into FOLDER

Made while staging (book/stage.py) and never committed. Sphinx's autodoc would take the docstrings for markup and the
annotations for references that lead nowhere: so docstrings.py sets the ones, and the others stay as they are written.
An anchor is the dotted name: api.html#bdbook.samplers.ancestral.
"""

import ast
import dataclasses
import importlib
import inspect
import os
import re
import sys
import textwrap
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from docstrings import escape, inline, link, prose

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parent / "bdbook"
# The core in reading order; a module that is not named comes after those that are.
CORE = ["transforms", "schedules", "times", "processes", "degradations", "cold", "denoiser", "guesses", "losses"]
CORE += [
    "clocks",
    "samplers",
    "timegrids",
    "oracle",
    "mixtures",
    "posteriors",
    "learning",
    "priors",
    "likelihood",
    "unet",
    "pixels",
    "shapes",
]
LAYERS = {
    "": ("The core", "The mathematics of the book, flat in `bdbook/`: it needs nothing of what follows."),
    "data": ("Data", "Images to learn from."),
    "recipes": ("Recipes", "Everything a training needs, as frozen data."),
    "adapters": ("Adapters", "To and from the library diffusers."),
    "training": ("Training", "From a recipe to a run folder."),
    "evaluation": ("Evaluation", "Comparing what is drawn or restored with data."),
    "conformance": ("Conformance", "Somebody's function, compared with a paper's."),
    "spectra": ("Your own data", "Their spectrum, and the process, rule and steps that fit it."),
    "page": ("The page", "What chapters and notebooks show."),
    "sweep": ("Sweeps", "Trainings, or chapters, at every point of a grid."),
}
# The command line, which says itself what it takes: python -m bdbook --help.
# The command, which says itself what it does, bdbook --help; and what serves the commands and `fit` alone.
LEFT_OUT = {
    "__main__",
    "calling",
    "kinds",
    "slips",
    "restored",
    "pictures",
    "stopping",
    "folders",
    "checks",
    "cores",
    "checkpoints",
    "records",
    "going_on",
    "listing",
}
INTRO = """# The library by name

Every public name of `bdbook`: what it takes, and what its docstring says. The symbols are those of
[](notation.md); HS, Lee and Bansal are the papers of the [ledger of equations](equations.md), which leads back here.
Images are (B, C, H, W) in [-1, 1], and times run from 0, the data, to 1. The command line explains itself:
`python -m bdbook --help`.

`import bdbook` lends the modules and the everyday names, `bdbook.sample` for `bdbook.samplers.sample`:
"""
LONGEST = 90  # letters of a constant's value, or of a default


class Entry(NamedTuple):
    """A class, a function, a method, a property or a constant."""

    name: str  # its anchor: the dotted name
    kind: str  # what stands before it: "class", "property" or nothing
    signature: str
    text: str  # its own docstring, or the comment above a constant
    terms: frozenset[str]  # names that the text may explain
    aliases: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    members: tuple["Entry", ...] = ()


class Module(NamedTuple):
    """A module: what it says of itself, its classes and functions in order, and its constants."""

    name: str
    text: str
    entries: tuple[Entry, ...]
    constants: tuple[Entry, ...]


def write(folder: Path) -> Path:
    """Write the page into `folder`, at once. The same library gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished, path = folder / "api.md.part", folder / "api.md"
    unfinished.write_text(page(), encoding="utf-8")
    os.replace(unfinished, path)
    return path


# --- what there is -------------------------------------------------------------------------------------------


def modules(package: str) -> list[Module]:
    """The modules of a layer in reading order: the package itself, then those its docstring lists, then the others."""
    folder, prefix = LIBRARY / package, f"bdbook.{package}".rstrip(".")
    names = set()
    for path in folder.rglob("*.py"):
        inside = path.relative_to(folder).with_suffix("").parts
        if (package or len(inside) == 1) and not any(part.startswith("_") for part in inside[:-1]):
            names.add(".".join(part for part in inside if part != "__init__"))
    names -= LEFT_OUT | ({""} if not package else set())
    listed = CORE if not package else re.findall(r"\b(\w+)(?:\.py|/)", importlib.import_module(prefix).__doc__ or "")
    place = {name: number for number, name in enumerate(["", *listed])}
    ordered = sorted(names, key=lambda name: (place.get(name.split(".")[0], len(place)), name))
    return [read(f"{prefix}.{name}".rstrip(".")) for name in ordered]


def read(name: str) -> Module:
    """A module by its dotted name."""
    module = importlib.import_module(name)
    source = Path(module.__file__).read_text(encoding="utf-8")
    entries, constants, aliases = [], [], {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            entries.append(described(getattr(module, node.name), f"{name}.{node.name}"))
        for target, value in assigned(node):
            thing = getattr(module, target)
            if getattr(thing, "__module__", None) == name and hasattr(thing, "__qualname__"):
                aliases.setdefault(f"{name}.{thing.__qualname__}", []).append(target)
            else:
                constants.append(constant(f"{name}.{target}", value, node, source.splitlines()))
    entries = [entry._replace(aliases=tuple(aliases.get(entry.name, ()))) for entry in entries]
    return Module(name, inspect.getdoc(module) or "", tuple(entries), tuple(constants))


def assigned(node: ast.stmt) -> list[tuple[str, ast.expr]]:
    """(public name, value) of an assignment; none of a type variable, which says nothing by itself."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return []
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    pairs = [(target, node.value)]
    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
        pairs = list(zip(target.elts, node.value.elts))
    named = [(name.id, value) for name, value in pairs if isinstance(name, ast.Name) and not name.id.startswith("_")]
    return [(name, value) for name, value in named if not ast.unparse(value).startswith("TypeVar(")]


def constant(name: str, value: ast.expr, node: ast.stmt, lines: list[str]) -> Entry:
    """A constant with its value, the beginning of a long one, and the comment above it or beside it."""
    above = node.lineno - 1
    while above and lines[above - 1].startswith("# ") and not lines[above - 1].startswith("# ---"):
        above -= 1
    comments = [line.removeprefix("# ") for line in lines[above : node.lineno - 1]]
    comments += re.findall(r"  # (?!type:|noqa)(.+)", lines[node.end_lineno - 1])
    shown = textwrap.shorten(ast.unparse(value), LONGEST, placeholder=" ...")
    return Entry(name, "", f" = {escape(shown)}", "\n".join(comments), frozenset())


def described(thing: object, name: str, kind: str = "") -> Entry:
    """A function, a property or a class with all that it defines itself."""
    if not inspect.isclass(thing):
        text, parameters = inspect.cleandoc(thing.__doc__ or ""), inspect.signature(thing).parameters
        return Entry(name, kind, signature(thing), text, frozenset(parameters))
    members = []
    for key, value in vars(thing).items():
        if (key.startswith("_") and not (key == "__call__" and value.__doc__)) or inspect.isclass(value):
            continue
        member = f"{name}.{key}"
        if isinstance(value, property | cached_property):
            getter = value.fget if isinstance(value, property) else value.func
            given = inspect.signature(getter).return_annotation
            shown = "" if given is inspect.Signature.empty else f": {annotation(given)}"
            members.append(Entry(member, "property", shown, inspect.cleandoc(value.__doc__ or ""), frozenset()))
        elif isinstance(value, classmethod | staticmethod):
            members.append(described(getattr(thing, key), member, type(value).__name__))
        elif inspect.isfunction(value):
            members.append(described(value, member))
    parameters = inspect.signature(thing).parameters if constructible(thing) else {}
    bases = tuple(f"{base.__module__}.{base.__qualname__}" for base in thing.__bases__)
    terms = frozenset(parameters) | frozenset(vars(thing)) | frozenset(vars(thing).get("__annotations__", ()))
    text = inspect.cleandoc(vars(thing)["__doc__"] or "")
    text = "" if text.startswith(f"{thing.__name__}(") else text  # what dataclass writes where nobody did
    return Entry(name, "class", signature(thing) if parameters else "", text, terms, (), bases, tuple(members))


def constructible(cls: type) -> bool:
    """Whether the signature of a class says something: not of an interface, nor where it is its base's."""
    if getattr(cls, "_is_protocol", False):
        return False
    return dataclasses.is_dataclass(cls) or not {"__init__", "__new__"}.isdisjoint(vars(cls))


def signature(thing: object) -> str:
    """(arguments) → result, as HTML."""
    found = inspect.signature(thing)
    shown, after_star = [], False
    for each in found.parameters.values():
        if each.name == "self":
            continue
        if each.kind is each.KEYWORD_ONLY and not after_star:
            shown.append("*")
        after_star |= each.kind in (each.KEYWORD_ONLY, each.VAR_POSITIONAL)
        stars = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        text = f'<span class="bd-argument">{stars}{each.name}</span>'
        typed = each.annotation is not each.empty
        text += f": {annotation(each.annotation)}" if typed else ""
        if each.default is not each.empty:
            text += (" = " if typed else "=") + default(each.default)
        shown.append(text)
    result = found.return_annotation
    gives = "" if inspect.isclass(thing) or result is found.empty else f" → {annotation(result)}"
    return f"({', '.join(shown)}){gives}"


def annotation(given: object) -> str:
    """A type as it was written, as HTML."""
    return escape(given if isinstance(given, str) else inspect.formatannotation(given))


def default(value: object) -> str:
    """A default as it could be written, as HTML; "..." for what is long, has no such form, or is another elsewhere."""
    if inspect.isclass(value) or inspect.isfunction(value):
        return value.__name__
    text = repr(value)
    return "..." if "<" in text or len(text) > LONGEST or isinstance(value, Path) else escape(text)


# --- the page ------------------------------------------------------------------------------------------------


def page() -> str:
    """The page as MyST: headings for layers and modules, HTML for what is in them."""
    layers = {package: modules(package) for package in LAYERS}
    known = anchors(module for listed in layers.values() for module in listed)
    lent = ", ".join(link(anchor, name, known) for name, anchor in everyday())
    parts = [INTRO, f'```{{raw}} html\n<p class="bd-everyday">{lent}</p>\n```']
    for package, listed in layers.items():
        title, what = LAYERS[package]
        parts.append(f"## {title}\n\n{what}")
        for module in listed:
            head = f"### {module.name.removeprefix('bdbook.')}"
            parts.append(f"{head}\n\n```{{raw}} html\n{show_module(module, known)}\n```")
    return "\n\n".join(parts) + "\n"


def everyday() -> list[tuple[str, str]]:
    """(name, anchor) of what the library lends under short names, modules aside."""
    found = []
    for node in ast.parse((LIBRARY / "__init__.pyi").read_text(encoding="utf-8")).body:
        for each in node.names if isinstance(node, ast.ImportFrom) and node.module else []:
            thing = getattr(importlib.import_module(f"bdbook.{node.module}"), each.name, None)
            if hasattr(thing, "__qualname__"):
                found.append((each.name, f"{thing.__module__}.{thing.__qualname__}"))
            elif not inspect.ismodule(thing):
                found.append((each.name, f"bdbook.{node.module}.{each.name}"))
    return found


def anchors(listed) -> frozenset[str]:
    """Every anchor of the page."""
    found = set()
    for module in listed:
        found.add(module.name)
        for entry in (*module.entries, *module.constants):
            found |= {entry.name, *(f"{module.name}.{alias}" for alias in entry.aliases)}
            found |= {member.name for member in entry.members}
    return frozenset(found)


def show_module(module: Module, known: frozenset[str]) -> str:
    """A module's text, its entries, and its constants as a list."""
    file = Path(sys.modules[module.name].__file__).relative_to(LIBRARY.parent).as_posix()
    parts = [f'<span id="{module.name}"></span><p class="bd-file"><code>{file}</code></p>']
    parts += [prose(module.text, module.name, known)]
    parts += [show(entry, known) for entry in module.entries]
    if module.constants:
        items = "".join(f"<li>{head(each)}{said(each, known)}</li>" for each in module.constants)
        parts.append(f'<p class="bd-also">Constants</p><ul class="bd-constants">{items}</ul>')
    return "\n".join(parts)


def said(entry: Entry, known: frozenset[str]) -> str:
    """What the comment says, below a constant."""
    return f"<br>{inline(' '.join(entry.text.split()), entry.name, known)}" if entry.text else ""


def show(entry: Entry, known: frozenset[str]) -> str:
    """An entry: its signature, its text, its documented members, and the others in a line."""
    module = entry.name.rpartition(".")[0]
    body = prose(entry.text, entry.name, known, entry.terms)
    notes = [f"a {link(base, base.rpartition('.')[2], known)}" for base in entry.bases if base in known]
    notes += [f'<span id="{module}.{alias}"></span>also called <code>{alias}</code>' for alias in entry.aliases]
    if notes:
        body = f'<p class="bd-also">{"; ".join(notes)}</p>{body}'
    documented = [each for each in entry.members if each.text]
    body += "".join(show(each, known) for each in documented)
    silent = [head(each) for each in entry.members if not each.text]
    if silent:
        body += f'<p class="bd-also">{"With" if documented or not entry.text else "Has"} {", ".join(silent)}</p>'
    return f'<div class="bd-entry">{head(entry, full=True)}<div class="bd-said">{body}</div></div>'


def head(entry: Entry, full: bool = False) -> str:
    """An entry's name and signature with its anchor; `full` on lines of its own."""
    name = entry.name.rpartition(".")[2]
    kind = f'<span class="bd-kind">{entry.kind}</span> ' if full and entry.kind else ""
    code = f"<code>{kind}<b>{name}</b>{entry.signature}</code>"
    if not full:
        return f'<span id="{entry.name}" class="bd-signature">{code}</span>'
    mark = f'<a class="headerlink" href="#{entry.name}" title="Link to {name}">#</a>'
    return f'<p id="{entry.name}" class="bd-signature">{code}{mark}</p>'


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]))
