"""What a measure takes, looked at in one place, and what it says where there is no number.

images     one set, before anything is measured: its type, range, shape and count
pair       two sets that are compared
or_words   a measure for a table: its number, or in a few words why there is none
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from bdbook.pixels import as_float

# Samplers overshoot a little: the background of digits lies at -1 and is as often below it as above.
OVERSHOOT = 0.1
# Floats of 0 to 255 that were only divided by 127.5 end at 2; images in [-1, 1] have something below 0.
LARGEST = 2.0


class Unmeasurable(ValueError):
    """Images of which a measure is no number. words: why, as short as a table has room for."""

    words = "no number"

    @classmethod
    def because(cls, message: str, words: str) -> Unmeasurable:
        error = cls(message)
        error.words = words  # not an argument: so it can be pickled, and travel between processes
        return error


class DoubtfulWarning(UserWarning):
    """A number that can be computed and may mislead."""


def images(x: Tensor, name: str = "images", least: int = 1, why: str = "") -> Tensor:
    """The images (N, C, H, W) as floating point in [-1, 1]; uint8 are taken as pixels, 0 to 255.

    name: of the argument, for messages. least: how many the measure needs, and why. Raises ValueError for what is no
    set of images, `Unmeasurable` for too few, for NaN or infinity, and for floats that look like 0 to 255. Values
    beyond [-1, 1] are what samplers make; where most are, a warning says so.
    """
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} was {type(x).__name__}; expected a tensor, e.g. torch.from_numpy(array)")
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise ValueError(_shape(x, name, least))
    if len(x) < least:
        said = _shape(x, name, least) + (f": {why}, but got {len(x)}" if why else "")
        raise Unmeasurable.because(said, f"too few: {len(x)} of {least}")
    if x.dtype == torch.uint8:
        return as_float(x)
    if not x.is_floating_point():
        raise ValueError(
            f"{name} had dtype {x.dtype}; expected floating point in [-1, 1], or uint8 for pixels of 0 to 255: "
            "convert by .to(torch.uint8) what holds pixels"
        )
    x = x.detach()
    require_finite(x, name)
    low, high = (bound.item() for bound in x.aminmax())
    if low >= 0 and high > LARGEST:
        raise Unmeasurable.because(
            f"{name} lay in [{low:.4g}, {high:.4g}], which looks like pixels of 0 to 255; expected [-1, 1]: "
            f"give {name} / 127.5 - 1, or uint8",
            "0 to 255?",
        )
    if low < -1 - OVERSHOOT or high > 1 + OVERSHOOT:
        share = (x.abs() > 1 + OVERSHOOT).count_nonzero().item() / x.numel()
        if share > 0.5:
            doubt(
                f"{name}: {share:.0%} of all pixels lie beyond [-1, 1], which is from black to white (they reach from "
                f"{low:.3g} to {high:.3g}); what is measured on 8-bit pixels is of images that were clamped"
            )
    return x


def pair(a: Tensor, b: Tensor, names: tuple[str, str], least: int = 1, why: str = "") -> tuple[Tensor, Tensor]:
    """Two sets as `images` has each, of the same (C, H, W)."""
    for x, name in zip((a, b), names):
        if isinstance(x, Tensor) and x.ndim != 4:
            raise ValueError(_shape(x, name, least))
    if isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape[1:] != b.shape[1:]:
        raise ValueError(
            f"{names[0]} were {tuple(a.shape[1:])} and {names[1]} {tuple(b.shape[1:])}; expected equal (C, H, W): "
            "bring both to one size and number of channels"
        )
    return images(a, names[0], least, why), images(b, names[1], least, why)


def _shape(x: Tensor, name: str, least: int) -> str:
    return f"{name} had shape {tuple(x.shape)}; expected (N, C, H, W) with N of {least} or more"


def require_finite(x: Tensor, name: str) -> None:
    """Raise `Unmeasurable` where one of a set has NaN or infinity."""
    broken = (~x.isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
    if broken:
        shown = f"{', '.join(map(str, broken[:8]))}{', ...' if len(broken) > 8 else ''}"
        raise Unmeasurable.because(
            f"{name} had NaN or infinity in {len(broken)} of {len(x)} images (number {shown}, from 0); expected finite "
            "values: leave these out, and say so",
            f"not finite: {len(broken)} of {len(x)}",
        )


def doubt(message: str) -> None:
    """Warn where the caller of bdbook.evaluation is."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("bdbook.evaluation"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, DoubtfulWarning, stacklevel=level)


@contextmanager
def doubts() -> Iterator[list[str]]:
    """A context that collects, each once, what `doubt` says, for whoever prints it beside the numbers."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DoubtfulWarning)
        try:
            yield said
        finally:
            told = [warning for warning in caught if isinstance(warning.message, DoubtfulWarning)]
            said.extend(dict.fromkeys(str(warning.message) for warning in told))
    for warning in caught:
        if warning not in told:
            warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)


def or_words(measure: Callable[..., Any], *sets: Any) -> Any:
    """What a measure gives, or in a few words why that is no number: a table holds neither NaN nor infinity."""
    try:
        found = measure(*sets)
    except Unmeasurable as error:
        return error.words
    return Unmeasurable.words if isinstance(found, float) and not math.isfinite(found) else found


def cell(value: float | str, form: str) -> str:
    """A number as a table has it, in few digits if it is huge; words as they are."""
    if isinstance(value, str):
        return value
    shown = format(value, form)
    return shown if len(shown) <= 12 else f"{value:.3g}"


def aligned(rows: dict[str, dict], columns: Sequence[tuple[str, str, int, str]]) -> list[str]:
    """Lines of a table, its head first. columns: key, title, least width, form of a number."""
    shown = [f"{name:10}" for name in ("", *rows)]
    for key, title, width, form in columns:
        cells = [title, *("" if key not in m else cell(m[key], form) for m in rows.values())]
        wide = max(width, *map(len, cells))
        shown = [f"{line} {text:>{wide}}" for line, text in zip(shown, cells)]
    return shown


def at_least_one(**counts: int | None) -> None:
    """Raise for a count below 1; None is left to a default."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} was {count}; expected at least 1")
