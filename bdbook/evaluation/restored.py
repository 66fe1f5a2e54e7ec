"""A folder of restored pictures: which file comes of which picture, and what is done already.

restored.json   of each picture, by its path below the folder that was given: settings, weights, sha256 of the source
                and of every file made of it. It is written before these files, so that an interrupted run goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bdbook import data
from bdbook.evaluation import pictures
from bdbook.files import write_atomically
from bdbook.training.runs import Run

MANIFEST = "restored.json"
WAYS = ("direct", "tacos", "compared")


@dataclass(frozen=True)
class Task:
    """A picture to restore, its path below the folder that was given, and the files it becomes, by way."""

    source: Path
    name: str
    outputs: dict[str, Path]


def sources(given: Path) -> list[Path]:
    """The pictures of a folder, or the one file given. ValueError where there are none.

    What bdbook itself wrote there is left out (`data.folders`): restored pictures, runs, samples.
    """
    return data.image_files(given) if given.is_dir() else [given]


def tasks(files: Sequence[Path], given: Path, out: Path) -> list[Task]:
    """What becomes of each file, its folders mirrored. Raises ValueError where files would collide."""
    found, taken, given_files = [], dict[str, Path](), {file.resolve() for file in files}
    top = Path(os.path.abspath(given))
    for file in files:
        below = Path(os.path.abspath(file)).relative_to(top) if given.is_dir() else Path(file.name)
        outputs = {way: out / below.parent / pictures.name_of(below, way) for way in WAYS}
        for path in outputs.values():
            # As on disks that know no capitals, or one way only to write an accent.
            key = unicodedata.normalize("NFC", str(path)).casefold()
            if key in taken or key == str(out / MANIFEST).casefold():
                raise ValueError(
                    f"{file} and {taken.get(key, MANIFEST)} would both become {path}, or names that differ in capitals "
                    "or accents alone, which not every disk keeps apart; rename one, or restore them one by one, each "
                    "with an --out of its own"
                )
            if path.resolve() in given_files:
                raise ValueError(f"{file} would become {path}, which is to be restored itself; give another --out")
            taken[key] = file
        found.append(Task(file, below.as_posix(), outputs))
    return found


def read(out: Path) -> dict[str, Any]:
    """The entries of a folder's manifest, none where it has none. Raises ValueError where it is damaged."""
    path = out / MANIFEST
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["pictures"]
        for entry in found.values():
            entry["outputs"].items(), entry["settings"], entry["weights"], entry["source"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not what restore writes ({error}); move it away, or give another folder with --out"
        ) from error
    return dict(found)


def write(out: Path, pictures: dict[str, Any]) -> None:
    """The manifest, whole."""
    write_atomically(out / MANIFEST, json.dumps({"pictures": pictures}, indent=1) + "\n")


def entry(task: Task, out: Path, settings: dict[str, Any], weights: str, files: dict[str, bytes]) -> dict[str, Any]:
    """What the manifest says of a picture; files: contents by way."""
    outputs = {task.outputs[way].relative_to(out).as_posix(): sha256(content) for way, content in files.items()}
    return {"settings": settings, "weights": weights, "source": sha256(task.source.read_bytes()), "outputs": outputs}


def is_done(task: Task, out: Path, known: dict[str, Any], settings: dict[str, Any], weights: str) -> bool:
    """Whether a picture's files are all there, made of it as it is by these settings and weights.

    Raises ValueError where a file is there that is not: someone's own, of other settings, or of another picture.
    """
    there = [path for path in task.outputs.values() if os.path.lexists(path)]
    for path in there:
        if why := _unaccounted(path, task, out, known.get(task.name), settings, weights):
            raise ValueError(f"{path} is there already and {why}; give another folder with --out, or --overwrite")
    return len(there) == len(task.outputs)


def _unaccounted(
    path: Path, task: Task, out: Path, listed: dict[str, Any] | None, settings: dict[str, Any], weights: str
) -> str | None:
    """Why a file that is there is not what would be written to it; None where it is. listed: in the manifest."""
    if not path.is_file():
        return "is no file"
    if listed is None:
        return f"{MANIFEST} does not say that it was restored from {task.name}"
    if listed["settings"] != settings:
        told = ", ".join(f"{k} {v!r}" for k, v in listed["settings"].items() if settings.get(k) != v)
        return f"was made with other settings ({told})"
    if listed["weights"] != weights:
        return "was made with other weights"
    if listed["source"] != sha256(task.source.read_bytes()):
        return f"was made of another {task.name}, or that has changed since"
    if listed["outputs"].get(path.relative_to(out).as_posix()) != sha256(path.read_bytes()):
        return "has been changed since it was made"
    return None


def check_writable(out: Path) -> None:
    """Raise OSError unless files can be made in a folder, which need not be there yet."""
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise OSError(f"{out} cannot be written to ({nearest} is no folder that you may write to); give another --out")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fingerprint(run: Run) -> str:
    """sha256 of what restores: the recipe's name, the degradation and the network's weights."""
    digest = hashlib.sha256(f"{run.recipe.name} {run.denoiser.process!r} {run.denoiser.predicts!r}".encode())
    state: dict[str, torch.Tensor] = getattr(run.denoiser.net, "state_dict", dict)()
    for name in sorted(state):
        digest.update(name.removeprefix("_orig_mod.").encode())
        digest.update(state[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
