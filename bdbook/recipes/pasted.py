"""Processes as text: a run's record holds the repr of one's own, and it is read back without evaluating any code.

    written(processes.blurring_diffusion(16))   "BlurringDiffusion(size=(16, 16), sigma_max=20.0, ...)"
    restored(text)                              the process

Names are looked up among the library's own; arguments are literals, such values themselves, or tuples of them. What
the text cannot hold, a class or a function of one's own, has to be given again.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from bdbook import cold, degradations, priors, processes, transforms
from bdbook.data import Pictures
from bdbook.processes import Degradation

KNOWN: dict[str, type] = {
    value.__name__: value
    for module in (transforms, processes, degradations, cold, priors)
    for value in vars(module).values()
    if isinstance(value, type) and value.__module__ == module.__name__
} | {"Pictures": Pictures}


def written(process: Degradation) -> str:
    """The process's repr, less addresses in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(process))


def restored(text: str, given: Degradation | None = None) -> str | Degradation:
    """The process of a record: a factory's name as it is, a repr as its value, or the one given, if it is the same."""
    if given is not None:
        if written(given) != text:
            raise ValueError(f"the run's process is {text}, but {written(given)} was given")
        return given
    if "(" not in text:
        return text
    try:
        return read(text)
    except ValueError as error:
        raise ValueError(
            f"the run has a process of its own, {text}; give it: load_run(folder, process=process) ({error})"
        ) from error


def read(text: str) -> Degradation:
    """The process that `written` wrote; ValueError, with the reason, for any other text."""
    try:
        value = _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, TypeError, AttributeError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(value, Degradation):
        raise ValueError(f"{text[:80]} is no process")
    return value


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id not in KNOWN or node.func.id == "Process":
            raise ValueError(f"{node.func.id} is not the library's")
        named = {keyword.arg: _value(keyword.value) for keyword in node.keywords if keyword.arg is not None}
        return KNOWN[node.func.id](*map(_value, node.args), **named)
    if isinstance(node, ast.Tuple):
        return tuple(map(_value, node.elts))
    return ast.literal_eval(node)
