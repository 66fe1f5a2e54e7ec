"""bdbook evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bdbook.evaluation import generation, restoration
from bdbook.training import engine, profiles, runs
from bdbook.training.engine import Engine
from bdbook.training.runs import Run


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
