"""Interactive figures: one ES module, two mounts.

Under a kernel a figure is an anywidget: the module bundled from ``js/`` is its ``_esm`` and its traits are
shared with Python. In a built page there is no kernel, so the same module travels in ``text/html`` and runs on a
plain object in place of the model; no network is needed, and ``file://`` will do.

The program is some 60 kB, so a page holds each once. The first figure of its kind carries it; later ones hold
only their state and find it by a digest of its text. Re-running a cell replaces its output, so the cell that
carried the program carries it again whenever it runs. Front ends name their cells in each request; where none
does (a whole notebook executed from the top) every cell runs once and the rule is simply "the first". Only
deleting that cell and then saving leaves the other figures without a program, and they say so. Call
:func:`new_page` where one session writes several pages.
"""

import difflib
import hashlib
import html
import inspect
import json
import re
from pathlib import Path

import anywidget
import traitlets
from IPython import get_ipython

from bdbook.errors import unknown

JS = Path(__file__).parents[1] / "js"
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w-]+\.js)";\n', re.MULTILINE)

_carriers: dict[str, tuple[str | None, str | None]] = {}  # digest -> (cell, run) that carries the program


def bundle(name: str) -> str:
    """One module's text: the file ``js/<name>`` after everything it imports, each file once.

    Imports must be relative and without renaming, as ``import { a, b } from "./core.js";``; the files then share
    one scope, so their top-level names must differ. All named exports stay exported.
    """
    texts: dict[str, str] = {}

    def visit(file: str) -> None:
        text = (JS / file).read_text(encoding="utf-8")
        for imported in _IMPORT.findall(text):
            if imported not in texts:
                visit(imported)
        texts[file] = _IMPORT.sub("", text)

    visit(name)
    return "\n".join(texts.values())


def new_page() -> None:
    """Forget what was shown: the next figure carries its program again."""
    _carriers.clear()


def _current_run() -> tuple[str | None, str | None]:
    """Names of the executing cell and of this run of it; None for what is not known."""
    try:
        parent = get_ipython().get_parent()
    except AttributeError:  # no IPython, or one without a kernel
        return None, None
    return parent.get("metadata", {}).get("cellId"), parent.get("header", {}).get("msg_id")


def _is_carrier(digest: str) -> bool:
    """Whether the output being made must carry the program; remembers that it does."""
    cell, run = _current_run()
    if digest in _carriers:
        carrier, carrier_run = _carriers[digest]
        if cell is None or cell != carrier or run == carrier_run:
            return False
    _carriers[digest] = cell, run
    return True


class Slider(anywidget.AnyWidget):
    """Base of the figures. A subclass sets ``_esm = bundle("<file>.js")`` and declares its state as synced traits.

    What a figure is made with is declared once, as a trait with its default: all that may be set later, and what is
    tagged ``once``. The signature shows them, after what ``__init__`` asks for by name. TypeError for anything else.

    ``link`` names a group: figures of a page with the same group name share what their module puts in common.
    """

    _css = (JS / "bdbook.css").read_text(encoding="utf-8")
    _heights = (720, 1150)  # room kept for the figure until it is drawn, px: wide, narrow
    link = traitlets.Unicode("").tag(sync=True)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        _, *named, _ = inspect.signature(cls.__init__).parameters.values()  # self, ..., **settings
        for name, trait in _settings(cls).items():
            named.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=trait.default()))
        cls.__signature__ = inspect.Signature(named)

    def __init__(self, **settings):
        known = self.__signature__.parameters
        for name in settings:
            if name not in known and not (name.startswith("_") and self.has_trait(name)):
                raise TypeError(str(unknown(f"setting of {type(self).__name__}", name, known)))
        for name in [name for name in settings if self.traits()[name].read_only]:
            self.set_trait(name, settings.pop(name))  # before those that it limits
        super().__init__(**settings)

    def state(self) -> dict:
        """The synced traits that are the figure's own, for a page without a kernel."""
        inherited = {*anywidget.AnyWidget.class_trait_names(), "_esm", "_css", "_anywidget_id"}
        return {name: getattr(self, name) for name in self.trait_names(sync=True) if name not in inherited}

    def static_html(self) -> str:
        """Self-contained HTML; includes the program if no earlier figure of the page does."""
        digest = hashlib.sha256((self._esm + self._css).encode()).hexdigest()[:12]
        state = html.escape(json.dumps(self.state()))
        name = type(self).__name__.removesuffix("Slider").lower()  # in the page's address
        figure = (
            f'<div class="bdbook-figure" data-source="bdbook-{digest}" data-figure="{name}" data-state="{state}" '
            f'style="--wide: {self._heights[0]}px; --narrow: {self._heights[1]}px">'
            "An interactive figure. It needs JavaScript, and the program that came with the first figure of this "
            "notebook: if that was deleted, run all cells again.</div>"
        )
        if not _is_carrier(digest):
            return figure
        return (
            f"<style>{self._css}</style>{figure}"
            f'<script type="text/plain" id="bdbook-{digest}">\n{self._esm}</script>'
            f'<script type="module">\n{(JS / "mount.js").read_text(encoding="utf-8")}</script>'
        )

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict] | None:
        bundled = super()._repr_mimebundle_(**kwargs)
        if bundled is None:
            return None
        data, metadata = bundled
        return data | {"text/html": self.static_html()}, metadata


def _settings(figure: type[Slider]) -> dict[str, traitlets.TraitType]:
    """The traits that a figure may be given at construction, its own before those of its bases."""
    traits: dict[str, object] = {}
    for base in figure.__mro__:
        if not issubclass(anywidget.AnyWidget, base):  # that has traits of its own, which are no business of figures
            for name, trait in vars(base).items():
                traits.setdefault(name, trait)
    return {
        name: trait
        for name, trait in traits.items()
        if isinstance(trait, traitlets.TraitType)
        and name[0] != "_"
        and trait.metadata.get("sync")
        and (trait.metadata.get("once") or not trait.read_only)
    }


def number(name: str, default: float, low: float, high: float, expected: str, open_at: str = "") -> tuple:
    """A synced Float and its validator, for ``name, _check_name = number("name", ...)`` in a class body.

    open_at: "low", "high" or both words, for ends that do not belong to the range.
    """

    def check(self, proposal):
        value = proposal.value
        above = value > low if "low" in open_at else value >= low
        below = value < high if "high" in open_at else value <= high
        if above and below:  # a NaN is neither
            return value
        raise traitlets.TraitError(f"{name} is {value}; expected {expected}")

    return traitlets.Float(default).tag(sync=True), traitlets.validate(name)(check)


def whole(name: str, default: int, low: int, high: int, expected: str) -> tuple:
    """A synced Int between two ends, and its validator."""

    def check(self, proposal):
        if low <= proposal.value <= high:
            return proposal.value
        raise traitlets.TraitError(f"{name} is {proposal.value}; expected {expected}")

    return traitlets.Int(default).tag(sync=True), traitlets.validate(name)(check)


def choice(name: str, default: str, options: tuple[str, ...]) -> tuple:
    """A synced Unicode out of a few words, and its validator."""

    def check(self, proposal):
        if proposal.value in options:
            return proposal.value
        nearest = difflib.get_close_matches(proposal.value, options, n=1, cutoff=0)[0]
        words = [f'"{option}"' for option in options]
        expected = ", ".join(words[:-1]) + " or " + words[-1]
        raise traitlets.TraitError(f'{name} is "{proposal.value}"; expected {expected}. Did you mean "{nearest}"?')

    return traitlets.Unicode(default).tag(sync=True), traitlets.validate(name)(check)
