"""The files of the live sampler by name: the networks that were recorded with weights.

network           the settings of all these networks, JSON
weights-RECIPE    the weights of one
walk-RECIPE       what a walk needs besides, JSON
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdbook import recipes
from bdbook.errors import unknown
from bdbook.page import recorded

# What loads and exports networks is imported where that is done: the figures import this module for its names.
if TYPE_CHECKING:
    from torch import Tensor

    from bdbook.training.runs import Run

START = "start.safetensors"  # of a recorded run: centres and spread of `walks.start`
# Label of each recipe, in the order of the page.
SYSTEMS = {
    "fashion-ddpm": "DDPM",
    "fashion-heat": "IHDM",
    "fashion-cosine": "blurring, 0 px",
    "fashion-blurring": "blurring, 5 px",
    "fashion-blur": "Lee's blur",
    "fashion-soft": "soft",
    "fashion-equal-snr": "equal SNR",
    "fashion-from-mean": "cold",
}

# The rules that a page offers for a system: those that fit it. Without noise there is none to carry a part of.
WITH_NOISE = ("ancestral", "ddim", "flow", "carry")
WITHOUT_NOISE = ("tacos", "naive")
MADE_FOR = {"soft_diffusion": "momentum", "heat_dissipation": "ihdm"}
STEPS, MOST = 50, 250  # that a walk has before a reader moves anything, and at most


def offered(recipe: str) -> dict:
    """What a page offers for a recipe: rules, its own among them; the steps it begins with, and most; the orders."""
    known = recipes.get(recipe)
    most = min(known.settings.get("steps", MOST), MOST)
    rules = WITHOUT_NOISE if known.rule in WITHOUT_NOISE else WITH_NOISE
    if known.process in MADE_FOR:
        rules = (*rules, MADE_FOR[known.process])
    return {
        "rules": list(rules),
        "rule": known.rule,
        "steps": min(STEPS, most),
        "most": most,
        "order": 2 if "flow" in rules else 1,
    }


def names() -> list[str]:
    """Every file there is."""
    each = [f"{kind}-{recipe}" for recipe in SYSTEMS for kind in ("weights", "walk")]
    return ["network", *each]


def read(name: str) -> bytes:
    """The contents of one."""
    if name not in names():
        raise unknown("file", name, names())
    from bdbook.page import walks

    if name == "network":
        return json.dumps(walks.network(walks.net_of(run_of(next(iter(SYSTEMS)))))).encode()
    kind, _, recipe = name.partition("-")
    run = run_of(recipe)
    return (
        walks.weights(walks.net_of(run))
        if kind == "weights"
        else json.dumps(walks.walk(run, begin(recorded.folder_of(recipe)))).encode()
    )


def answer(figure: Any, content: dict) -> None:
    """Answer a figure's wish for a file (js/assets.js), under a kernel."""
    name = content.get("file", "")
    try:
        figure.send({"file": name}, buffers=[read(name)])
    except (OSError, ValueError, ModuleNotFoundError) as error:
        figure.send({"file": name, "error": str(error)})


def begin(folder: Path) -> tuple[Tensor, Tensor] | None:
    """Where the walks of a recorded run begin, if that was kept: then what it learned from is not needed."""
    file = folder / START
    if not file.is_file():
        return None
    from safetensors.torch import load

    found = load(file.read_bytes())
    return found["centres"], found["spread"]


@cache
def run_of(recipe: str) -> Run:
    """The recorded network of a recipe, of the CPU's runs."""
    from bdbook.training import runs

    return runs.load(recorded.folder_of(recipe) / "weights.safetensors")
