"""Few calls of the recorded Fashion-MNIST networks: DDIM and the flow rule, of both orders, and the papers' many steps.

    python results/laboratory/fashion_few_calls.py --only fashion-cosine fashion-blurring

What is recorded is kept, so the same command goes on after a stop. Each row is COUNT pictures of one network, rule and
number of calls, from the same starts whatever the rule, measured against the training distribution (`fair.Real`) beside
the floor of as many real pictures. A network takes a quarter of an hour of a core.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import tyro
from tqdm import tqdm

from bdbook import files, samplers
from bdbook.evaluation import fair
from bdbook.page import recorded
from bdbook.training import records, runs
from bdbook.training.runs import Run

FILE = Path(__file__).with_suffix(".json")
NETWORKS = tuple(f"fashion-{name}" for name in ("ddpm", "cosine", "heat", "blurring", "blur", "soft", "equal-snr"))
RULES = {"ddim": ("ddim", 1), "flow": ("flow", 1), "ddim, order 2": ("ddim", 2), "flow, order 2": ("flow", 2)}
CALLS, MANY = (5, 10, 15, 20, 50, 100), (250, 1000)
COUNT, SEED = 640, 0  # what a Fréchet distance of 64 features needs at least


def drawn(run: Run, rule: str, calls: int) -> torch.Tensor:
    """COUNT pictures by a rule of RULES, or by the recipe's own: (COUNT, 1, H, W)."""
    name, order = RULES.get(rule, (rule, 1))
    return run.draw(COUNT, SEED, run.flow() if name == "flow" else samplers.rule(name), calls, order=order)


def walks(run: Run) -> list[tuple[str, int]]:
    """(rule, calls) of all that is measured of a network; a table of steps has no more calls than steps."""
    few = [(rule, calls) for calls in CALLS for rule in RULES]
    table = run.denoiser.process.steps
    return few + [("ancestral", calls) for calls in MANY if table is None or calls <= table]


def main(only: tuple[str, ...] = NETWORKS, file: Path = FILE) -> None:
    """Measure what is missing.

    Args:
        only: Names of recorded runs with weights.
        file: Where to keep what is found; two processes at once need two.
    """
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"rows": {}, "about": {}}
    trained = {network: runs.load(recorded.folder_of(network) / "weights.safetensors") for network in only}
    asked = [(network, *walk) for network, run in trained.items() for walk in walks(run)]
    # The longest walks, half of the time, come last: a file that was stopped has few calls of every network.
    for network, rule, calls in tqdm(sorted(asked, key=lambda walk: walk[2] > min(MANY))):
        run, key = trained[network], f"{rule}, {calls}"
        rows = found["rows"].setdefault(network, {})
        if key in rows:
            continue
        measured = fair.real(run.recipe.data, run.recipe.size).measures(drawn(run, rule, calls))
        rows[key] = measured["samples"]
        found |= {"floor": measured["floor"], "count": COUNT, "seed": SEED}
        found["about"][f"{network}, {key}"] = records.made_here()
        files.write_atomically(file, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
