"""bdbook recipes."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from bdbook.training import cost, engine, profiles


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
