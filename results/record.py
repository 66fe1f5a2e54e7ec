"""Record the book's runs: train each recipe through the command line, measure it, keep what the chapters show.

    python results/record.py --profile cpu --only photos-blurring photos-ddpm

A run that is already in results/ is left alone; one that was interrupted goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from bdbook import data, metrics, plots, profiles, runs
from bdbook.__main__ import main as bdbook

HERE = Path(__file__).parent
CHAPTER_13 = tuple(
    f"{source}-{name}"
    for source in ("photos", "leaves")
    for name in ("blurring", "ddpm", "blurring-plain", "ddpm-plain")
)
KEEP_WEIGHTS = ("photos-blurring", "photos-ddpm")
WALKS = (("ancestral", 250), ("ancestral", 20), ("ddim", 20))
COUNT = 512


@dataclass(frozen=True)
class Record:
    """What to record."""

    profile: str | None = None
    only: tuple[str, ...] = field(default=CHAPTER_13)

    def run(self) -> None:
        profile = profiles.resolve(self.profile)
        for name in self.only:
            target = HERE / f"{name}-{profile}"
            if (target / "metrics.json").exists():
                print(f"{target.name}: recorded already")
                continue
            work = HERE.parent / "runs" / target.name
            if bdbook(["train", "--recipe", name, "--profile", profile, "--out", str(work), "--resume"]):
                raise SystemExit(f"{name} failed; what it reached is in {work}")
            keep(work, target, profiles.device(profile), name in KEEP_WEIGHTS)


def keep(work: Path, target: Path, device, weights: bool) -> None:
    """Measure a finished run and copy what is shown."""
    run = runs.load(work, device)
    seed = run.record["identity"]["seed"]
    images = run.images().to(device)
    held_out = data.load(run.record["data"], run.recipe.size, run.recipe.channels, 4096, "test", seed).to(device)
    ratios = {"held-out data": metrics.band_ratio(held_out, images).tolist()}
    for rule, steps in WALKS:
        samples = run.draw(COUNT, seed, rule, steps)
        ratios[f"{rule}, {steps} steps"] = metrics.band_ratio(samples, images).tolist()
        if (rule, steps) == WALKS[0]:
            runs.write_atomically(target / "samples.png", plots.png(samples[:32], columns=8))
    for name in ("record.json", "log.jsonl", *(["weights.safetensors"] if weights else [])):
        shutil.copyfile(work / name, target / name)
    # Last: its presence says that the record is whole.
    measured = {"step": run.record["step"], "count": COUNT, "band_ratio": ratios}
    runs.write_atomically(target / "metrics.json", json.dumps(measured, indent=1))
    print(target.name, ratios)


if __name__ == "__main__":
    import tyro

    tyro.cli(Record).run()
