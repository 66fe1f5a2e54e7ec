"""bdbook evaluate."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from torch import Tensor

from bdbook import spectra
from bdbook.cli.telling import tell
from bdbook.evaluation import checks, fair, generation, restoration, values
from bdbook.recipes import Recipe
from bdbook.training import engine, profiles, runs
from bdbook.training.engine import Engine
from bdbook.training.runs import Run
from bdbook.transforms import lengths


@dataclass(frozen=True)
class Evaluate:
    """Compare with test images: restorations of a restorer's run, samples of a generating one."""

    run_folder: Annotated[Path, tyro.conf.arg(name="run", aliases=["-r"])]
    """Run folder, or a weights file."""
    count: int = 1024
    """Images, or all there are; the table says how many these were. Of a generating run on fashion, photos or leaves:
    samples, where --samples does not say how many; the images are 10,000 each."""
    split: str = "test"
    """train or test; a generating run on fashion, photos or leaves is compared with both unless this is train."""
    data: str | None = None
    """Compare with these images: a data set's name or a folder; default: what the run was trained on. Series and
    volumes: a file, .npy, .npz or .safetensors (N, C, *axes), or a folder of sounds."""
    training: str | None = None
    """Of series and volumes: the file that was trained on, for how near samples come to it."""
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
        # Before anything is loaded, so that a number that makes no sense is told at once.
        restorer, generator = self._restorers(), self._generators()
        where = engine.current_engine(profiles.resolve(self.profile), self.precision, self.compile)
        run = runs.load(self.run_folder, where)
        with checks.doubts() as doubts:
            if len(lengths(run.recipe.size)) != 2:
                told = self._values(run, generator, where)
            elif self.training is not None:
                raise ValueError(f"--training: of series and volumes; {run.recipe.name} draws pictures, leave it out")
            elif run.denoiser.process.noisy:
                told = self._generator(run, generator, where)
            else:
                told = self._restorer(run, restorer, where)
        if where.is_main:
            tell("\n".join([told, *(f"note: {doubt}" for doubt in doubts)]))

    def _restorers(self) -> restoration.Protocol:
        return restoration.Protocol(self.count, self.split, self.steps, self.seed, self.data)

    def _generators(self) -> generation.Protocol:
        return generation.Protocol(
            count=self.count,
            samples=self.samples,
            split=self.split,
            rule=self.rule,
            steps=self.steps,
            order=self.order,
            seed=self.seed,
            data=self.data,
        )

    def _restorer(self, run: Run, protocol: restoration.Protocol, where: Engine) -> str:
        given = {"--samples": self.samples, "--rule": self.rule, "--order": self.order != 1, "--bits": self.bits}
        unfit = [name for name, value in given.items() if value]
        if unfit:
            raise ValueError(f"{', '.join(unfit)}: of generating runs, but {run.recipe.name} restores; leave it out")
        return f"{protocol}\n{restoration.table(restoration.evaluate(run, protocol, where))}"

    def _values(self, run: Run, protocol: generation.Protocol, where: Engine) -> str:
        """Of a run that draws series or volumes."""
        recipe = run.recipe
        if not run.denoiser.process.noisy:
            raise ValueError(f"{recipe.name} restores, and restorations are measured of pictures alone")
        if self.data is None:
            raise ValueError(
                f"{recipe.name} was trained on an array, of which nothing was held out; say what to compare with: "
                "--data FILE.npy"
            )
        data = _array(recipe, self.data, 2 * self.count)
        training = None if self.training is None else _array(recipe, self.training)
        told = values.table(values.compare(run, data, protocol, training, where, progress=True))
        bound = f"\n{self._bits(run, data[: self.count])}" if self.bits else ""
        return f"{values.words(run, protocol, self.data)}\n{told}{bound}"

    def _generator(self, run: Run, protocol: generation.Protocol, where: Engine) -> str:
        if generation.is_fair(run, protocol):
            table = fair.table(generation.fairly(run, protocol, where, progress=True))
            told = f"{protocol.fair_words(run)}\n{table}"
        else:
            told = f"{protocol.words(run)}\n{generation.table(generation.compare(run, protocol, where, progress=True))}"
        if not self.bits:
            return told
        truth = restoration.held_out(run, restoration.Protocol(self.count, self.split, data=self.data))
        return f"{told}\n{self._bits(run, truth)}"

    def _bits(self, run: Run, truth: Tensor) -> str:
        try:
            bound = generation.bits(run, truth, seed=self.seed)
        except ValueError as error:  # a process without a bound should not cost the table
            return f"bits per dimension: none, {error}"
        return f"bits per dimension, at most: {generation.bits_in_words(bound)}"


def _array(recipe: Recipe, path: str, limit: int | None = None) -> Tensor:
    """Series or volumes of a recipe's shape from a file or a folder of sounds, (N, C, *axes) float32.

    At most so many, spread evenly. An array may leave out the axis of a single channel.
    """
    sides = lengths(recipe.size)
    ways = [f"NC{'X' * len(sides)}", *([f"N{'X' * len(sides)}"] if recipe.channels == 1 else [])]
    reasons = []
    for way in ways if Path(path).suffix.lower() != ".wav" and not Path(path).is_dir() else [None]:
        try:
            found = spectra.samples(path, way, sides, limit=sys.maxsize if limit is None else limit)
        except ValueError as error:
            reasons.append(str(error))
            continue
        if found.shape[0] == recipe.channels and not (found.cut and way):
            return torch.from_numpy(np.concatenate(list(found.batches()))).float()
    expected = f"expected samples of {(recipe.channels, *sides)}, (channels, *axes) of {recipe.name}, in {path}"
    raise ValueError(f"{expected}; {'; '.join(reasons) or 'its samples have others'}")
