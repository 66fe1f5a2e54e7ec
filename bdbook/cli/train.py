"""bdbook train."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bdbook import recipes, training
from bdbook.training import cost, engine, profiles


@dataclass(frozen=True)
class Train:
    """Train a recipe into a run folder."""

    out: Path | None = None
    """Run folder to write; default: runs/RECIPE-PROFILE-seedSEED."""
    recipe: str = "photos-blurring"
    """Recipe name, e.g. photos-blurring, leaves-ddpm, photos-ddpm-plain."""
    data: str | None = None
    """Dataset name or a folder of images, instead of the recipe's; ./NAME or set:NAME where there are both."""
    size: tuple[int, ...] | None = None
    """Side of the images in pixels, or height and width; default: the recipe's."""
    channels: int | None = None
    """1 for grey, 3 for colour; default: the recipe's."""
    profile: str | None = None
    """smoke, cpu or gpu; default: BDBOOK_PROFILE, else what the machine has."""
    steps: int | None = None
    """Optimisation steps in all; default: the recipe's for the profile."""
    batch: int | None = None
    """Images a step; default: the recipe's."""
    learning_rate: float | None = None
    """Of Adam; default: the recipe's."""
    warmup: int | None = None
    """Steps over which the learning rate rises to what it is; default: the recipe's."""
    checkpoint_every: int = 500
    """Steps between checkpoints (and sample grids)."""
    log_every: int = 50
    """Steps whose mean loss makes a line of the log."""
    seed: int = 0
    """Decides everything that is random."""
    resume: bool = False
    """Go on from the last checkpoint in --out."""
    resume_or_begin: bool = False
    """The same where there is a checkpoint, else begin: for jobs that a cluster starts again."""
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
        if self.seed < 0 or not (self.minutes is None or self.minutes >= 0):
            raise ValueError(f"seed was {self.seed} and minutes {self.minutes}; expected numbers that are not negative")
        profile, recipe = profiles.resolve(self.profile), recipes.get(self.recipe)
        where = engine.current_engine(profile, self.precision, self.compile)
        fields = ("batch", "accumulate", "learning_rate", "warmup")
        asked = {key: getattr(self, key) for key in fields}
        changes: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
        size = self._size()
        if self.dry_run:
            recipe = replace(recipe, **changes).resized(size, self.channels)
            steps = recipe.steps[profile] if self.steps is None else self.steps
            print(cost.report(cost.budget(recipe, where.device, where.autocast, steps=steps)))
            return
        training.fit(
            recipe,
            self.data,
            self.out,
            size=size,
            channels=self.channels,
            seed=self.seed,
            steps=self.steps,
            profile=profile,
            engine=where,
            checkpoint_every=self.checkpoint_every,
            log_every=self.log_every,
            minutes=self.minutes,
            resume=None if self.resume_or_begin else self.resume,
            tell=print,
            **changes,
        )

    def _size(self) -> tuple[int, int] | None:
        if self.size is None:
            return None
        if len(self.size) not in (1, 2):
            raise ValueError(
                f"size was {' '.join(map(str, self.size))}; expected a side, or height and width: --size 32 48"
            )
        return self.size[0], self.size[-1]
