"""bdbook sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from bdbook import __version__, samplers
from bdbook.cli import targets
from bdbook.cli.telling import tell
from bdbook.evaluation import checks, generation
from bdbook.training import engine, profiles, runs
from bdbook.training.runs import Run
from bdbook.transforms import lengths


@dataclass(frozen=True)
class Sample:
    """Draw images from a trained run and write them: a grid, an array, or a folder of pictures.

    Series and volumes become an array, and series that are sounds, if asked for, one sound.
    """

    run_folder: Annotated[Path, tyro.conf.arg(name="run", aliases=["-r"])]
    """Run folder, or a weights file."""
    rule: str | None = None
    """ancestral, ddim, momentum, ihdm for a run with noise, tacos, naive for one without; default: the recipe's."""
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
    out: str | None = None
    """What to write: NAME.png (or .jpg, .webp, ...) a grid, NAME.npz an array for evaluators, NAME/ a folder of single
    pictures; default: samples.png beside the weights, or the next name that is free. Of series and volumes NAME.npy, an
    array of float32; of series whose samples a second the run knows NAME.wav, one after the other."""
    overwrite: bool = False
    """Write over what --out names."""

    def run(self) -> None:
        if self.count < 1:
            raise ValueError(f"count was {self.count}; expected at least 1 image")
        checks.at_least_one(steps=self.steps)
        samplers.check_order(self.order)
        folder = self.run_folder if self.run_folder.is_dir() else self.run_folder.parent
        where = engine.current_engine(profiles.resolve(self.profile), self.precision, self.compile)
        run = runs.load(self.run_folder, where)
        recipe, process = run.recipe, run.denoiser.process
        shape = recipe.channels, *lengths(recipe.size)
        out = targets.target(self.out, folder, self.overwrite, len(shape) - 1, run.record.get("rate"))
        generation.check_rule(recipe, process, self.rule)
        out.check(self.count, shape)
        passing = targets.Passing.of(where, out.add)
        run.draw(self.count, self.seed, self.rule, self.steps, True, self.order, self.clip, passing)
        if not where.is_main:
            return
        out.finish(self._told(run))
        tell(out.path)

    def _told(self, run: Run) -> dict[str, Any]:
        """How the images were made."""
        steps = run.recipe.sample_steps if self.steps is None else self.steps
        return {
            "run": str(self.run_folder),
            "recipe": run.recipe.name,
            "step": run.record["step"],
            "rule": self.rule or run.recipe.rule,
            "steps": len(run.denoiser.process.times(steps)) - 1,
            "order": self.order,
            "clip": self.clip,
            "seed": self.seed,
            "count": self.count,
            "version": __version__,
        }
