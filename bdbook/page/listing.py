"""Show the library's own source in a chapter, so that the page cannot drift from the code."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Listing:
    """Source text that a notebook renders as highlighted Python."""

    source: str

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.source}\n```"

    def __repr__(self) -> str:
        return self.source


def listing(*objects: Callable | type) -> Listing:
    """The source of functions and classes, one after another."""
    return Listing("\n\n".join(textwrap.dedent(inspect.getsource(thing)).rstrip() for thing in objects))
