"""Does blur regularise? Three systems trained on 250 to 60,000 pictures, measured along the way.

    python results/laboratory/regularise.py --only cosine blurring --counts 250 1000

HS sec. 7 say that blur regularises: a network takes longer, and may sample better where data are few. Here each
system of SYSTEMS learns from the first N pictures of Fashion-MNIST, and at each of STEPS there is measured: the loss
that is minimised, on pictures that were trained on and on test pictures, with the same times and noise; and COUNT
pictures drawn, against the training distribution and the test split, with the distance to the nearest of the N
(`fair.Real`). A training takes a quarter of an hour of a core, whatever N; it goes on where it stopped, and what is
recorded is kept.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import tyro

import bdbook
from bdbook import data, files
from bdbook.evaluation import fair, generation
from bdbook.losses import LOSSES
from bdbook.training import records
from bdbook.training.loop import generator_for
from bdbook.training.runs import Run

FILE = Path(__file__).with_suffix(".json")
FOLDER = Path(__file__).parents[2] / "runs"
SYSTEMS = ("cosine", "blurring", "equal-snr")
COUNTS = (250, 1000, 5000, 60000)
STEPS = (500, 1500, 3000, 6000)
COUNT, WALK = 512, 100
ASKED, TIMES = 250, 16


@torch.no_grad()
def losses(run: Run, images: torch.Tensor) -> dict[str, float]:
    """Mean loss over times of trained and of test pictures, ASKED of each, with equal noise; and its standard error."""
    test = data.load("fashion", run.recipe.size, count=ASKED, split="test")
    found = {}
    for name, pictures in (("trained", images[:ASKED]), ("test", test)):
        random = generator_for(0, "losses")
        each = []
        for k in range(TIMES):
            t = torch.full((len(pictures),), (k + 0.5) / TIMES, dtype=torch.float64)
            noise = torch.randn(pictures.shape, generator=random)
            each.append(LOSSES[run.recipe.loss](run.denoiser, pictures, t, noise))
        mean = torch.stack(each).mean(0)
        found |= {name: mean.mean().item(), f"{name}_error": (mean.std() / len(mean) ** 0.5).item()}
    return found


def measured(run: Run, images: torch.Tensor, real: fair.Real) -> dict:
    """All that is kept of a training at one step."""
    asked = generation.Protocol(samples=COUNT, steps=WALK)
    samples = generation.samples(run, COUNT, asked)
    found = real.trained_on(images).measures(samples)
    return {
        "loss": losses(run, images),
        "quality": found["samples"],
        "test": found["test"]["samples"],
        "floor": found["floor"],
        "test_floor": found["test"]["floor"],
        "words": asked.words(run),
        "about": records.made_here(),
    }


def main(
    only: tuple[str, ...] = SYSTEMS, counts: tuple[int, ...] = COUNTS, file: Path = FILE, runs: Path = FOLDER
) -> None:
    """Train and measure what is missing.

    Args:
        only: Systems, of SYSTEMS.
        counts: How many pictures to train on, of COUNTS.
        file: Where to keep what is found.
        runs: Where to train.
    """
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    every, real = data.load("fashion", 16), fair.real("fashion", 16)
    for count in counts:
        for system in only:
            recipe, images = bdbook.recipes.get(f"fashion-{system}"), every[:count]
            folder = runs / f"regularise-{system}-{count}"
            for step in STEPS:
                key = f"{system}, {count}, {step}"
                if key in found:
                    continue
                run = bdbook.fit(recipe, images, folder, steps=step, profile="cpu", resume=None, tell=print)
                found[key] = measured(run, images, real)
                files.write_atomically(file, json.dumps(found, indent=1) + "\n")
                print(key, json.dumps(found[key]["quality"])[:200], flush=True)


if __name__ == "__main__":
    tyro.cli(main)
