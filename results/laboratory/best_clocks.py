"""The best clocks for a sampler of few calls, by gradient descent in the laboratory of mixtures.

    python results/laboratory/best_clocks.py

Clocks run from noise to data in as many turns as there are calls. Their shares are softmaxes of free numbers. "1 band"
is one set for all frequencies, a warp of the time in which none comes first; its descent begins from straight clocks.
"6 bands" is one set for each of six bands of frequency, linear between them in the rank of the frequency; its descents
begin from the warp that was found (seed 0), and from that warp bent by kappa = 1 and -1 (seeds 1 and 2), so that what
they gain is the order's. What is descended on is the energy distance of the drawn from true samples in whitened
coordinates, of fresh ones in every step. A distance of single walks from their exact ends would not do, since these
ends depend on the clocks; and the divergence in nats (`whitened.Whitened.kl`) hardly minds a component that is never
drawn: some descents are on it, "by nats", for comparison. What is found is measured on starts that no descent has seen,
also by measures that none has descended on, beside straight clocks.

What is in best_clocks.json already is kept, so that an interrupted study goes on. Ten minutes of one core.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from order import COUNT, DIVERGED, MIXTURES, entry, mean_and_error, measured, rounded
from torch import Tensor
from tqdm import tqdm
from whitened import FIRST, LAST, Whitened, bent

from bdbook import processes
from bdbook.files import write_atomically
from bdbook.page import recorded

HERE = Path(__file__).parent
FILE = HERE / "best_clocks.json"
BANDS = 6
STEPS, RATE = {1: 80, BANDS: 40}, 0.1
# Walks a step, and true samples beside them, which cost less.
BATCH, TRUE = 256, 512
SEED_OF = {0.0: 0, 1.0: 1, -1.0: 2}
HELD_OUT = 1000  # the seed of the starts on which the found is measured


@dataclass(frozen=True)
class Job:
    """A descent, begun from kappa, or with 0 bands straight clocks as they are. Its words are its key in the file."""

    mixture: str
    rule: str
    calls: int
    bands: int
    kappa: float = 0.0
    by: str = "energy"

    def __str__(self) -> str:
        where = (
            ("straight", "1 band")[self.bands] if self.bands < 2 else f"{self.bands} bands, from kappa {self.kappa:g}"
        )
        by = f", by {self.by}" if self.by != "energy" else ""
        return f"{self.mixture}, {self.rule}, {self.calls} calls, {where}{by}"


def jobs() -> list[Job]:
    """What matters most first."""
    three = (0, 1, BANDS)
    found = [Job(name, "flow", calls, bands) for calls in (10, 5) for name in MIXTURES for bands in three]
    found += [Job(name, "flow", 10, BANDS, kappa) for name in MIXTURES for kappa in (1.0, -1.0)]
    found += [Job(name, "flow", 10, bands, by="nats") for name in ("photos", "leaves") for bands in (1, BANDS)]
    found += [Job(name, "flow", 20, bands) for name in MIXTURES for bands in three]
    return found + [Job(name, "ddim", 10, bands) for name in MIXTURES for bands in three]


def clocks_of(free: Tensor, place: Tensor) -> Tensor:
    """Monotone clocks (N + 1, D) of free numbers (bands, N), for frequencies of ranks place, (D,) in [-1, 1]."""
    bands = len(free)
    at = (place + 1) / 2 * (bands - 1)
    below = at.floor().long().clamp_max(max(bands - 2, 0))
    share = (at - below)[:, None]
    between = free[below] + share * (free[(below + 1).clamp_max(bands - 1)] - free[below])
    turned = (LAST - FIRST) * between.softmax(1).cumsum(1)
    return torch.cat([torch.zeros(len(place), 1), turned], 1).neg().add(LAST).T


def free_of(clocks: Tensor, place: Tensor, bands: int) -> Tensor:
    """The free numbers of the frequencies that are nearest to the bands, (bands, N)."""
    centres = torch.linspace(-1, 1, bands, dtype=torch.float64)
    nearest = (place - centres[:, None]).abs().argmin(1)
    return (clocks[:-1] - clocks[1:]).T[nearest].log()


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Sum of all distances of rows; differentiable, also where two rows are one."""
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    return squares.clamp_min(1e-9).sqrt().sum()


def energy(law: Whitened, clocks: Tensor, rule: str, generator: torch.Generator) -> Tensor:
    """What of the energy distance depends on the clocks."""
    start, true = law.sample(BATCH, LAST, generator), law.sample(TRUE, FIRST, generator)
    x = law.walk(start, clocks, rule)
    return 2 * distances(x, true) / (BATCH * TRUE) - distances(x, x) / (BATCH * (BATCH - 1))


def nats(law: Whitened, clocks: Tensor, rule: str, generator: torch.Generator) -> Tensor:
    """The divergence of what is drawn from the truth, of fewer walks, which cost more."""
    return law.kl(law.sample(BATCH // 4, LAST, generator), clocks, rule).mean()


def descend(law: Whitened, place: Tensor, rule: str, first: Tensor, seed: int, by: str = "energy") -> Tensor:
    """The free numbers (bands, N) after a descent."""
    generator, loss = torch.Generator().manual_seed(seed), {"energy": energy, "nats": nats}[by]
    free = first.clone().requires_grad_()
    adam = torch.optim.Adam([free], lr=RATE, betas=(0.9, 0.99))
    steps = STEPS[len(free)]
    slower = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps))
    for _ in tqdm(range(steps), "descent", leave=False):
        adam.zero_grad()
        loss(law, clocks_of(free, place), rule, generator).backward()
        adam.step()
        slower.step()
    return free.detach()


def held_out(law: Whitened, name: str, clocks: Tensor, rule: str, told: bool) -> dict[str, object]:
    """What clocks are worth on starts that no descent has seen; "kl_above_straight" over the same starts."""
    start, true = drawn(law)
    straight = bent(law.spectrum, 0.0, len(clocks) - 1)
    some = start[: DIVERGED[name] // 2]
    divergences = [law.kl(some, path, rule) for path in (clocks, straight)]
    above = {"kl": mean_and_error(divergences[0]), "kl_above_straight": mean_and_error(divergences[0] - divergences[1])}
    return measured(law, law.walk(start, clocks, rule), true, told) | above


def drawn(law: Whitened) -> list[Tensor]:
    """Held-out starts and true ends."""
    generator = torch.Generator().manual_seed(HELD_OUT)
    return [law.sample(COUNT, phi, generator) for phi in (LAST, FIRST)]


def bent_warp(warp: Tensor, place: Tensor, kappa: float) -> Tensor:
    """Clocks (N + 1, D) that follow a warp, (N + 1,) of the time, as those of kappa follow straight ones."""
    calls = len(warp) - 1
    times = torch.linspace(1, 0, calls + 1, dtype=torch.float64)[:, None] ** torch.exp2(-kappa * place)
    at = (1 - times) * calls
    below = at.floor().long().clamp_max(calls - 1)
    return warp[below] + (at - below) * (warp[below + 1] - warp[below])


def study(law: Whitened, job: Job, found: dict) -> dict[str, object]:
    """The clocks that a descent found, one row a band from the lowest frequencies to the highest, and their worth."""
    place = processes.rank(law.spectrum.basis.freq2).flatten()
    told = job.calls == 10 and job.kappa == 0
    first = bent(law.spectrum, 0.0, job.calls)
    if not job.bands:
        return held_out(law, job.mixture, first, job.rule, told)
    if job.bands > 1:
        warp = found[str(replace(job, bands=1, kappa=0.0))]["measured"]["clocks"][0]
        first = bent_warp(torch.tensor(warp, dtype=torch.float64), place, job.kappa)
    free = descend(law, place, job.rule, free_of(first, place, job.bands), SEED_OF[job.kappa], job.by)
    centres = torch.linspace(-1, 1, job.bands, dtype=torch.float64)
    worth = held_out(law, job.mixture, clocks_of(free, place), job.rule, told)
    return worth | {"clocks": clocks_of(free, centres).T.tolist()}


def main() -> None:
    """Add what is missing to the file, one descent after the other."""
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    laws = {name: Whitened.of(recorded.mixture(name)) for name in MIXTURES}
    for job in tqdm(jobs(), "clocks"):
        if str(job) not in found:
            began = time.monotonic()
            made = study(laws[job.mixture], job, found)
            found[str(job)] = rounded(entry(made, time.monotonic() - began, SEED_OF[job.kappa]))
            write_atomically(FILE, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
