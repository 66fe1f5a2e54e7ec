"""bdbook sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bdbook import pixels
from bdbook.files import write_atomically
from bdbook.training import engine, profiles, runs


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
