"""python -m bdbook train | sample | evaluate | restore | doctor: the library from the command line, same words."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from tqdm import tqdm

from bdbook import data, doctor, errors, evaluate, metrics, plots, profiles, recipes, restore, runs
from bdbook.runs import Run, write_atomically
from bdbook.train import State, train


@dataclass(frozen=True)
class Train:
    """Train a recipe into a run folder."""

    out: Path
    """Run folder to write."""
    recipe: str = "photos-blurring"
    """Recipe name, e.g. photos-blurring, leaves-ddpm, photos-ddpm-plain."""
    data: str | None = None
    """Dataset name or a folder of images, instead of the recipe's."""
    profile: str | None = None
    """smoke, cpu or gpu; default: BDBOOK_PROFILE, else what the machine has."""
    steps: int | None = None
    """Optimisation steps in all; default: the recipe's for the profile."""
    batch: int | None = None
    """Images a step; default: the recipe's."""
    checkpoint_every: int = 500
    """Steps between checkpoints (and sample grids)."""
    seed: int = 0
    """Decides everything that is random."""
    resume: bool = False
    """Go on from the last checkpoint in --out."""

    def run(self) -> None:
        profile = profiles.resolve(self.profile)
        device = profiles.device(profile)
        recipe = recipes.get(self.recipe)
        if self.batch is not None:
            recipe = replace(recipe, batch=self.batch)
        if profile == "smoke":  # pictures of nothing learnt
            recipe = replace(recipe, sample_steps=recipes.SMOKE_SAMPLE_STEPS)
        steps = recipe.steps[profile] if self.steps is None else self.steps
        if steps < 1 or self.checkpoint_every < 1 or recipe.batch < 1:
            raise ValueError(
                f"steps was {steps}, checkpoint-every {self.checkpoint_every} and batch {recipe.batch}; "
                "expected at least 1 of each"
            )
        if runs.checkpoints(self.out) and not self.resume:
            raise ValueError(f"{self.out} already holds a run; add --resume to go on with it, or choose another --out")
        name = self.data or recipe.data
        images = data.load(name, recipe.size, recipe.channels, seed=self.seed).to(device)
        state, record, log = runs.resume(self.out, recipe, images, self.seed)
        if record is None:
            record = runs.new_record(recipe, self.seed, images, name, profile)
        if state.step < steps:
            self._train(recipe, images, state, steps, record, log)
        else:
            print(f"{self.out} already has {state.step} of {steps} steps; nothing to do")
        runs.save_weights(self.out / "weights.safetensors", state, record)
        print(f"weights: {self.out / 'weights.safetensors'}\nsample:  python -m bdbook sample --run {self.out}")

    def _train(self, recipe, images, state: State, steps: int, record: dict, log: list[dict]) -> None:
        clock = runs.Clock(record)
        parameters = sum(p.numel() for p in state.net.parameters())
        print(f"{recipe.name}: {parameters:,} parameters, {len(images)} images, {record['device']}, to step {steps}")
        with tqdm(total=steps, initial=state.step, unit="step", disable=None) as bar:
            losses, trained = [], train(recipe, images, state, self.seed)
            while state.step < steps:
                next(trained)  # updates state in place
                losses.append(state.loss.mean())
                bar.update()
                if state.step % self.checkpoint_every == 0 or state.step == steps:
                    mean = torch.stack(losses).mean().item()
                    bar.write(f"step {state.step}: loss {mean:.4f}, {clock.read():.0f} s")
                    log.append({"step": state.step, "loss": mean})
                    record["wall_s"], losses = clock.read(), []
                    runs.save_checkpoint(self.out, state, record, log)
                    run = Run(recipe, record, state.ema_denoiser(), state.spectrum, images.device)
                    pictures = run.draw(16, self.seed)
                    write_atomically(self.out / f"samples-{state.step:08d}.png", plots.png(pictures, 8))


@dataclass(frozen=True)
class Sample:
    """Draw images from a trained run and write a grid of them."""

    run_folder: Annotated[Path, tyro.conf.arg(name="run")]
    """Run folder, or a weights file."""
    rule: str | None = None
    """ancestral, ddim, momentum, ihdm, tacos, naive; default: the recipe's."""
    steps: int | None = None
    """Sampling steps; default: the recipe's."""
    order: int = 1
    """2 draws the guess on from the last two answers: for few steps."""
    clip: bool = False
    """Clamp the guess, degraded as far as the step goes, to the range of images."""
    count: int = 64
    """Images to draw."""
    seed: int = 0
    """Decides the noise."""
    profile: str | None = None
    """cpu or gpu: where to run."""
    out: Path | None = None
    """PNG to write; default: samples.png beside the weights."""

    def run(self) -> None:
        device = profiles.device(profiles.resolve(self.profile))
        if self.count < 1:
            raise ValueError(f"count was {self.count}; expected at least 1 image")
        run = runs.load(self.run_folder, device)
        pictures = run.draw(self.count, self.seed, self.rule, self.steps, True, self.order, self.clip)
        folder = self.run_folder if self.run_folder.is_dir() else self.run_folder.parent
        out = self.out or folder / "samples.png"
        write_atomically(out, plots.png(pictures))
        print(out)


@dataclass(frozen=True)
class Evaluate:
    """Compare with test images: restorations of a restorer's run, samples of a generating one."""

    run_folder: Annotated[Path, tyro.conf.arg(name="run")]
    """Run folder, or a weights file."""
    count: int = 1024
    """Images, or all there are."""
    split: str = "test"
    """train or test."""
    steps: int | None = None
    """Steps; default: all of a degradation's, or the recipe's."""
    seed: int = 0
    """Decides what a degradation draws."""
    profile: str | None = None
    """cpu or gpu: where to run."""

    def run(self) -> None:
        run = runs.load(self.run_folder, profiles.device(profiles.resolve(self.profile)))
        protocol = evaluate.Protocol(self.count, self.split, self.steps, self.seed)
        if run.recipe.is_cold:
            print(f"{protocol}\n{evaluate.table(evaluate.evaluate(run, protocol))}")
            return
        rule, steps = run.recipe.rule, run.recipe.sample_steps if self.steps is None else self.steps
        print(
            f"{run.recipe.name}: as many samples ({rule}, {'all' if steps is None else steps} steps) as images of the "
            f"{self.split} split, up to {self.count}; Frechet distance of embedded digit features, images clamped and "
            f"rounded to uint8; the others on images as they are; seed {self.seed}"
        )
        print(evaluate.compare_samples(run, protocol, progress=True))


@dataclass(frozen=True)
class Restore:
    """Restore your own pictures: before, one restoration, and TACoS side by side."""

    image: Path
    """A picture, or a folder of pictures."""
    run_folder: Annotated[Path, tyro.conf.arg(name="run")] = Path("results/photos-sharpen-cpu")
    """Run folder of a restorer, or its weights file."""
    degrade: bool = False
    """The picture is clean: degrade it first, and say how close the restorations come."""
    severity: float = 1.0
    """How far it is degraded, in (0, 1]: 1 is the end of what was trained."""
    steps: int = 10
    """Steps of TACoS, at most."""
    degradation: str | None = None
    """Refuse to run unless the weights were trained for this one."""
    seed: int = 0
    """Decides what a degradation draws."""
    profile: str | None = None
    """cpu or gpu: where to run."""
    out: Path | None = None
    """Folder to write to; default: restored, beside the picture."""

    def run(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps was {self.steps}; expected at least 1")
        if not self.image.exists():
            raise ValueError(f"{self.image} does not exist; expected a picture or a folder of pictures")
        run = runs.load(self.run_folder, profiles.device(profiles.resolve(self.profile)))
        restore.require_degradation(run, self.degradation)
        files = data.image_files(self.image) if self.image.is_dir() else [self.image]
        folder = self.out or (self.image if self.image.is_dir() else self.image.parent) / "restored"
        for file in files:
            self._one(run, file, folder)

    def _one(self, run: Run, file: Path, folder: Path) -> None:
        picture = restore.read_picture(file)
        done = restore.restore(run, picture, self.severity, self.steps, self.degrade, self.seed, progress=True)
        print(f"{file.name}: {picture.shape[2]}x{picture.shape[1]}, restored {done.how}")
        if self.degrade:
            truth = done.ways["truth"][None]
            for name in ("degraded", "direct", "tacos"):
                m = metrics.fidelity(done.ways[name][None], truth)
                print(f"  {name:9} PSNR {m['psnr']:.2f} dB, SSIM {m['ssim']:.3f}")
        for name in ("direct", "tacos"):
            write_atomically(folder / f"{file.stem}-{name}.png", plots.png(done.ways[name][None], 1, enlarge=1))
        compared = folder / f"{file.stem}-compared.png"
        pictures = restore.side_by_side(done)
        write_atomically(compared, plots.png(pictures, len(pictures), enlarge=1, gap=6))
        print(f"  {compared}")


@dataclass(frozen=True)
class Doctor:
    """Say what is installed, what is missing and how to get it."""

    def run(self) -> None:
        print(doctor.report())


COMMANDS = {"train": Train, "sample": Sample, "evaluate": Evaluate, "restore": Restore, "doctor": Doctor}


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        print(f"bdbook: {errors.unknown('command', arguments[0], COMMANDS)}", file=sys.stderr)
        return 2
    command = tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="python -m bdbook", args=arguments)
    try:
        command.run()
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"bdbook: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
