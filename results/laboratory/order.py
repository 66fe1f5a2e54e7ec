"""Does the order in which frequencies are decided matter to a sampler with an exact denoiser?

    python results/laboratory/order.py

The clocks of equal SNR are bent by kappa (processes.equal_snr): above 0 the high frequencies run ahead, so that
pictures are drawn coarse first, below 0 fine first. Walks of the three mixtures by the flow rule and by DDIM, of order
1 and 2, begin at exact draws and are compared with what is true at the end of the clocks, by every measure of
`bdbook.evaluation.joint`; of order 1 also by the Kullback-Leibler divergence in nats (`whitened.Whitened.kl`), each
difference from straight clocks over the same starts. "truth" is what true samples have against true samples. What is in
order.json already is kept, so that an interrupted study goes on. Ten minutes of one core.
"""

from __future__ import annotations

import json
import time
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm
from whitened import FIRST, LAST, Whitened, bent

from bdbook.evaluation import joint
from bdbook.files import write_atomically
from bdbook.page import recorded
from bdbook.training import records

HERE = Path(__file__).parent
FILE = HERE / "order.json"
MIXTURES = ("fashion", "photos", "leaves")
CALLS = (5, 10, 20)
ALL, ENDS = (-1.0, -0.5, 0.0, 0.5, 1.0), (-1.0, 0.0, 1.0)
# How many samples, and how many at once in the energy distance, for the classifier, and for the distance of single
# walks from their exact ends, which are those of so many steps of second order.
COUNT, BLOCK, TOLD, SINGLE, FINE = 2000, 1000, 500, 128, 100
PROJECTIONS = 64
# Walks of which the divergence is taken: a determinant costs the cube of the number of components.
DIVERGED = {"fashion": 200, "photos": 600, "leaves": 600}
ENDED: dict[tuple[str, float, int], Tensor] = {}


def jobs() -> list[tuple[int, str, str, int, int]]:
    """(seed, mixture, rule, order, calls), what matters most first."""
    every = [
        ("flow", 1, 0),
        ("flow", 1, 1),
        ("ddim", 1, 0),
        ("flow", 2, 0),
        ("ddim", 1, 1),
        ("ddim", 2, 0),
        ("flow", 1, 2),
    ]
    return [(seed, name, rule, order, calls) for (rule, order, seed), name, calls in product(every, MIXTURES, CALLS)]


def measured(law: Whitened, drawn: Tensor, true: Tensor, told: bool) -> dict[str, float]:
    """The measures of the joint law, of ends (N, D) against exact draws."""
    x, data = law.images(drawn), law.images(true)
    blocks = [
        joint.energy_distance(*pair, law.spectrum) for pair in zip(x.split(BLOCK), data.split(BLOCK), strict=True)
    ]
    end = law.at(torch.full((drawn.shape[1],), FIRST, dtype=torch.float64))
    found = {
        "sliced_w2": joint.sliced_wasserstein(x, data, law.spectrum, PROJECTIONS),
        "energy": sum(blocks) / len(blocks),
        "negative_log_density": -end.log_density(drawn).mean().item(),
        "shares": 0.5 * (end.shares(drawn).mean(0) - law.weights).abs().sum().item(),
    }
    if told:
        found["two_sample"] = joint.two_sample_accuracy(x[:TOLD], data[:TOLD], law.spectrum)
    return found


def mean_and_error(values: Tensor) -> list[float]:
    """[mean, its standard error]."""
    return [values.mean().item(), values.std().item() / len(values) ** 0.5]


def exact_ends(law: Whitened, start: Tensor, name: str, kappa: float, seed: int) -> Tensor:
    """Where the exact flow leads single walks: the same starts for every rule and number of calls."""
    key = name, kappa, seed
    if key not in ENDED:
        ENDED[key] = law.walk(start, bent(law.spectrum, kappa, FINE), "flow", 2)
    return ENDED[key]


def study(law: Whitened, name: str, rule: str, order: int, calls: int, seed: int) -> dict[str, dict]:
    """Every measure, by kappa and for the truth."""
    generator = torch.Generator().manual_seed(seed)
    start, true, other = (law.sample(COUNT, phi, generator) for phi in (LAST, FIRST, FIRST))
    told = (rule, order, seed, calls) == ("flow", 1, 0, 10)
    found = {"truth": measured(law, other, true, told)}
    some = start[: DIVERGED[name] if rule == "flow" else DIVERGED[name] // 3]
    straight = law.kl(some, bent(law.spectrum, 0.0, calls), rule) if order == 1 else None
    for kappa in ALL if rule == "flow" and order == 1 else ENDS:
        clocks = bent(law.spectrum, kappa, calls)
        made = measured(law, law.walk(start, clocks, rule, order), true, told and kappa in ENDS)
        away = law.walk(start[:SINGLE], clocks, rule, order) - exact_ends(law, start[:SINGLE], name, kappa, seed)
        made["walk"] = away.square().mean(1).sqrt().median().item()
        if straight is not None:
            divergence = law.kl(some, clocks, rule) if kappa else straight
            made["kl"] = mean_and_error(divergence)
            made["kl_above_straight"] = mean_and_error(divergence - straight)
        found[f"{kappa}"] = made
    return found


def entry(found: dict, seconds: float, seed: int) -> dict:
    """What is kept of one job: numbers of four digits, and how they came about."""
    return {"measured": found, "seconds": round(seconds, 1), "seed": seed} | records.made_here()


def rounded(value: object) -> object:
    """Numbers of five digits, as far as they go in lists and dictionaries."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> None:
    """Add what is missing to the file, one entry after the other."""
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    laws = {name: Whitened.of(recorded.mixture(name)) for name in MIXTURES}
    for seed, name, rule, order, calls in tqdm(jobs(), "walks"):
        key = f"{name}, {rule} {order}, {calls} calls, seed {seed}"
        if key not in found:
            began = time.monotonic()
            made = study(laws[name], name, rule, order, calls, seed)
            found[key] = rounded(entry(made, time.monotonic() - began, seed))
            write_atomically(FILE, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
