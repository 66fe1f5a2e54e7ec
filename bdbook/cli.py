"""The command `bdbook`, also python -m bdbook: the library in the same words."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from bdbook import __version__, data, doctor, errors, pixels, recipes, sweep, training
from bdbook.evaluation import generation, metrics, restoration, tiling
from bdbook.files import write_atomically
from bdbook.page import recorded
from bdbook.training import cost, engine, profiles, runs
from bdbook.training.engine import Engine
from bdbook.training.runs import Run


@dataclass(frozen=True)
class Train:
    """Train a recipe into a run folder."""

    out: Path | None = None
    """Run folder to write; default: runs/RECIPE-PROFILE."""
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
    log_every: int = 50
    """Steps whose mean loss makes a line of the log."""
    seed: int = 0
    """Decides everything that is random."""
    resume: bool = False
    """Go on from the last checkpoint in --out, if there is one."""
    precision: str | None = None
    """fp32 or bf16, of the network alone; default: bf16 on a GPU that has it, else fp32."""
    accumulate: int | None = None
    """Parts in which a process takes its share of a batch, where all at once would not fit; default: the recipe's."""
    compile: bool = False
    """Run the network through torch.compile."""
    minutes: float | None = None
    """Stop at the first checkpoint after so many minutes; --resume goes on."""
    dry_run: bool = False
    """Print parameters, memory, FLOPs and the time it would take on this device, and stop."""

    def run(self) -> None:
        profile, recipe = profiles.resolve(self.profile), recipes.get(self.recipe)
        where = engine.current_engine(profile, self.precision, self.compile)
        asked = {"batch": self.batch, "accumulate": self.accumulate}
        changes: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
        if self.dry_run:
            recipe = replace(recipe, **changes)
            steps = recipe.steps[profile] if self.steps is None else self.steps
            print(cost.report(cost.budget(recipe, where.device, where.autocast, steps=steps)))
            return
        training.fit(
            recipe,
            self.data,
            self.out,
            seed=self.seed,
            steps=self.steps,
            profile=profile,
            engine=where,
            checkpoint_every=self.checkpoint_every,
            log_every=self.log_every,
            minutes=self.minutes,
            resume=self.resume,
            tell=print,
            **changes,
        )


@dataclass(frozen=True)
class Sample:
    """Draw images from a trained run and write a grid of them."""

    run_folder: Annotated[Path, tyro.conf.arg(name="run", aliases=["-r"])]
    """Run folder, or a weights file."""
    rule: str | None = None
    """ancestral, ddim, momentum, ihdm, tacos, naive; default: the recipe's."""
    steps: int | None = None
    """Sampling steps; default: the recipe's."""
    order: int = 1
    """2 extrapolates the guess from the last two answers: for few steps."""
    clip: bool = False
    """Clamp the guess, degraded as far as the step goes, to the range of images."""
    count: int = 64
    """Images to draw."""
    seed: int = 0
    """Decides the noise."""
    profile: str | None = None
    """cpu or gpu: where to run."""
    precision: str | None = None
    """fp32 or bf16, of the network alone; default: bf16 on a GPU that has it, else fp32."""
    compile: bool = False
    """Run the network through torch.compile, on a GPU as CUDA graphs."""
    out: Path | None = None
    """PNG to write; default: samples.png beside the weights."""

    def run(self) -> None:
        if self.count < 1:
            raise ValueError(f"count was {self.count}; expected at least 1 image")
        where = engine.current_engine(profiles.resolve(self.profile), self.precision, self.compile)
        run = runs.load(self.run_folder, where)
        pictures = run.draw(self.count, self.seed, self.rule, self.steps, True, self.order, self.clip, where)
        if not where.is_main:
            return
        folder = self.run_folder if self.run_folder.is_dir() else self.run_folder.parent
        out = self.out or folder / "samples.png"
        write_atomically(out, pixels.png(pictures))
        print(out)


@dataclass(frozen=True)
class Evaluate:
    """Compare with test images: restorations of a restorer's run, samples of a generating one."""

    run_folder: Annotated[Path, tyro.conf.arg(name="run", aliases=["-r"])]
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
    samples: int | None = None
    """Of a generating run: how many to draw; default: as many as images, which may be too few to tell."""
    rule: str | None = None
    """Of a generating run: ancestral, ddim, momentum, ihdm; default: the recipe's."""
    order: int = 1
    """Of a generating run: 2 extrapolates the guess from the last two answers."""
    bits: bool = False
    """Of a generating run: bits per dimension too, a bound."""
    precision: str | None = None
    """fp32 or bf16, of the network alone; default: bf16 on a GPU that has it, else fp32."""
    compile: bool = False
    """Run the network through torch.compile, on a GPU as CUDA graphs."""

    def run(self) -> None:
        where = engine.current_engine(profiles.resolve(self.profile), self.precision, self.compile)
        run = runs.load(self.run_folder, where)
        told = self._restorer(run, where) if not run.denoiser.process.noisy else self._generator(run, where)
        if where.is_main:
            print(told)

    def _restorer(self, run: Run, where: Engine) -> str:
        protocol = restoration.Protocol(self.count, self.split, self.steps, self.seed)
        return f"{protocol}\n{restoration.table(restoration.evaluate(run, protocol, where))}"

    def _generator(self, run: Run, where: Engine) -> str:
        protocol = generation.Protocol(
            count=self.count,
            samples=self.samples,
            split=self.split,
            rule=self.rule,
            steps=self.steps,
            order=self.order,
            seed=self.seed,
        )
        told = f"{protocol.words(run)}\n{generation.table(generation.compare(run, protocol, where, progress=True))}"
        if not self.bits:
            return told
        truth = restoration.held_out(run, restoration.Protocol(self.count, self.split))
        bound = generation.bits(run, truth, seed=self.seed)
        return f"{told}\nbits per dimension, at most: {bound.mean:.3f} +- {bound.standard_error:.3f}"


@dataclass(frozen=True)
class Restore:
    """Restore your own pictures: before, one restoration, and TACoS side by side."""

    image: Path
    """A picture, or a folder of pictures."""
    run_folder: Annotated[Path | None, tyro.conf.arg(name="run", aliases=["-r"])] = None
    """Run folder of a restorer, or its weights file; default: the recorded photos-sharpen."""
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
        weights = self.run_folder or recorded.folder_of("photos-sharpen")
        run = runs.load(weights, engine.current_engine(profiles.resolve(self.profile)))
        tiling.require_degradation(run, self.degradation)
        files = data.image_files(self.image) if self.image.is_dir() else [self.image]
        folder = self.out or (self.image if self.image.is_dir() else self.image.parent) / "restored"
        for file in files:
            self._one(run, file, folder)

    def _one(self, run: Run, file: Path, folder: Path) -> None:
        picture = tiling.read_picture(file)
        done = tiling.restore(run, picture, self.severity, self.steps, self.degrade, self.seed, progress=True)
        print(f"{file.name}: {picture.shape[2]}x{picture.shape[1]}, restored {done.how}")
        if self.degrade:
            truth = done.ways["truth"][None]
            for name in ("degraded", "direct", "tacos"):
                m = metrics.fidelity(done.ways[name][None], truth)
                print(f"  {name:9} PSNR {m['psnr']:.2f} dB, SSIM {m['ssim']:.3f}")
        for name in ("direct", "tacos"):
            write_atomically(folder / f"{file.stem}-{name}.png", pixels.png(done.ways[name][None], 1, enlarge=1))
        compared = folder / f"{file.stem}-compared.png"
        pictures = tiling.side_by_side(done)
        write_atomically(compared, pixels.png(pictures, len(pictures), enlarge=1, gap=6))
        print(f"  {compared}")


@dataclass(frozen=True)
class Sweep:
    """Train and evaluate, or execute a chapter, at every point of a grid, on this machine or a Ray cluster."""

    grid: tyro.conf.Positional[Path]
    """YAML file: a recipe or chapter, and what varies; results/grids has examples."""
    address: str | None = None
    """A Ray cluster, HOST:PORT, or auto for the one this machine belongs to; default: this machine alone."""
    out: Path | None = None
    """Folder to write to, which all machines see; default: sweeps/GRID."""
    cpus: int = 1
    """CPU cores that each point takes."""
    gpus: float | None = None
    """GPUs that each point takes, 0.5 for two on one; default: 1 under profile gpu, else none."""
    retries: int = 3
    """How often a point is taken up again whose machine or process was lost."""

    def run(self) -> None:
        points = sweep.read(self.grid)
        out = self.out or Path("sweeps") / self.grid.stem
        rows = sweep.run(points, out, self.address, self.cpus, self.gpus, self.retries)
        print(f"{sweep.table(rows, points[0].varied)}\nall of it: {out / 'table.csv'}")
        failed = [row for row in rows if row["state"] != sweep.DONE]
        if failed:
            raise ValueError(f"{len(failed)} of {len(rows)} points failed; the same command tries them again")


@dataclass(frozen=True)
class Recipes:
    """List the recipes in groups: images, parameters, and about how long a training would take here."""

    containing: tyro.conf.Positional[str] = ""
    """Only those whose name has this in it."""
    profile: str | None = None
    """smoke, cpu or gpu: whose steps, and where; default: BDBOOK_PROFILE, else what the machine has."""

    def run(self) -> None:
        profile = profiles.resolve(self.profile)
        print(cost.listing(self.containing, profile, engine.current_engine(profile)))


@dataclass(frozen=True)
class Doctor:
    """Say what is installed, what is missing and how to get it."""

    def run(self) -> None:
        print(doctor.report())


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": Train,
    "sample": Sample,
    "evaluate": Evaluate,
    "restore": Restore,
    "sweep": Sweep,
    "recipes": Recipes,
    "doctor": Doctor,
}


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        print(f"bdbook {__version__}")
        return 0
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        print(f"bdbook: {errors.unknown('command', arguments[0], COMMANDS)}", file=sys.stderr)
        return 2
    command = tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="bdbook", args=arguments)
    try:
        command.run()
    except (ValueError, OSError, FloatingPointError, ModuleNotFoundError) as error:
        print(f"bdbook: {error}", file=sys.stderr)
        return 2
    finally:
        engine.shutdown()
    return 0
