"""python -m bdbook train | sample | evaluate | restore | sweep | doctor: the library in the same words."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from tqdm import tqdm

from bdbook import data, doctor, errors, pixels, recipes, sweep
from bdbook.evaluation import generation, metrics, restoration, tiling
from bdbook.page import recorded
from bdbook.recipes import Recipe
from bdbook.training import cost, engine, profiles, runs
from bdbook.training.engine import Engine
from bdbook.training.loop import State, train
from bdbook.training.runs import Run, write_atomically


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
    """Go on from the last checkpoint in --out."""
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
        self.of(recipes.get(self.recipe))

    def of(self, recipe: Recipe) -> None:
        """Train this recipe, of whatever name."""
        profile = profiles.resolve(self.profile)
        if self.out is None:
            replace(self, out=Path("runs") / f"{recipe.name}-{profile}").of(recipe)
            return
        given = {"batch": self.batch, "accumulate": self.accumulate}
        recipe = replace(recipe, **{key: value for key, value in given.items() if value is not None})
        if profile == "smoke":  # pictures of nothing learnt
            recipe = replace(recipe, sample_steps=recipes.SMOKE_SAMPLE_STEPS)
        steps = recipe.steps[profile] if self.steps is None else self.steps
        if min(steps, self.checkpoint_every, self.log_every) < 1:
            raise ValueError(
                f"steps was {steps}, checkpoint-every {self.checkpoint_every} and log-every {self.log_every}; "
                "expected at least 1 of each"
            )
        if runs.checkpoints(self.out) and not (self.resume or self.dry_run):
            raise ValueError(f"{self.out} already holds a run; add --resume to go on with it, or choose another --out")
        here = engine.here(profile, self.precision, self.compile)
        if self.dry_run:
            print(cost.report(cost.budget(recipe, here.device, here.autocast, steps=steps)))
            return
        name = self.data or recipe.data
        with here.main_first():
            images = data.load_pixels(name, recipe.size, recipe.channels, seed=self.seed)
        images = here.place(images)
        state, record, log = runs.resume(self.out, recipe, images, self.seed, here)
        if record is None:
            record = runs.new_record(recipe, self.seed, images, name, profile, here)
        done = state.step >= steps
        if not done:
            self._train(recipe, images, state, steps, record, log, here)
        if not here.is_main:
            return
        if state.step < steps:
            print(f"stopped at step {state.step} of {steps}; add --resume to go on")
            return
        if done:
            print(f"{self.out} already has {state.step} of {steps} steps; nothing to do")
        runs.save_weights(self.out / "weights.safetensors", state, record)
        print(f"weights: {self.out / 'weights.safetensors'}\nsample:  python -m bdbook sample --run {self.out}")

    def _train(self, recipe, images, state: State, steps: int, record: dict, log: list[dict], here: Engine) -> None:
        clock, began = runs.Clock(record), time.monotonic()
        if here.is_main:
            parameters = sum(p.numel() for p in state.net.parameters())
            on = record["device"] + (f", {here.processes} processes" if here.processes > 1 else "")
            print(f"{recipe.name}: {parameters:,} parameters, {len(images)} images, {on}, to step {steps}")
        with tqdm(total=steps, initial=state.step, unit="step", disable=None if here.is_main else True) as bar:
            losses, trained = [], train(recipe, images, state, self.seed, here)
            while state.step < steps:
                self._advance(trained)  # updates state in place
                losses.append(state.loss.mean())
                bar.update()
                checkpoint = state.step % self.checkpoint_every == 0 or state.step == steps
                if checkpoint or state.step % self.log_every == 0:
                    log.append({"step": state.step, "loss": torch.stack(losses).mean().item()})
                    losses = []
                if checkpoint:
                    if here.is_main:
                        bar.write(f"step {state.step}: loss {log[-1]['loss']:.4f}, {clock.read():.0f} s")
                        record["wall_s"] = clock.read()
                        self._save(recipe, state, record, log, here)
                    if self._time_is_up(began, here):
                        return

    def _save(self, recipe, state: State, record: dict, log: list[dict], here: Engine) -> None:
        runs.save_checkpoint(self.out, state, record, log)
        run = Run(recipe, record, state.ema_denoiser(), state.spectrum, here.device)
        write_atomically(self.out / f"samples-{state.step:08d}.png", pixels.png(run.draw(16, self.seed), 8))

    def _time_is_up(self, began: float, here: Engine) -> bool:
        if self.minutes is None:
            return False
        # All processes by the clock of the first: one that stopped alone would leave the others waiting.
        elapsed = here.gather(torch.tensor([time.monotonic() - began], device=here.device))
        return elapsed[0].item() >= 60 * self.minutes

    def _advance(self, trained: Iterator[State]) -> None:
        try:
            next(trained)
        except FloatingPointError as error:
            kept = runs.checkpoints(self.out)
            whole = f"the last checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
            raise FloatingPointError(f"{error}; {whole}") from error


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
    """2 draws the guess on from the last two answers: for few steps."""
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
        here = engine.here(profiles.resolve(self.profile), self.precision, self.compile)
        run = runs.load(self.run_folder, here)
        pictures = run.draw(self.count, self.seed, self.rule, self.steps, True, self.order, self.clip, here)
        if not here.is_main:
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
    """Of a generating run: 2 draws the guess on from the last two answers."""
    bits: bool = False
    """Of a generating run: bits per dimension too, a bound."""
    precision: str | None = None
    """fp32 or bf16, of the network alone; default: bf16 on a GPU that has it, else fp32."""
    compile: bool = False
    """Run the network through torch.compile, on a GPU as CUDA graphs."""

    def run(self) -> None:
        here = engine.here(profiles.resolve(self.profile), self.precision, self.compile)
        run = runs.load(self.run_folder, here)
        told = self._restorer(run, here) if not run.denoiser.process.noisy else self._generator(run, here)
        if here.is_main:
            print(told)

    def _restorer(self, run: Run, here: Engine) -> str:
        protocol = restoration.Protocol(self.count, self.split, self.steps, self.seed)
        return f"{protocol}\n{restoration.table(restoration.evaluate(run, protocol, here))}"

    def _generator(self, run: Run, here: Engine) -> str:
        protocol = generation.Protocol(
            count=self.count,
            samples=self.samples,
            split=self.split,
            rule=self.rule,
            steps=self.steps,
            order=self.order,
            seed=self.seed,
        )
        told = f"{protocol.words(run)}\n{generation.table(generation.compare(run, protocol, here, progress=True))}"
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
    run_folder: Annotated[Path, tyro.conf.arg(name="run", aliases=["-r"])] = recorded.RESULTS / "photos-sharpen-cpu"
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
        run = runs.load(self.run_folder, engine.here(profiles.resolve(self.profile)))
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
class Doctor:
    """Say what is installed, what is missing and how to get it."""

    def run(self) -> None:
        print(doctor.report())


COMMANDS = {
    "train": Train,
    "sample": Sample,
    "evaluate": Evaluate,
    "restore": Restore,
    "sweep": Sweep,
    "doctor": Doctor,
}


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        print(f"bdbook: {errors.unknown('command', arguments[0], COMMANDS)}", file=sys.stderr)
        return 2
    command = tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="python -m bdbook", args=arguments)
    try:
        command.run()
    except (ValueError, OSError, FloatingPointError, ModuleNotFoundError) as error:
        print(f"bdbook: {error}", file=sys.stderr)
        return 2
    finally:
        engine.leave()
    return 0
