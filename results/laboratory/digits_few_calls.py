"""Digits of the recorded networks at few calls: DDIM and the flow rule, of first and second order, from equal starts.

    python results/laboratory/digits_few_calls.py

What is recorded is kept, so the same command goes on after a stop. A row takes one to two minutes of a core: a system,
a rule and an order, at each number of calls. `measures` are those of the book's recorded runs (`generation.measures`),
against the test split. `off` is how far the first digits end from where the network's own flow takes their starts: the
root mean square difference of pixels in [-1, 1], its mean over the digits; `end_off` is that of the two rules at MANY
calls, where the flow is taken to have ended.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tqdm import tqdm

from bdbook import data, files, samplers
from bdbook.evaluation import generation
from bdbook.page import live
from bdbook.training import records
from bdbook.training.runs import Run

FILE = Path(__file__).with_suffix(".json")
RECIPES = ("digits-blurring", "digits-cosine", "digits-soft", "digits-ddpm")
RULES = {"ddim": ("ddim", 1), "flow": ("flow", 1), "ddim, order 2": ("ddim", 2), "flow, order 2": ("flow", 2)}
CALLS = (5, 10, 20)
COUNT, SEED = 320, 0  # ten digits for each feature of the Frechet distance
FEW, MANY = 32, 100


def drawn(run: Run, name: str, calls: int, count: int = COUNT) -> torch.Tensor:
    """Digits of a network by a rule of RULES, (count, 1, 16, 16): of the same starts whatever the rule."""
    rule, order = RULES[name]
    return run.draw(count, SEED, run.flow() if rule == "flow" else samplers.rule(rule), calls, order=order)


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """Root mean square difference of pixels as they are shown, its mean over the images."""
    return (a.clamp(-1, 1) - b.clamp(-1, 1)).square().mean((1, 2, 3)).sqrt().mean().item()


def main() -> None:
    """Measure what is missing."""
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"ends": {}, "rows": {}}
    found |= {"count": COUNT, "seed": SEED, "few": FEW, "many": MANY, "calls": list(CALLS)}
    pictures, ends = data.load("digits", 16, split="test"), {}
    for recipe, name in tqdm([(recipe, name) for recipe in RECIPES for name in RULES], "rows"):
        key = f"{recipe}, {name}"
        if key in found["rows"]:
            continue
        run = live.run_of(recipe)
        if recipe not in ends:
            ends[recipe] = drawn(run, "flow, order 2", MANY, FEW)
        if recipe not in found["ends"]:
            found["ends"][recipe] = {
                "end_off": apart(ends[recipe], drawn(run, "ddim, order 2", MANY, FEW)),
                "step": run.record["step"],
                "training_seed": run.record["identity"]["seed"],
            }
        rows = found["rows"].setdefault(key, {})
        found.setdefault("about", {})[key] = records.made_here()
        for calls in CALLS:
            digits = drawn(run, name, calls)
            rows[str(calls)] = {"off": apart(digits[:FEW], ends[recipe])} | generation.measures(digits, pictures, True)
        files.write_atomically(FILE, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
