"""Measure recorded runs of digits against the images that they learned from, and what no network can beat.

    python results/against_training.py

The recorded numbers compare with the test split, whose digits other people wrote. Here runs whose weights are
recorded draw their samples again, by their own protocol, and are compared with the training images; one of them also
in few steps. Beside them stands a floor: the same digits split anew at random.
What is in against_training.json already is kept, so that an interrupted run goes on.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tqdm import tqdm

from bdbook import data
from bdbook.evaluation import generation, metrics
from bdbook.evaluation.generation import Protocol
from bdbook.files import write_atomically
from bdbook.training import records, runs

HERE = Path(__file__).parent
FILE = HERE / "against_training.json"
# In few steps: name in the file -> rule, order, steps.
FEW = {f"{steps} steps of second order": ("ddim", 2, steps) for steps in (5, 10, 15, 30)}
# Of the recorded runs with weights those whose order chapter 14 tells.
SYSTEMS = ("cosine", "ddpm", "blurring")
PROTOCOL = {"count": 2048, "samples": 1024, "split": "train"}


def resplits(count: int = 20) -> list[float]:
    """Frechet distances of digits split at random, into parts as large as the two splits."""
    parts = [data.load("digits", 16, split=split) for split in ("train", "test")]
    every, first = torch.cat(parts), len(parts[0])
    orders = [torch.randperm(len(every), generator=torch.Generator().manual_seed(seed)) for seed in range(count)]
    return [metrics.frechet(every[order[:first]], every[order[first:]]) for order in tqdm(orders, "re-splits")]


def entry(measured: object, **more: object) -> dict:
    """What is kept of one measurement: the numbers, and how they came about."""
    return {"measured": measured} | records.made_here() | more


def main() -> None:
    """Add what is missing to the file, one entry after the other."""
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}

    def keep(name: str, made: dict) -> None:
        found[name] = made
        write_atomically(FILE, json.dumps(found, indent=1) + "\n")

    if "re-splits" not in found:
        keep("re-splits", entry(resplits()))
    jobs = {f"digits-blurring-cpu, {name}": {"rule": r, "order": o, "steps": s} for name, (r, o, s) in FEW.items()}
    jobs |= {f"digits-{name}-cpu": {} for name in SYSTEMS}
    for name, walk in tqdm({k: v for k, v in jobs.items() if k not in found}.items(), "runs"):
        run, protocol = runs.load(HERE / name.partition(",")[0]), Protocol(**PROTOCOL, **walk)
        keep(name, entry(generation.of_samples(run, protocol), protocol=protocol.words(run), seed=protocol.seed))


if __name__ == "__main__":
    main()
