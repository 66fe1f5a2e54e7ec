"""Does somebody's function do what its paper says? Compared with the exact process, and with the slips that are known.

    report = conformance.check(get_alpha_sigma, sigma_max=20.0)
    print(report)

The function is called as its paper calls it, at several times; what it returns is compared, frequency by frequency,
with `processes` and `samplers` in float64. Where they differ, it is compared with what each known slip would give
(`slips`), alone and in pairs, and a slip is named only if it explains every number to rounding.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from bdbook.conformance.calling import (
    Caller,
    Raised,
    Unreadable,
    Way,
    globals_of,
    named_arguments,
    ways,
)
from bdbook.conformance.kinds import KINDS, Denoise, Kind, Quantities, Seen
from bdbook.conformance.slips import Slip
from bdbook.errors import unknown

Array = np.ndarray

# A slip that differs from the paper by less than so many roundings is not told from it.
APART = 2.0
# Times of a call with several at once, and what is said where they come out otherwise.
SEVERAL, AT_ONCE = 3, "of several times in one call"


@dataclass(frozen=True)
class Deviation:
    """The largest: what the paper has, `expected`, and what was `given`, at time t (or step i, k) and frequency (n, m).

    roundings: their difference in units of what rounding may do; where noise is averaged, of what chance may. clock,
    place: what `time` and `frequency` are called.
    """

    quantity: str
    time: float | None
    frequency: tuple[int, int] | None
    expected: float
    given: float
    roundings: float
    clock: str = "t"
    place: str = "frequency"

    def __str__(self) -> str:
        when = "" if self.time is None else f" at {self.clock} = {self.time:g}"
        where = "" if self.frequency is None else f", {self.place} {self.frequency}"
        return f"{self.quantity}{when}{where}: expected {self.expected:.6g}, given {self.given:.6g}"


@dataclass(frozen=True)
class Report:
    """What `check` found; print it.

    conforms: whether every number is the paper's, to rounding. slips: what explains all of them otherwise, alternatives
    that cannot be told apart, each one slip or two. where: file and line of the function. called: in which way.
    deviation: the largest from the paper. hidden: slips that make no difference at these settings. notes: what else.
    """

    function: str
    kind: str
    source: str
    where: str
    called: str
    settings: dict[str, Any]
    conforms: bool
    deviation: Deviation
    slips: tuple[tuple[Slip, ...], ...] = ()
    hidden: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        chosen = ", ".join(f"{name} {_words(value)}" for name, value in self.settings.items())
        lines = [
            f"{self.function}: {'conforms' if self.conforms else 'deviates'}",
            f"  as        {self.kind}, {self.source}",
            *([f"  at        {chosen}"] if chosen else []),
            f"  called    {self.called}",
            f"  largest   {self._small() if self.conforms else self.deviation}",
        ]
        for number, several in enumerate(self.slips):
            if number:
                lines.append("  or, which comes to the same here:")
            for each in several:
                lines += [f"  slip      your code {each.says}", f"  change    {each.instead}"]
        if not self.conforms:
            if not self.slips and AT_ONCE not in self.deviation.quantity:
                lines.append("  slip      none that is known explains these numbers, nor do two together")
            lines.append(f"  in        {self.where}, or what it calls")
        if self.hidden:
            lines.append(f"  not seen  at these settings these slips make no difference: {', '.join(self.hidden)}")
        return "\n".join(lines + [f"  note      {note}" for note in self.notes])

    __repr__ = __str__

    def _small(self) -> str:
        return (
            f"deviation, of {self.deviation.quantity}: {self.deviation.roundings:.2g} of what rounding or chance allow"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        told["deviation"] = {each.name: getattr(self.deviation, each.name) for each in fields(self.deviation)}
        told["slips"] = [
            [{"name": s.name, "says": s.says, "instead": s.instead, "misprint": s.misprint} for s in several]
            for several in self.slips
        ]
        return told


def _words(value: Any) -> str:
    return (
        "x".join(map(str, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


# --- the check -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    """What one way of calling showed, and how far it is from the paper."""

    way: Way
    seen: Seen
    rights: list[tuple[Quantities, Any]]
    tolerance: dict[str, float]
    deviation: Deviation


def check(function: Callable[..., Any], kind: str | None = None, **settings: Any) -> Report:
    """Whether a function does what a paper's does; see `Report`.

    kind: of `KINDS`, where the function's name is not the paper's. settings: what the paper leaves free, by default its
    own. size: side of the images in px, or (H, W); sigma_max: sigma_B,max, px; d_min, blur ("sin2" or "sin"): HS;
    sigma_min: IHDM, px; f_max, f_type, kernel_sigma, boundary: Lee; steps: Lee's N, IHDM's K, the T of HS's denoise.
    It runs the function. Raises ValueError where it raises, or returns no such thing.
    """
    name = getattr(function, "__qualname__", type(function).__name__)
    if not callable(function):
        raise ValueError(f"the function was {type(function).__name__}; expected one to call")
    label, chosen = _kind(function, kind)
    free = _settings(label, chosen, settings, function)
    process = chosen.process(free)
    known = chosen.names_of(free)
    try:
        named = named_arguments(function, chosen.arguments, known | _answers(chosen, function, free))
    except ValueError as error:
        raise ValueError(f"{name} is called as {name}{chosen.takes}, but {error}") from None
    found = _call(Caller(function, Way("numpy", None, ""), process.size, named), name, chosen, process, free)
    best = found[-1]
    conforms = best.deviation.roundings <= 1
    explained: tuple[tuple[Slip, ...], ...] = ()
    if not conforms:
        best, explained = _explain(chosen, found)
    notes, off = _at_once(Caller(function, best.way, process.size, named), chosen, process, best)
    shown = {**free, **({"size": process.size} if "size" in free else {})}
    return Report(
        function=name,
        kind=label,
        source=chosen.source,
        where=_where(function),
        called=f"{name}{chosen.takes}{', ' if str(best.way) else ''}{best.way}",
        settings=shown,
        conforms=conforms and off is None,
        deviation=replace(
            off if conforms and off is not None else best.deviation, clock=chosen.clock, place=chosen.place
        ),
        slips=explained,
        hidden=tuple(each.name for each in chosen.known if _hidden(each, chosen, best)),
        notes=notes,
    )


def _kind(function: Callable[..., Any], kind: str | None) -> tuple[str, Kind]:
    if kind is not None:
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS)
        return kind, KINDS[kind]
    name = getattr(function, "__name__", "")
    for label, each in KINDS.items():
        if name in each.names:
            return label, each
    kinds = "; ".join(f"{label} {each.takes}, {each.source}" for label, each in KINDS.items())
    raise ValueError(f"{name or 'the function'} has no name of a paper's listing; say as what it is checked: {kinds}")


def _settings(label: str, kind: Kind, given: Mapping[str, Any], function: Callable[..., Any]) -> dict[str, Any]:
    """The paper's, changed by what was given."""
    asked = {name: value for name, value in given.items() if value is not None}
    everywhere = {name for each in KINDS.values() for name in each.free}
    for name in asked:
        if name not in everywhere:
            raise unknown("setting", name, everywhere)
        if name not in kind.free:
            raise ValueError(f"{label} has no {name}: {', '.join(kind.free) or 'nothing'} may be set; leave it out")
    total = globals_of(function).get("T")
    if isinstance(kind, Denoise) and isinstance(total, int | float) and total > 1:
        if asked.get("steps", total) != total:
            raise ValueError(f"steps was {asked['steps']}, but T is {total:g} where the function is; leave it out")
        asked["steps"] = total
    if "steps" in asked and not asked["steps"] >= 1 + isinstance(kind, Denoise):
        raise ValueError(f"steps was {asked['steps']}; expected at least {1 + isinstance(kind, Denoise)}")
    return {**kind.free, **asked}


def _answers(kind: Kind, function: Callable[..., Any], free: Mapping[str, Any]) -> dict[str, Any]:
    """What `denoise` may take by name: its network or the network's answer, and s."""
    if not isinstance(kind, Denoise):
        return {}
    known = {"neural_net": None, "hat_eps": None, "s": free["steps"]}
    try:
        taken = set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        taken = set()
    if not {"neural_net", "hat_eps"} & taken and "neural_net" not in globals_of(function):
        raise ValueError(
            "denoise asks a network, and the check has to be that network: let it take neural_net, a function of "
            "(z_t, t), or hat_eps, or call a neural_net that is global where denoise is, as in HS app. A.1"
        )
    return known


def _call(caller: Caller, name: str, kind: Kind, process: Any, free: Mapping[str, Any]) -> list[_Found]:
    """Every way in which it can be called, up to the first that conforms, the last; raises where there is none."""
    times, found, refused = kind.times(free), [], []
    for way in ways(kind.images, kind.timed):
        try:
            seen = kind.see(replace(caller, way=way), process, times)
        except (Raised, Unreadable) as error:
            refused.append((isinstance(error, Raised), str(error), way))
            continue
        rights = kind.right(process, free, seen)
        largest = {each: float(np.abs(array).max()) or 1.0 for each, array in rights[0][0].items()}
        tolerance = {each: kind.rounding * value for each, value in largest.items()} | seen.tolerance
        deviation = min((_off(seen, right, tolerance) for right, _ in rights), key=lambda d: d.roundings)
        found.append(_Found(way, seen, rights, tolerance, deviation))
        if deviation.roundings <= 1:
            break
    if found:
        return found
    refused.sort(key=lambda each: each[0])  # what was returned says more than what was raised
    told: dict[str, Way] = {}
    for _, message, way in refused:
        told.setdefault(message, way)
    reasons = "; ".join(f"with {way}, {message}" for message, way in itertools.islice(told.items(), 3))
    raise ValueError(f"{name} is called as {name}{kind.takes} and gives {kind.gives}, but {reasons}{kind.first}")


def _off(seen: Seen, expected: Quantities, tolerance: Mapping[str, float], rounding: float = 0.0) -> Deviation:
    """The largest deviation of what was given. rounding: a share of each number that is allowed too."""
    worst = Deviation(next(iter(expected)), None, None, 0.0, 0.0, -1.0)
    for name, right in expected.items():
        given = seen.given[name]
        # A slip may be larger than the paper by orders, and is then computed to as many digits, not as many places.
        digits = 0.0 if name in seen.tolerance else rounding * np.abs(right)
        miss = np.abs(given - right) / np.maximum(tolerance[name], digits)
        miss = np.where(np.isnan(miss), np.inf, miss)
        at = np.unravel_index(miss.argmax(), miss.shape)
        if miss[at] > worst.roundings:
            averaged = name in seen.tolerance
            values = (math.exp(right[at]), math.exp(given[at])) if averaged else (float(right[at]), float(given[at]))
            time = float(seen.times[at[0]]) if len(seen.times) > 1 else None
            worst = Deviation(name, time, None if averaged else (int(at[-2]), int(at[-1])), *values, float(miss[at]))
    return worst


def _alternatives(kind: Kind, count: int) -> Iterator[tuple[tuple[Slip, ...], list[dict[str, Any]]]]:
    """Slips, `count` at a time, of different lines, with the forms that they take together."""
    for several in itertools.combinations(kind.known, count):
        forms = []
        for each in itertools.product(*(one.forms for one in several)):
            merged = {name: line for form in each for name, line in form.items()}
            if len(merged) == sum(map(len, each)):
                forms.append(merged)
        if forms:
            yield several, forms


def _explain(kind: Kind, found: Sequence[_Found]) -> tuple[_Found, tuple[tuple[Slip, ...], ...]]:
    """The way of calling, and the slips alone or else in pairs, that explain every number it gave."""
    # Ways that come equally near stay in the order in which they were tried: noise is another each time.
    nearest = sorted(found, key=lambda each: math.floor(math.log10(min(each.deviation.roundings, 1e300))))
    for count, tried in ((1, nearest), (2, nearest[:2])):
        for each in tried:
            named = tuple(
                several
                for several, forms in _alternatives(kind, count)
                if any(_explains(kind, form, lines, each) for form in forms for _, lines in each.rights)
            )
            if named:
                return each, named
    return nearest[0], ()


def _explains(kind: Kind, form: Mapping[str, Any], lines: Any, found: _Found) -> bool:
    """Whether these lines give every number, and numbers that the paper's do not."""
    for seen in (_glance(found.seen), found.seen):  # most are refuted by one time
        expected = _expected(kind, form, lines, seen)
        if expected is None or _off(seen, expected, found.tolerance, kind.rounding).roundings > 1:
            return False
    assert expected is not None
    return min(_between(expected, right, found.tolerance) for right, _ in found.rights) > APART


def _glance(seen: Seen) -> Seen:
    """One time of them."""
    one = slice(len(seen.times) // 2, len(seen.times) // 2 + 1)
    given = {name: array[one] for name, array in seen.given.items()}
    return replace(seen, times=seen.times[one], given=given, eps=None if seen.eps is None else seen.eps[one])


def _expected(kind: Kind, form: Mapping[str, Any], lines: Any, seen: Seen) -> Quantities | None:
    with np.errstate(all="ignore"):
        expected = kind.expected(replace(lines, **form), seen)
    return expected if all(np.isfinite(array).all() for array in expected.values()) else None


def _between(one: Quantities, other: Quantities, tolerance: Mapping[str, float]) -> float:
    return max(float(np.abs(one[name] - other[name]).max()) / tolerance[name] for name in one)


def _hidden(each: Slip, kind: Kind, found: _Found) -> bool:
    """Whether a slip changes nothing that could be seen."""
    right, lines = found.rights[0]
    if all(getattr(lines, name) is line for form in each.forms for name, line in form.items()):
        return False  # it is what stands there
    for form in each.forms:
        expected = _expected(kind, form, lines, found.seen)
        if expected is None or _between(expected, right, found.tolerance) > APART:
            return False
    return True


def _at_once(caller: Caller, kind: Kind, process: Any, found: _Found) -> tuple[tuple[str, ...], Deviation | None]:
    """Whether it takes several times in one call, and a deviation where it then gives other numbers."""
    times = found.seen.times
    if not kind.timed or found.way.layout == "(H, W)" or len(times) < SEVERAL:
        return (), None
    rows = np.linspace(1, len(times) - 1, SEVERAL).round().astype(int)
    notes, taken = [], []
    for form in ("(B,)", "(B, 1, 1, 1)"):
        for each in (caller.way.kind,) if kind.images or caller.way.times != "number" else ("numpy", "torch"):
            try:
                given = kind.several(caller.with_times(form, each), process, times[rows])
            except (Raised, Unreadable):
                continue
            alone = {name: found.seen.given[name][rows] for name in given}
            if kind.images:
                alone = {name: array[:, :1] for name, array in alone.items()}
            off = _off(Seen(times[rows], given, {}), alone, found.tolerance)
            if off.roundings <= 1:
                taken.append(f"{form} in {each}")
            elif form == found.way.times:
                return (), replace(off, quantity=f"{off.quantity}, {AT_ONCE},")
            else:
                notes.append(
                    f"given several times as {form} it returns other numbers than for each alone, and no error"
                )
            break
    words = f"takes several times in one call, {' and '.join(taken)}" if taken else "takes one time in a call"
    return (words, *notes), None


def _where(function: Callable[..., Any]) -> str:
    """file:line."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return "a function without a source"
    path = Path(code.co_filename)
    here = Path.cwd()
    return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{code.co_firstlineno}"
