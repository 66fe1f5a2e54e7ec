"""Calling somebody's function as its paper does, and reading what comes back.

A `Way` says in what the arguments come: numbers, numpy or torch, the channels first or last, one time or one for each
image. Which one a function takes is found by trying.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray
# How arguments come. numpy first: what is written for torch refuses it, while numpy takes a tensor for an array.
KINDS = ("numpy", "torch", "torch, float32")
LAYOUTS = ("(B, C, H, W)", "(B, H, W, C)", "(H, W)")
TIMES = ("number", "0-d", "(B,)", "(B, 1, 1, 1)")
NUMBER = "number"


class Raised(ValueError):
    """The function raised."""


class Unreadable(ValueError):
    """What the function returned is not what its paper's returns."""


@dataclass(frozen=True)
class Way:
    """kind: of KINDS; layout: of images, of LAYOUTS, or None where there are none; times: of TIMES."""

    kind: str
    layout: str | None
    times: str

    def __str__(self) -> str:
        images = f"images {self.layout} in {self.kind}, " if self.layout else ""
        if not self.times:
            return images.removesuffix(", ")
        if self.times == NUMBER:
            return f"{images}time a number"
        return f"{images}time {self.times} in {self.kind}"

    def tensor(self, x: Array) -> Any:
        """An array as this way has it; whole numbers stay whole."""
        if self.kind == "numpy":
            return np.array(x)
        made = torch.from_numpy(np.array(x))
        return made.float() if self.kind == "torch, float32" and made.is_floating_point() else made

    def time(self, t: Array) -> Any:
        """One time, or several (B,), as this way has them; steps are whole numbers."""
        if self.times == NUMBER:
            return t.item()
        shapes = {"0-d": (), "(B,)": (-1,), "(B, 1, 1, 1)": (-1, 1, 1, 1)}
        return self.tensor(t.reshape(shapes[self.times]))

    def image(self, x: Array) -> Any:
        """(B, C, H, W) as this way has it."""
        return self.tensor(np.ascontiguousarray(np.moveaxis(x, 1, -1)) if self.layout == LAYOUTS[1] else x)


def ways(images: bool, times: bool) -> Iterator[Way]:
    """All that are tried, the simplest first."""
    for form in TIMES if times else ("",):
        for layout in LAYOUTS if images else (None,):
            for kind in KINDS if images or form != NUMBER else KINDS[:1]:
                yield Way(kind, layout, form)


@contextlib.contextmanager
def told_at(t: Array | None) -> Iterator[None]:
    """What goes wrong within it is said to be at this time."""
    try:
        yield
    except (Raised, Unreadable) as error:
        raise type(error)(str(error) if t is None else f"at {t.flat[0]:g}, {error}") from error.__cause__


@dataclass(frozen=True)
class Caller:
    """A function, called one way. named: what it takes by name; size: (H, W) of images and coefficients."""

    function: Callable[..., Any]
    way: Way
    size: tuple[int, int]
    named: Mapping[str, Any]

    def with_times(self, times: str, kind: str) -> Caller:
        return replace(self, way=replace(self.way, times=times, kind=kind))

    def of_time(self, t: Array) -> Any:
        """f(t)."""
        return call(self.function, self.way.time(t), **self.named)

    def of_images(self, x: Array, t: Array | None, eps: Array | None = None) -> list[Array]:
        """f(x), or f(x, t): each array that it returns, (B, C, H, W). eps: what its network is to answer."""
        with told_at(t):
            return self._of_images(x, t, eps)

    def _of_images(self, x: Array, t: Array | None, eps: Array | None) -> list[Array]:
        if self.way.layout == LAYOUTS[2]:
            flat = x.reshape(-1, 1, 1, *x.shape[-2:])
            answers = eps.reshape(flat.shape) if eps is not None else [None] * len(flat)
            each = [self._once(image[0, 0], t, None if e is None else e[0, 0]) for image, e in zip(flat, answers)]
            return [np.stack(arrays).reshape(x.shape) for arrays in zip(*each)]
        arrays = self._once(x, t, eps)
        return [np.moveaxis(a, -1, 1) if self.way.layout == LAYOUTS[1] else a for a in arrays]

    def _once(self, x: Array, t: Array | None, eps: Array | None) -> list[Array]:
        given = self.way.image(x)
        times = () if t is None else (self._time(t, x),)
        answer = {} if eps is None else {name: make(self.way.image(eps)) for name, make in ANSWERS.items()}
        named = {name: answer.get(name, value) for name, value in self.named.items()}
        if "s" in named and t is not None:
            named["s"] = self._time(t - 1 / named["s"], x)
        with _neural_net(self.function, answer):
            result = call(self.function, given, *times, **named)
        parts = list(result) if isinstance(result, tuple | list) else [result]
        arrays = [as_array(part) for part in parts]
        for array in arrays:
            if array.shape != tuple(given.shape):
                raise Unreadable(f"it returned shape {array.shape} for an image of shape {tuple(given.shape)}")
        return arrays

    def _time(self, t: Array, x: Array) -> Any:
        """One time as it is, or for each image of x."""
        for_each = self.way.times not in (NUMBER, "0-d") and len(t) == 1 and x.ndim == 4
        return self.way.time(np.repeat(t, len(x)) if for_each else t)


def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """function(...), or `Raised`. What it prints goes to stderr."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return function(*arguments, **named)
    except (Exception, SystemExit) as error:
        raise Raised(f"it raised {in_a_line(error)}") from error


def in_a_line(error: BaseException) -> str:
    """The type of an error and the first line of what it says."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


# Names under which a function may take its network, or what the network answers.
ANSWERS: dict[str, Callable[[Any], Any]] = {
    "neural_net": lambda answer: lambda *given, **named: answer,
    "hat_eps": lambda answer: answer,
}


@contextlib.contextmanager
def _neural_net(function: Callable[..., Any], answer: Mapping[str, Any]) -> Iterator[None]:
    """The global `neural_net` of the function's module, as HS app. A.1 has it, replaced for the time of a call."""
    there = globals_of(function)
    if not answer or "neural_net" not in there:
        yield
        return
    before, there["neural_net"] = there["neural_net"], answer["neural_net"]
    try:
        yield
    finally:
        there["neural_net"] = before


def globals_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The names of the module in which a function was written."""
    found: dict[str, Any] = getattr(inspect.unwrap(function), "__globals__", {})
    return found


def named_arguments(function: Callable[..., Any], first: int, known: Mapping[str, Any]) -> dict[str, Any]:
    """What a function takes beyond its first arguments, by the names that are known; raises where it needs another."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of some that are written in C
        return {}
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    taken = {each.name for each in positional[:first]}
    further = [each for each in parameters if each.name not in taken]
    needed = [
        each
        for each in further
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    strange = [each.name for each in needed if each.name not in known or each.kind is each.POSITIONAL_ONLY]
    if strange:
        raise ValueError(
            f"it needs {', '.join(strange)} too, of which the check knows nothing; it gives "
            f"{', '.join(sorted(known)) or 'nothing'} by name. Give the others defaults"
        )
    return {each.name: known[each.name] for each in further if each.name in known}


def as_array(value: Any) -> Array:
    """What a function returned as finite float64."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.float() if value.dtype == torch.bfloat16 else value
        value = value.resolve_conj().numpy()
    if not isinstance(value, np.ndarray | np.generic | int | float | complex) or isinstance(value, bool):
        raise Unreadable(f"it returned {type(value).__name__}; expected an array, a tensor or a number")
    array = np.asarray(value)
    if np.iscomplexobj(array):
        raise Unreadable("it returned complex numbers; expected real ones (a Fourier transform is no DCT)")
    if array.dtype.kind not in "fiu":
        raise Unreadable(f"it returned an array of {array.dtype}; expected real numbers")
    array = array.astype(np.float64)
    wrong = array.size - np.isfinite(array).sum()
    if wrong:
        raise Unreadable(f"it returned NaN or infinity, in {wrong} of {array.size} numbers")
    return array


def per_frequency(value: Any, name: str, size: tuple[int, int], count: int) -> Array:
    """One number for each frequency, or one for all, at `count` times: (count, H, W). Axes of length 1 mean nothing."""
    array = as_array(value)
    long = [n for n in array.shape if n != 1]
    batch = [count] if count != 1 else []
    if long == batch or not long:
        return np.broadcast_to(array.reshape(-1, 1, 1), (count, *size))
    for leading in (batch, []):
        if long in (leading + [n for n in size if n != 1], [*leading, size[0] * size[1]]):
            return np.broadcast_to(array.reshape(-1, *size), (count, *size))
    height, width = size
    raise Unreadable(
        f"{name} had shape {array.shape}; expected a number, or one for each of {height}x{width} frequencies, such as "
        f"{size} or (1, 1, {height}, {width}). Is size right?"
    )
