"""Whether recorded runs agree that one system is better: in every measure and every seed, or who dissents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from bdbook.page.recorded import Recorded

Better = Callable[[float, float], bool]


def less(a: float, b: float) -> bool:
    """Whether a is better than b where less is better."""
    return a < b


def more(a: float, b: float) -> bool:
    """Whether a is better than b where more is better."""
    return a > b


def nearer_one(a: float, b: float) -> bool:
    """Whether the ratio a is better than b where 1 is best: by the size of its logarithm."""
    return _off(a) < _off(b)


def _off(ratio: float) -> float:
    return abs(math.log(ratio)) if ratio > 0 else math.inf


# What is recorded of samples, of restorations and of likelihood, each with what is better; peak signal-to-noise ratio
# says what the root of the mean square says.
MEASURES: dict[str, Better] = {
    "frechet": less,
    "kernel": less,
    "precision": more,
    "recall": more,
    "density": nearer_one,
    "coverage": more,
    "sliced_wasserstein": less,
    "whitened": less,
    "nearest": nearer_one,
    "gap": less,
    "spectrum": less,
    "score": more,
    "bits": less,
    "rmse": less,
    "ssim": more,
    "detail": nearer_one,
    "variance": nearer_one,
}
# As prose calls them.
WORDS = {"frechet": "Fréchet distance", "kernel": "kernel distance", "sliced_wasserstein": "sliced W2"}
WORDS |= {"whitened": "whitened sliced W2", "nearest": "nearest-image ratio"}
WORDS |= {
    "gap": "gap of the loss",
    "score": "classifier score",
    "rmse": "RMSE",
    "ssim": "SSIM",
    "spectrum": "spectrum distance",
}
FEW = 3  # measures that are named even where every one dissents


@dataclass(frozen=True)
class Verdict:
    """What pairs of runs say to "the first is better": each measure and seed either agrees or dissents."""

    agreeing: tuple[str, ...]  # "frechet, seed 0"
    dissenting: tuple[str, ...]

    @property
    def word(self) -> Literal["seen", "mixed", "not seen"]:
        """Seen where all agree, not seen where none does."""
        if not self.dissenting:
            return "seen"
        return "mixed" if self.agreeing else "not seen"

    @property
    def total(self) -> int:
        """How many comparisons there were."""
        return len(self.agreeing) + len(self.dissenting)

    @property
    def dissenters(self) -> str:
        """The dissenting measures with their seeds, or all but those that agree, whichever are fewer.

        "Fréchet distance, bits (every seed); kernel distance (seeds 0, 2)"; "all but recall (seed 1)"; "every measure".
        """
        if not self.agreeing and len({one.split(", seed ")[0] for one in self.dissenting}) > FEW:
            return "every measure"
        if 0 < len(self.agreeing) < len(self.dissenting):
            return f"all but {self._named(self.agreeing)}"
        return self._named(self.dissenting)

    def _named(self, some: tuple[str, ...]) -> str:
        """Measures of some comparisons, those of the same seeds together."""
        every = {one.split(", seed ")[1] for one in self.agreeing + self.dissenting}
        seeds: dict[str, list[str]] = {}
        for one in some:
            measure, seed = one.split(", seed ")
            seeds.setdefault(WORDS.get(measure, measure), []).append(seed)
        measures: dict[tuple[str, ...], list[str]] = {}
        for name, of in seeds.items():
            measures.setdefault(tuple(sorted(of)), []).append(name)

        def told(of: tuple[str, ...]) -> str:
            if len(of) == len(every) > 1:
                return "every seed"
            return f"seed{'s' * (len(of) > 1)} {', '.join(of)}"

        return "; ".join(f"{', '.join(names)} ({told(of)})" for of, names in measures.items())

    def __str__(self) -> str:
        told = f"{self.word}: {len(self.agreeing)} of {self.total} comparisons agree"
        return f"{told}; against it: {self.dissenters}" if self.word == "mixed" else told


def measured(run: Recorded) -> dict[str, float]:
    """What was measured of a run's samples (metrics["quality"]["samples"]), and its bits per dimension, by name."""
    found = {name: value for name, value in run.metrics["quality"]["samples"].items() if name in MEASURES}
    bits = run.metrics.get("bits")
    return found | ({"bits": bits["mean"]} if bits else {})


def verdict(better: list[Recorded], worse: list[Recorded], measures: Iterable[str] = MEASURES) -> Verdict:
    """Compare runs, pair by pair of the same seed, in every measure that both have.

    Where only one of the two systems was trained again with other seeds, each of its runs is compared with the one run
    that there is of the other. An equal value dissents: "better" was not seen.

    Args:
        better: the runs of the system that should be better, one a seed.
        worse: those of the other.
        measures: names out of MEASURES.

    Raises:
        ValueError: an unknown measure; runs that share no measure, or no seed.
    """
    measures = tuple(measures)
    if unknown := [name for name in measures if name not in MEASURES]:
        raise ValueError(f"measures were {', '.join(unknown)}; expected some of {', '.join(MEASURES)}")
    agreeing: list[str] = []
    dissenting: list[str] = []
    for seed, one, other in _pairs(better, worse):
        ours, theirs = measured(one), measured(other)
        for name in measures:
            if name in ours and name in theirs:
                agrees = MEASURES[name](ours[name], theirs[name])
                (agreeing if agrees else dissenting).append(f"{name}, seed {seed}")
    if not agreeing and not dissenting:
        raise ValueError(
            f"{better[0].folder.name} and {worse[0].folder.name} have none of {', '.join(measures)} in common"
        )
    return Verdict(tuple(agreeing), tuple(dissenting))


def _pairs(better: list[Recorded], worse: list[Recorded]) -> list[tuple[int, Recorded, Recorded]]:
    """(seed, one, other) for each seed that both have; the runs of several seeds against the other's only run."""
    one, other = ({run.record["identity"]["seed"]: run for run in runs} for runs in (better, worse))
    if shared := sorted(one.keys() & other.keys()):
        if len(one) == 1 or len(other) == 1:
            (single,) = one.values() if len(one) == 1 else other.values()
            seeds = sorted(one.keys() | other.keys())
            return [(seed, one.get(seed, single), other.get(seed, single)) for seed in seeds]
        return [(seed, one[seed], other[seed]) for seed in shared]
    raise ValueError(f"the runs share no seed: {sorted(one)} and {sorted(other)}; record the same seeds of both")
