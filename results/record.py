"""Record the book's runs: train each recipe through the command line, measure it, keep what the chapters show.

    python results/record.py --profile cpu --only photos-blurring digits-deblur@1

A name may end in @seed. A run that is already in results/ is left alone; one that was interrupted goes on from its
last checkpoint.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from bdbook import data, evaluate, metrics, plots, profiles, runs
from bdbook.__main__ import main as bdbook

HERE = Path(__file__).parent
CHAPTER_13 = tuple(
    f"{source}-{name}"
    for source in ("photos", "leaves")
    for name in ("blurring", "ddpm", "blurring-plain", "ddpm-plain")
)
SEEDS = ("", "@1", "@2")
CHAPTERS_8_TO_10 = (
    *(f"{source}-deblur{seed}" for seed in SEEDS for source in ("digits", "photos")),
    "photos-inpaint",
    "photos-superres",
    "photos-recolour",
    "photos-desnow",
    "digits-from-mean",
    "digits-fixed-noise",
    "digits-from-colour",
    "digits-from-leaves",
    "photos-sharpen",
)
GENERATE = ("from-mean", "fixed-noise", "from-colour", "from-leaves", "superres")
KEEP_WEIGHTS = ("photos-blurring", "photos-ddpm", "photos-sharpen")
WALKS = (("ancestral", 250), ("ancestral", 20), ("ddim", 20))
COUNT = 512
SHOWN = 10


@dataclass(frozen=True)
class Record:
    """What to record."""

    profile: str | None = None
    only: tuple[str, ...] = field(default=CHAPTER_13 + CHAPTERS_8_TO_10)

    def run(self) -> None:
        profile = profiles.resolve(self.profile)
        for asked in self.only:
            name, _, seed = asked.partition("@")
            target = HERE / f"{name}-{profile}{f'-seed{seed}' if seed else ''}"
            if (target / "metrics.json").exists():
                print(f"{target.name}: recorded already")
                continue
            work = HERE.parent / "runs" / target.name
            train = ["train", "--recipe", name, "--profile", profile, "--out", str(work), "--seed", seed or "0"]
            if bdbook([*train, "--resume"]):
                raise SystemExit(f"{name} failed; what it reached is in {work}")
            keep(work, target, profiles.device(profile), name in KEEP_WEIGHTS)


def keep(work: Path, target: Path, device, weights: bool) -> None:
    """Measure a finished run and copy what is shown."""
    run = runs.load(work, device)
    measured = restored(run, target) if run.recipe.is_cold else sampled(run, target)
    for name in ("record.json", "log.jsonl", *(["weights.safetensors"] if weights else [])):
        shutil.copyfile(work / name, target / name)
    # Last: its presence says that the record is whole.
    runs.write_atomically(target / "metrics.json", json.dumps({"step": run.record["step"], **measured}, indent=1))
    print(target.name, json.dumps(measured))


def sampled(run: runs.Run, target: Path) -> dict:
    """Variance of samples over that of data, by band, for each walk; the first walk's pictures."""
    seed = run.record["identity"]["seed"]
    images = run.images().to(run.device)
    held_out = data.load(run.record["data"], run.recipe.size, run.recipe.channels, 4096, "test", seed).to(run.device)
    ratios = {"held-out data": metrics.band_ratio(held_out, images).tolist()}
    for rule, steps in WALKS:
        samples = run.draw(COUNT, seed, rule, steps)
        ratios[f"{rule}, {steps} steps"] = metrics.band_ratio(samples, images).tolist()
        if (rule, steps) == WALKS[0]:
            runs.write_atomically(target / "samples.png", plots.png(samples[:32], columns=8))
    return {"count": COUNT, "band_ratio": ratios}


def restored(run: runs.Run, target: Path) -> dict:
    """The tables of cold diffusion, and pictures: a row a way, a column an image."""
    protocol = evaluate.Protocol()
    truth = evaluate.held_out(run, protocol)
    ways = evaluate.restored_images(run, truth, protocol)
    rows = {"truth": truth, **ways}
    pictures = torch.cat([images[:SHOWN].cpu() for images in rows.values()])
    runs.write_atomically(target / "restored.png", plots.png(pictures, columns=SHOWN))
    measured = {
        "protocol": {**asdict(protocol), "count": len(truth), "in words": str(protocol)},
        "restoration": {name: evaluate.measures(images, truth) for name, images in ways.items()},
        "rows": list(rows),
    }
    if any(run.recipe.name.endswith(name) for name in GENERATE):
        made = evaluate.generations(run, len(truth))
        measured["generation"] = {name: evaluate.novelty(images, truth) for name, images in made.items()}
        measured["generation_rows"] = list(made)
        pictures = torch.cat([images[:SHOWN].cpu() for images in made.values()])
        runs.write_atomically(target / "generated.png", plots.png(pictures, columns=SHOWN))
    return measured


if __name__ == "__main__":
    import tyro

    tyro.cli(Record).run()
