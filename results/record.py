"""Record the book's runs: train each recipe, measure it, keep what the chapters show.

    python results/record.py --profile cpu --only photos-blurring digits-deblur@1 --minutes 10

A name may end in @seed, and before that in -32px: the recipe for images of that size. A run that is already in
results/ is left alone; one that was interrupted goes on from its last checkpoint. With --minutes it stops at a
checkpoint after so long; the same command goes on. Two cores may share the work as two processes, each with half of
the names.

    python results/record.py --films

draws the films of recorded runs, and what the figures of the first page and the live sampler open with, again from
their stored weights; it trains nothing.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save

from bdbook import data, files, pixels, recipes, samplers, training
from bdbook.evaluation import generation, metrics, restoration
from bdbook.page import live, opening, recorded, walks
from bdbook.page.widgets.sampler import complete
from bdbook.training import checkpoints, engine, profiles, runs
from bdbook.training.loop import generator_for

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
    *(f"digits-from-mean{end}{seed}" for seed in SEEDS for end in ("", "-plain")),
    "digits-fixed-noise",
    "digits-from-colour",
    "digits-from-leaves",
    "photos-sharpen",
)
# On pictures that have fine detail: every system, three seeds; then one thing changed at a time.
CLOTHED = ("ddpm", "cosine", "heat", "blurring", "blur", "soft", "equal-snr", "from-mean")
FASHION = tuple(f"fashion-{name}{end}{seed}" for seed in SEEDS for end in ("", "-plain") for name in CLOTHED)
FASHION_ABLATIONS = (
    *(f"fashion-blurring-{width}px{end}" for end in ("", "-plain") for width in ("0.5", "10")),
    "fashion-blurring-2.5px",
    *(f"fashion-blurring-sin-{width}px" for width in ("0.5", "2.5", "5", "10")),
    *("fashion-equal-snr-coarse", "fashion-equal-snr-fine", "fashion-blur-fine", "fashion-blur-log"),
    *(f"fashion-{parent}-{says}" for says in ("x0", "v", "step-mean") for parent in ("cosine", "blurring")),
    *(f"fashion-{parent}-{how}" for how in ("bound", "frequencies") for parent in ("cosine", "blurring")),
    "fashion-blurring-dmin-0.1",
    *(f"fashion-deblur{end}{seed}" for seed in SEEDS for end in ("", "-plain")),
    *("fashion-inpaint", "fashion-inpaint-plain", "fashion-superres", "fashion-superres-plain"),
)
EVERY = CHAPTER_13 + CHAPTERS_8_TO_10 + FASHION + FASHION_ABLATIONS
GENERATE = ("from-mean", "fixed-noise", "from-colour", "from-leaves", "superres")
FILMED = tuple(f"fashion-{name}" for name in CLOTHED)
# The page samples from these (bdbook.page.live), and readers restore with one.
KEEP_WEIGHTS = ("photos-blurring", "photos-ddpm", "photos-sharpen", *live.SYSTEMS)
# Runs whose weights are kept in half precision, and measured as they are kept.
LIGHT = "fashion-"
WEIGHTS, HALVED = "weights.safetensors", "weights-half.safetensors"
# Runs whose quality is measured on the way as well, at these parts of it: does more blur converge later?
WATCHED = (
    *(f"fashion-{name}{end}" for name in ("cosine", "blurring") for end in ("", "-plain", "-x0", "-v")),
    *("fashion-blurring-0.5px-plain", "fashion-blurring-10px-plain", "fashion-blurring-10px"),
)
MILESTONES = (1 / 6, 1 / 3, 2 / 3)
BAND_WALKS = (("ancestral", 250), ("ancestral", 20), ("ddim", 20))
SHOWN = 10
FILM_PICTURES, FILM_FRAMES = 9, 31


@dataclass(frozen=True)
class Scale:
    """How much is measured: test images, samples, and steps of each where a system lets one choose."""

    count: int = 512
    samples: int = 1024
    steps: int = 100


SCALES = {"smoke": Scale(40, 48, 3), "cpu": Scale(), "gpu": Scale()}


@dataclass(frozen=True)
class Record:
    """What to record."""

    profile: str | None = None
    """smoke, cpu or gpu; default: BDBOOK_PROFILE, else what the machine has."""
    only: tuple[str, ...] = EVERY
    minutes: float | None = None
    """Stop after about so long; the same command goes on."""
    results: Path = HERE
    """Where to keep the records."""
    runs: Path = HERE.parent / "runs"
    """Where to train."""
    films: bool = False
    """Only draw the films of recorded runs, and what the live sampler opens with, again from their stored weights."""

    def run(self) -> None:
        profile, began = profiles.resolve(self.profile), time.monotonic()
        if self.films:
            for name in [name for name in FILMED if name in self.only]:
                target = recorded.read(name, profile, results=self.results).folder
                run = runs.load(target / WEIGHTS, engine.current_engine(profile))
                keep_film(run, target, SCALES[profile])
                keep_opening(run, target)
            return
        for number, asked in enumerate(self.only):
            name, _, seed = asked.partition("@")
            target = recorded.folder_of(name, profile, int(seed or 0), self.results)
            if (target / "metrics.json").exists():
                print(f"{target.name}: recorded already")
                continue
            left = None if self.minutes is None else self.minutes - (time.monotonic() - began) / 60
            if left is not None and left <= 0:
                print(f"time is up; {len(self.only) - number} of {len(self.only)} left to look at: run it again")
                return
            work = self.runs / target.name
            if trained(name, seed or "0", profile, work, left):
                keep(work, target, engine.current_engine(profile), name, SCALES[profile])


def trained(name: str, seed: str, profile: str, work: Path, minutes: float | None) -> bool:
    """Train as far as time allows; whether it came to the end."""
    recipe = recipe_of(name)
    for step in [*milestones(name, seed, profile), recipe.steps[profile]]:
        kept = milestone(work, step)
        if kept.exists():
            continue
        run = training.fit(
            recipe, folder=work, seed=int(seed), steps=step, profile=profile, minutes=minutes, resume=None, tell=print
        )
        if run.record["step"] < step:
            return False
        if step < recipe.steps[profile]:
            kept.parent.mkdir(exist_ok=True)
            shutil.copyfile(work / WEIGHTS, kept)
    return True


def recipe_of(name: str) -> recipes.Recipe:
    """The recipe of a name that may end in a size: fashion-cosine-32px."""
    stem, _, end = name.rpartition("-")
    if name in recipes.RECIPES or not end.removesuffix("px").isdecimal():
        return recipes.get(name)
    return recipes.get(stem).resized(int(end.removesuffix("px")))


def milestones(name: str, seed: str, profile: str) -> list[int]:
    """Steps of a watched training, of the first seed, at which it is measured too."""
    steps = recipe_of(name).steps[profile]
    return [round(part * steps) for part in MILESTONES] if name in WATCHED and seed == "0" else []


def milestone(work: Path, step: int) -> Path:
    """Where the weights of a step are kept."""
    return work / "milestones" / f"step-{step:08d}.safetensors"


def keep(work: Path, target: Path, here: engine.Engine, name: str, scale: Scale) -> None:
    """Measure a finished run and copy what is shown."""
    weights = work / (HALVED if name.startswith(LIGHT) else WEIGHTS)
    if name.startswith(LIGHT):
        checkpoints.save_halved(weights, work / WEIGHTS)
    run = runs.load(weights, here)
    generates = not run.recipe.is_cold or "-from-mean" in name
    measured = restored(run, target) if run.recipe.is_cold else {}
    if generates:
        measured |= sampled(run, target, scale)
    if name in CHAPTER_13:
        measured |= bands(run, scale)
    seed, profile = str(run.record["identity"]["seed"]), run.record["profile"]
    if name in FILMED and seed == "0":
        keep_film(run, target, scale)
    stages = [runs.load(milestone(work, step), here) for step in milestones(name, seed, profile)]
    if stages:
        measured["on_the_way"] = {
            str(stage.record["step"]): quality(stage, protocol(stage, scale))["samples"] for stage in stages
        }
    for file in ("record.json", "log.jsonl"):
        shutil.copyfile(work / file, target / file)
    if name in KEEP_WEIGHTS and seed == "0":
        shutil.copyfile(weights, target / WEIGHTS)
        if name.startswith(LIGHT) and run.denoiser.process.start.kind in ("images", "mixture"):
            # The page is made where these pictures may not be.
            centres, spread = walks.start(run)
            files.write_atomically(target / live.START, save({"centres": centres, "spread": spread}))
        if name in live.SYSTEMS:
            keep_opening(run, target)
    # Last: its presence says that the record is whole.
    files.write_atomically(target / "metrics.json", json.dumps({"step": run.record["step"], **measured}, indent=1))
    print(target.name, json.dumps(measured)[:200])


def protocol(run: runs.Run, scale: Scale, **changes) -> generation.Protocol:
    """Test images as many as there are up to a count, and equal steps where a system lets one choose."""
    steps = None if run.recipe.sample_steps is None else scale.steps
    usual = {"count": scale.count, "samples": scale.samples, "steps": steps, "seed": run.record["identity"]["seed"]}
    return generation.Protocol(**usual | changes)


def sampled(run: runs.Run, target: Path, scale: Scale) -> dict:
    """Samples against test images, bits per dimension where there is a bound, pictures."""
    asked = protocol(run, scale)
    truth = restoration.held_out(run, restoration.Protocol(scale.count))
    files.write_atomically(target / "samples.png", pixels.png(generation.samples(run, 64, asked)[:32], columns=8))
    words = asked.fair_words(run) if generation.is_fair(run, asked) else asked.words(run)
    measured = {"sample_protocol": words, "count": len(truth), "quality": quality(run, asked)}
    try:
        bound = generation.bits(run, truth)
    except ValueError as error:
        return measured | {"bits": None, "no bits": str(error)}
    return measured | {"bits": {"mean": bound.mean, "standard_error": bound.standard_error}}


def quality(run: runs.Run, asked: generation.Protocol) -> dict:
    """The measures of samples, and beside them those of real images."""
    return (generation.fairly if generation.is_fair(run, asked) else generation.compare)(run, asked)


def keep_film(run: runs.Run, target: Path, scale: Scale) -> None:
    """film.png: a row a picture, a column a time, from t = 1 at the left to 0, 8-bit grey, nothing between them."""
    states = walked(run, FILM_PICTURES, protocol(run, scale).steps)
    columns = torch.linspace(0, len(states) - 1, FILM_FRAMES).round().long()
    picked = torch.stack([states[column] for column in columns], dim=1).flatten(0, 1)
    files.write_atomically(target / "film.png", pixels.png(picked, columns=FILM_FRAMES, enlarge=1, gap=0))


def keep_opening(run: runs.Run, target: Path) -> None:
    """What the figures show of the system before a reader draws.

    opening.safetensors of the live sampler; there_and_back.png of the first page, a column a time, 8-bit grey: the
    first picture of the test set, destroyed and walked back.
    """
    told, setting = walks.walk(run, live.begin(target)), complete({"recipe": run.recipe.name})
    files.write_atomically(target / opening.FILE, opening.record(run, told, setting, 0))
    picture = data.load(run.recipe.data, run.recipe.size, count=1, split="test")
    both = opening.there_and_back(run, picture)
    files.write_atomically(target / opening.BOTH_WAYS, pixels.png(both, columns=len(both), enlarge=1, gap=0))


def walked(run: runs.Run, count: int, steps: int | None) -> list[torch.Tensor]:
    """All that the recipe's own sampler passes through, from t = 1 on; it ends in `run.draw(count, seed)`."""
    recipe, process = run.recipe, run.denoiser.process
    times = process.times(recipe.sample_steps if steps is None else steps)
    random = generator_for(run.record["identity"]["seed"], "samples", 0, device=run.device)
    start = recipe.build_prior(process, run.spectrum, run.images)(count, random)
    walk = samplers.sample(run.denoiser, start, times, samplers.rule(recipe.rule), random)
    return [start.cpu(), *(step.x.cpu() for step in walk)]


def bands(run: runs.Run, scale: Scale) -> dict:
    """Variance of samples over that of training data, by band, for each walk."""
    seed = run.record["identity"]["seed"]
    images = run.images()
    held_out = restoration.held_out(run, restoration.Protocol(count=4096))
    ratios = {"held-out data": metrics.band_ratio(held_out, images).tolist()}
    for rule, steps in BAND_WALKS:
        samples = run.draw(scale.count, seed, rule, steps)
        ratios[f"{rule}, {steps} steps"] = metrics.band_ratio(samples, images).tolist()
    return {"band_ratio": ratios}


def restored(run: runs.Run, target: Path) -> dict:
    """The tables of cold diffusion, and pictures: a row a way, a column an image."""
    asked = restoration.Protocol()
    truth = restoration.held_out(run, asked)
    ways = restoration.restored_images(run, truth, asked)
    rows = {"truth": truth, **ways}
    pictures = torch.cat([images[:SHOWN].cpu() for images in rows.values()])
    files.write_atomically(target / "restored.png", pixels.png(pictures, columns=SHOWN))
    measured = {
        "protocol": {**asdict(asked), "count": len(truth), "in words": str(asked)},
        "restoration": {name: restoration.measures(images, truth) for name, images in ways.items()},
        "rows": list(rows),
    }
    if any(run.recipe.name.removesuffix("-plain").endswith(name) for name in GENERATE):
        made = restoration.generations(run, len(truth))
        measured["generation"] = {name: restoration.novelty(images, truth) for name, images in made.items()}
        measured["generation_rows"] = list(made)
        pictures = torch.cat([images[:SHOWN].cpu() for images in made.values()])
        files.write_atomically(target / "generated.png", pixels.png(pictures, columns=SHOWN))
    return measured


if __name__ == "__main__":
    import tyro

    tyro.cli(Record).run()
