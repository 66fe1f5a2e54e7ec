"""What follows from a spectrum: each system's clocks, what its sampler leaves out, and what to take instead.

    advised = spectra.advise(found, calls=10)
    print(advised)
    advised.process, advised.rule, advised.times        # for samplers.sample, with a network trained for this process
    advised.sigmas                                      # for a network that knows white noise: diffusers, k-diffusion

Everything here is exact for the Gaussian with the measured spectrum. What is not Gaussian in the data is not in the
numbers; how much there is of it, `Spectrum.negentropy` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bdbook import processes, samplers
from bdbook.oracle import Gaussian, ddim_floor
from bdbook.pixels import ROUNDING
from bdbook.processes import Process
from bdbook.shapes import Grid, OfBasis
from bdbook.spectra.measure import Spectrum
from bdbook.timegrids import by_density
from bdbook.transforms import DCT, Basis, Size, lengths

STEPS = (5, 10, 20, 50, 100, 250, 1000)
# Coefficients that stand for all of them, spread evenly over frequencies and variances.
SOME = 1000
# From so many calls on the second order is worth its memory: below, it extrapolates too far.
SECOND = 10
# What white noise may differ from what the data become, nats; and the last noise as a part of a faint coefficient's.
START, LAST, FAINT = 0.01, 0.1, 100
RHO = 7  # of Karras et al. 2022 Eq. 5
# The blur of a system at t = 1, as a part of the longest axis.
WIDTHS = {"IHDM": 1 / 2, "blurring": 1 / 3, "soft": 1 / 3}
RULES = {"DDIM": ("ddim", 1), "DDIM, order 2": ("ddim", 2), "ancestral": ("ancestral", 1)}
SHOWN_AT = (0.25, 0.5, 0.75)
FINE = 4001  # levels of noise at which a density of steps is evaluated
PIXELS = 1 / 127.5  # the factor of 8-bit grey levels


def systems(size: Size) -> dict[str, Process]:
    """The systems of the papers whose basis is the cosines, for samples of these axes; blur as wide as WIDTHS say."""
    wide = {name: max(lengths(size)) * part for name, part in WIDTHS.items()}
    return {
        "DDPM": processes.ddpm(basis=DCT(size)),
        "cosine": processes.cosine_diffusion(DCT(size)),
        "IHDM": processes.heat_dissipation(size, sigma_max=wide["IHDM"]),
        "blurring": processes.blurring_diffusion(size, sigma_max=wide["blurring"]),
        "soft": processes.soft_diffusion(size, sigma_max=wide["soft"]),
    }


@dataclass(frozen=True, eq=False)
class Modes(Basis):
    """Some coefficients of another basis by their squared frequencies, (1, 1, K): enough for schedules and for laws."""

    squared: Tensor

    @property
    def freq2(self) -> OfBasis:
        """As they were given."""
        return self.squared

    @property
    def dims(self) -> int:
        """They lie in a row."""
        return 1


@dataclass(frozen=True)
class Some:
    """SOME coefficients of data that stand for all `whole` of them, so that nats are right to some two per cent."""

    basis: Modes
    index: Tensor
    gaussian: Gaussian
    whole: int

    @classmethod
    def of(cls, data: Gaussian) -> Some:
        """As many of each frequency, and of each variance, as their share."""
        variance = data.variance.flatten()
        frequency = data.basis.freq2.expand(data.variance.shape).flatten()
        order = torch.argsort(variance, stable=True)
        order = order[torch.argsort(frequency[order], stable=True)]
        count = min(SOME, len(order))
        index = order[((torch.arange(count) + 0.5) * len(order) / count).long()]
        basis = Modes(frequency[index][None, None])
        mean = data.mean.expand(data.variance.shape).flatten()
        return cls(basis, index, Gaussian(basis, variance[index][None, None], mean[index][None, None]), len(order))

    def of_process(self, process: Process, shape: torch.Size) -> Process:
        """The same process on these coefficients. shape: (1, C, *axes) of all."""

        def some(schedule: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            def at(t: Tensor) -> Tensor:
                whole = schedule(t.flatten())
                return whole.expand(len(whole), *shape[1:]).flatten(1)[:, None, self.index]

            return at

        return Process(self.basis, some(process.alpha), some(process.sigma), process.steps, process.name)

    def kl(self, process: Process, times: Grid, rule: str, order: int) -> float:
        """Nats by which the samples of all coefficients miss the data."""
        error = self.gaussian.sampler_error(process, times, rule, order=order)
        return error.kl.mean().item() * self.whole


@dataclass(frozen=True, repr=False)
class Advice:
    """A process, a rule and a grid for data of a spectrum and a number of calls, and what the papers' would leave out.

    kl: system -> rule -> {steps: nats by which DDIM or the paper's posterior rule misses Gaussian data of this
    spectrum}, in equal steps of time. clocks: system -> for each t of SHOWN_AT degrees of a lowest, a middle and a
    highest frequency. white: grid -> {order: nats at this number of calls} of white noise alone; sigmas: order -> those
    of the grid that misses least, of scaled data, from large to small, after which comes 0.
    """

    found: Spectrum
    calls: int
    kl: dict[str, dict[str, dict[int, float]]]
    clocks: dict[str, list[tuple[float, ...]]]
    white: dict[str, dict[int, float]]
    sigmas: dict[int, list[float]]
    reasons: tuple[str, ...] = field(default=())

    @cached_property
    def process(self) -> Process:
        """Equal SNR on the measured spectrum; a coefficient that hardly varies has the floor's noise."""
        return processes.equal_snr(self.found.gaussian, floor_of(self.found))

    @property
    def rule(self) -> samplers.Rule:
        """The flow rule of the measured spectrum."""
        return samplers.flow(self.found.gaussian)

    @property
    def order(self) -> int:
        """1 or 2, of the rule."""
        return 2 if self.calls >= SECOND else 1

    @property
    def times(self) -> Grid:
        """Equal steps of the clock, which are equal steps of time."""
        return self.process.times(self.calls)

    def __repr__(self) -> str:
        at = ", ".join(map(str, SHOWN_AT))
        lines = [f"clocks in degrees (0 data, 90 noise) of a lowest, a middle and a highest frequency at t = {at}"]
        for name, rows in self.clocks.items():
            shown = "   ".join(" ".join(f"{degrees:3.0f}" for degrees in row) for row in rows)
            lines.append(f"  {name:10} {shown}")
        lines += ["", "nats by which samples miss Gaussian data of this spectrum, in so many calls"]
        lines.append(f"  {'':24}" + "".join(f"{steps:>10}" for steps in STEPS))
        for name, rules in self.kl.items():
            for rule, row in rules.items():
                told = "".join(f"{row[steps]:>10.3g}" if steps in row else f"{'':>10}" for steps in STEPS)
                lines.append(f"  {name + ', ' + rule:24}{told}")
        floors = "".join(f"{least(self.found, steps):>10.3g}" for steps in STEPS)
        lines += [
            f"  {'DDIM, least, whole clocks':24}{floors}",
            f"  {'flow rule, any system':24}" + f"{'0':>10}" * len(STEPS),
            "",
        ]
        lines.append(f"for {self.calls} calls: equal SNR, the flow rule of order {self.order}, equal steps of time")
        lines += [f"  - {reason}" for reason in self.reasons]
        lines.append(f"for a network that knows white noise alone: {self.calls} sigmas and then 0, nats they miss by")
        for name, orders in self.white.items():
            lines.append(f"  {name:33}" + "".join(f" order {order}: {nats:<9.3g}" for order, nats in orders.items()))
        return "\n".join(lines)


def floor_of(found: Spectrum) -> float:
    """Least variance that equal SNR's noise has in a coefficient: rounding's, or a hundredth of a faint one's."""
    return max(ROUNDING if found.factor == PIXELS else 0.0, _faint(found) / 100)


def least(found: Spectrum, steps: int) -> float:
    """`ddim_floor` of the coefficients that vary; clocks whose ends are cut can lie a little below it."""
    return ddim_floor(int((found.variance > 0).sum()), steps)


def _faint(found: Spectrum) -> float:
    """A variance that one in FAINT of the coefficients that vary does not reach."""
    varying = found.variance[found.variance > 0]
    return varying.sort().values[len(varying) // FAINT].item()


def as_dict(found: Spectrum, advised: Advice) -> dict[str, Any]:
    """All that was measured and advised, as plain numbers, for JSON."""
    return {
        "name": found.name,
        "samples": found.count,
        "of": found.total,
        "cut": found.cut,
        "shape": list(found.shape),
        "rate": found.rate,
        "scaled": {"offset": found.offset, "factor": found.factor},
        "slope": {"value": found.slope, "error": found.slope_error},
        "negentropy": found.negentropy,
        "bands": [asdict(band) for band in found.bands],
        "nats": advised.kl,
        "least of DDIM": {steps: least(found, steps) for steps in STEPS},
        "clocks": {"t": SHOWN_AT, "degrees": advised.clocks},
        "advice": {
            "calls": advised.calls,
            "process": "equal_snr",
            "variance floor": floor_of(found),
            "rule": "flow",
            "order": advised.order,
            "times": advised.times.tolist(),
            "reasons": advised.reasons,
        },
        "white noise": {"nats": advised.white, "sigmas": advised.sigmas},
    }


def advise(found: Spectrum, calls: int = 10) -> Advice:
    """What to take for data of this spectrum and so many evaluations of the network a sample."""
    if calls < 1:
        raise ValueError(f"calls was {calls}; expected at least 1 evaluation of the network a sample")
    some, shape = Some.of(found.gaussian), found.variance.shape
    known = {name: some.of_process(process, shape) for name, process in systems(found.basis.size).items()}
    known["equal SNR"] = processes.equal_snr(some.gaussian, floor_of(found))
    kl: dict[str, dict[str, dict[int, float]]] = {}
    for name, process in known.items():
        for rule, (way, order) in RULES.items():
            fitting = [n for n in STEPS if process.steps is None or n <= process.steps]
            row = {n: some.kl(process, process.times(n), way, order) for n in fitting}
            kl.setdefault(name, {})[rule] = row
    clocks = {name: _clocks(some.gaussian, process) for name, process in known.items()}
    white, sigmas = _white(found, some, calls)
    advice = Advice(found, calls, kl, clocks, white, sigmas)
    return replace(advice, reasons=tuple(_reasons(advice)))


def _clocks(data: Gaussian, process: Process) -> list[tuple[float, ...]]:
    """Degrees at each of SHOWN_AT of the lowest, the middle and the highest of some coefficients that vary."""
    varying = (data.variance.flatten() > 0).nonzero().flatten()
    picked = varying[[0, len(varying) // 2, -1]]
    grid = process.times() if process.steps is not None else None
    at = [t if grid is None else grid[(grid - t).abs().argmin()].item() for t in SHOWN_AT]
    phi = data.clock(process, torch.tensor(at, dtype=torch.float64)).flatten(1)[:, picked]
    return [tuple(row) for row in torch.rad2deg(phi).tolist()]


# --- white noise alone -------------------------------------------------------------------------------------


def _white(found: Spectrum, some: Some, calls: int) -> tuple[dict[str, dict[int, float]], dict[int, list[float]]]:
    """Nats by grid and order, of x + sigma noise; and for each order the sigmas that miss least."""
    v = some.gaussian.variance.flatten()
    high, low = _highest(found), LAST * math.sqrt(_faint(found))
    if found.factor == PIXELS:
        low = max(low, math.sqrt(ROUNDING))
    level = torch.linspace(math.log(high), math.log(low), FINE, dtype=torch.float64)
    known = v / (v + torch.exp(2 * level)[:, None])
    ramp = torch.linspace(0, 1, calls, dtype=torch.float64)

    def spread(density: Tensor) -> Tensor:
        place = by_density(density, max(calls - 1, 1)).flip(0)[:calls]
        return high ** (1 - place) * low**place

    grids = {
        "equal steps of the mean clock": spread((known * (1 - known)).sqrt().mean(1)),
        "short where the guesses change": spread((known * (1 - known)).mean(1) ** (1 / 3)),
        "equal steps of log sigma": high ** (1 - ramp) * low**ramp,
        f"Karras et al., rho = {RHO}": (high ** (1 / RHO) + ramp * (low ** (1 / RHO) - high ** (1 / RHO))) ** RHO,
    }
    nats = {name: {order: _missed(some, sigmas, order) for order in (1, 2)} for name, sigmas in grids.items()}
    best = {order: min(nats, key=lambda name: nats[name][order]) for order in (1, 2)}
    return nats, {order: grids[name].tolist() for order, name in best.items()}


def _missed(some: Some, sigmas: Tensor, order: int) -> float:
    """Nats by which DDIM along these sigmas, and then to 0, misses the data."""
    ends = torch.cat([sigmas, torch.zeros(1, dtype=torch.float64)])
    steps = len(sigmas)

    def sigma(t: Tensor) -> Tensor:
        return ends[(steps * (1 - t)).round().long()]

    process = Process(some.basis, torch.ones_like, sigma, steps, "white noise")
    return some.kl(process, process.times(), "ddim", order)


def _highest(found: Spectrum) -> float:
    """The sigma at which data and white noise are START nats from white noise alone, of mean 0."""
    mean, variance = found.mean.flatten(), found.variance.flatten()

    def missed(sigma: float) -> float:
        r = sigma**2 / (variance + sigma**2)
        return 0.5 * (r - 1 - r.log() + mean**2 / (variance + sigma**2)).sum().item()

    low, high = 1e-3, 1e6
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if missed(middle) > START else (low, middle)
    return high


def _reasons(advice: Advice) -> list[str]:
    n = advice.calls
    at = min(STEPS, key=lambda steps: abs(math.log(steps / n)))
    misses = {name: rules["DDIM"].get(at, math.inf) for name, rules in advice.kl.items() if name != "equal SNR"}
    best = min(misses, key=lambda name: misses[name])
    return [
        f"in {at} calls DDIM misses by {misses[best]:.3g} nats under {best}, the best of the papers', and by "
        f"{advice.kl['equal SNR']['DDIM'][at]:.3g} under equal SNR, whose clocks run together; of clocks that run the "
        f"whole way the least there is is {least(advice.found, at):.3g}",
        "the flow rule is exact for the Gaussian part of the data in any number of calls: what it gets wrong is what "
        f"the network says beyond the spectrum, here {max(advice.found.negentropy, 0):.2g} nats a coefficient, each "
        "taken alone",
        "with an exact network the second order was ahead of the first for mixtures of clothes and of photographs, in "
        f"5, 10 and 20 calls (chapter 18); a network that errs may overshoot in few, so it is taken from {SECOND} on",
        "a network must have been trained for this process; one that was trained with white noise takes the sigmas",
    ]
