"""The record of a run: what was trained on what, where and when, and what must agree for it to go on.

A run that was taken up again says so under "sittings": from which step on, on what device, at which precision.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import time
from dataclasses import MISSING, fields
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bdbook import __version__
from bdbook.files import IN_WHEEL
from bdbook.pixels import subsample_evenly
from bdbook.recipes import Recipe
from bdbook.training.engine import SINGLE_PROCESS, Engine
from bdbook.unet import UNetConfig, older

# Of a larger set about so many images stand for all: millions would take minutes to read.
HASHED = 16384
# Fields of a recipe that say how it is sampled, which training does not depend on.
OF_SAMPLING = ("rule", "sample_steps")


def new(
    recipe: Recipe, seed: int, images: Tensor, source: str, profile: str, engine: Engine = SINGLE_PROCESS
) -> dict[str, Any]:
    """The record of a run that begins now."""
    return {
        "identity": identity(recipe, seed, images),
        "recipe": recipe.as_dict(),
        "data": source,
        "profile": profile,
        **where(engine),
        "date": today(),
        "wall_s": 0.0,
    }


def where(engine: Engine) -> dict[str, Any]:
    """What a sitting at a training works with; another one may work with something else."""
    return {
        "device": device(engine),
        "processes": engine.processes,
        "precision": "fp32" if engine.autocast is None else str(engine.autocast).removeprefix("torch."),
        "versions": {"bdbook": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "commit": commit(),
    }


def device(engine: Engine) -> str:
    """The name of the GPU, or how many threads of the CPU."""
    on_gpu = engine.device.type == "cuda"
    return torch.cuda.get_device_name(engine.device) if on_gpu else f"CPU, threads: {torch.get_num_threads()}"


def today() -> str:
    return date.today().isoformat()


def made_here() -> dict[str, str | None]:
    """Where and when something is computed on the CPU, and by which code: "device", "date", "commit"."""
    return {"device": f"CPU, threads: {torch.get_num_threads()}", "date": today(), "commit": commit()}


def identity(recipe: Recipe, seed: int, images: Tensor) -> dict[str, Any]:
    """What must agree for a run to be resumed: the recipe but for how it samples, the seed and the very pixels.

    Of more than 16384 images some, evenly spread, stand for all.
    """
    return {
        "recipe": _as_trained(recipe.as_dict()),
        "seed": seed,
        "images": fingerprint(images),
        "count": len(images),
    }


def fingerprint(images: Tensor) -> str:
    """16 hexadecimal digits of the pixels."""
    some = subsample_evenly(images, HASHED)
    return hashlib.sha256(some.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def as_identified_now(stored: dict[str, Any]) -> dict[str, Any]:
    """The identity of an older record as this version would write it: fields gained since have their defaults.

    Or what they amounted to, `unet.older`.
    """
    recipe = _defaults(Recipe) | stored["recipe"]
    if recipe["unet"] is not None:
        recipe["unet"] = _defaults(UNetConfig) | older(recipe["unet"]) | recipe["unet"]
    return stored | {"recipe": _as_trained(recipe)}


def require_same(path: Path, stored: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raise unless two identities agree."""
    stored, asked = _flatten(stored), _flatten(asked)
    differ = [f"{k} (stored {stored.get(k)}, asked {asked.get(k)})" for k in asked if stored.get(k) != asked[k]]
    if differ:
        raise ValueError(
            f"{path} is of another configuration: {'; '.join(differ)}. Ask for the stored one, or start a new run "
            "in another folder"
        )


def commit() -> str | None:
    """The commit of the checkout that this library runs from, "-changed" if files differ; None outside of one."""
    if IN_WHEEL:  # whatever repository the environment lies in, it is not this one
        return None
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=-changed"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None if described.returncode == 0 else None


class Clock:
    """Wall time of a run, s, over all the times that it was taken up."""

    def __init__(self, record: dict[str, Any]):
        self.before, self.began = record["wall_s"], time.monotonic()

    def read(self) -> float:
        return round(self.before + time.monotonic() - self.began, 1)


def _as_trained(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe but for how it samples, as JSON gives it back."""
    return json.loads(json.dumps({key: value for key, value in recipe.items() if key not in OF_SAMPLING}))


def _defaults(kind: type) -> dict[str, Any]:
    return {each.name: each.default for each in fields(kind) if each.default is not MISSING}


def _flatten(tree: dict, prefix: str = "") -> dict:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
