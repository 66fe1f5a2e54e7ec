"""The best clocks for a sampler of few calls, by gradient descent in the laboratory of mixtures.

    python results/laboratory/best_clocks.py

Clocks run from noise to data in as many turns as there are calls. Their shares are softmaxes of free numbers, one set
for each of six bands of frequency and linear between them in the rank of the frequency, or one set for all frequencies
("1 band": a warp of the time, in which no frequency comes first). What is descended on is the Kullback-Leibler
divergence of the law that is drawn from the true one, in nats (`whitened.Whitened.kl`), estimated on fresh starts in
every step. A distance of single walks from their exact ends would not do, since these ends depend on the clocks.
Descents begin from straight clocks (seed 0), and from kappa = 1 and -1 (seeds 1 and 2). What is found is then measured
on starts that no descent has seen, also by measures that none has descended on, beside straight clocks.

What is in best_clocks.json already is kept, so that an interrupted study goes on. A quarter of an hour of one core.
"""

from __future__ import annotations

import json
import math
import time
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
STEPS, RATE = 60, 0.12
# Walks a step: a determinant costs the cube of the number of components.
BATCH = {"fashion": 32, "photos": 96, "leaves": 96}
SEED_OF = {0.0: 0, 1.0: 1, -1.0: 2}
HELD_OUT = 1000  # the seed of the starts on which the found is measured


def jobs() -> list[tuple[str, str, int, int, float]]:
    """(mixture, rule, calls, bands, kappa of the first clocks), what matters most first."""
    found: list[tuple[str, str, int, int, float]] = []
    for calls in (10, 5):
        found += [(name, "flow", calls, bands, 0.0) for name in ("photos", "leaves") for bands in (BANDS, 1)]
        found += [(name, "flow", calls, BANDS, kappa) for name in ("photos", "leaves") for kappa in (1.0, -1.0)]
        found += [("fashion", "flow", calls, BANDS, 0.0)]
    found += [(name, "ddim", 10, BANDS, 0.0) for name in ("photos", "leaves")]
    found += [("fashion", "flow", calls, 1, 0.0) for calls in (10, 5)]
    found += [(name, "flow", 20, bands, 0.0) for name in ("photos", "leaves") for bands in (BANDS, 1)]
    return found


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


def descend(law: Whitened, place: Tensor, name: str, rule: str, first: Tensor, seed: int) -> Tensor:
    """The free numbers after a descent, (bands, N)."""
    generator = torch.Generator().manual_seed(seed)
    free = first.clone().requires_grad_()
    adam = torch.optim.Adam([free], lr=RATE, betas=(0.9, 0.99))
    slower = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / STEPS))
    for _ in tqdm(range(STEPS), "descent", leave=False):
        adam.zero_grad()
        start = law.sample(BATCH[name], LAST, generator)
        law.kl(start, clocks_of(free, place), rule).mean().backward()
        torch.nn.utils.clip_grad_norm_([free], 10.0)
        adam.step()
        slower.step()
    return free.detach()


def study(law: Whitened, name: str, rule: str, calls: int, bands: int, kappa: float) -> dict[str, object]:
    """The clocks that a descent found, and what they are worth on starts that it has not seen."""
    place = processes.rank(law.spectrum.basis.freq2).flatten()
    straight = bent(law.spectrum, 0.0, calls)
    free = descend(law, place, name, rule, free_of(bent(law.spectrum, kappa, calls), place, bands), seed=SEED_OF[kappa])
    clocks = clocks_of(free, place)
    generator = torch.Generator().manual_seed(HELD_OUT)
    start, true, other = (law.sample(COUNT, phi, generator) for phi in (LAST, FIRST, FIRST))
    some = start[: DIVERGED[name]]
    before, after = law.kl(some, straight, rule), law.kl(some, clocks, rule)
    found: dict[str, dict] = {"truth": measured(law, other, true, True)}
    for label, path, divergence in (("straight", straight, before), ("found", clocks, after)):
        found[label] = measured(law, law.walk(start, path, rule), true, True)
        found[label] |= {"kl": mean_and_error(divergence), "kl_above_straight": mean_and_error(divergence - before)}
    centres = torch.linspace(-1, 1, bands, dtype=torch.float64)
    # One row a band, from the lowest frequencies to the highest; along it time, from noise to data.
    return found | {"clocks": clocks_of(free, centres).T.tolist()}


def main() -> None:
    """Add what is missing to the file, one descent after the other."""
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    laws = {name: Whitened.of(recorded.mixture(name)) for name in MIXTURES}
    for name, rule, calls, bands, kappa in tqdm(jobs(), "clocks"):
        key = f"{name}, {rule}, {calls} calls, {bands} {'bands' if bands > 1 else 'band'}, from kappa {kappa:g}"
        if key not in found:
            began = time.monotonic()
            made = study(laws[name], name, rule, calls, bands, kappa)
            found[key] = rounded(entry(made, time.monotonic() - began, SEED_OF[kappa]))
            write_atomically(FILE, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
