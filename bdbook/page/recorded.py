"""The runs that the chapters show: read from results/, where results/record.py put them, or from the wheel's copy."""

from __future__ import annotations

import difflib
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.torch import load_file

from bdbook.files import IN_WHEEL, shipped
from bdbook.page.going_on import GoingOn

if TYPE_CHECKING:
    from IPython.display import Markdown
    from torch import Tensor

    from bdbook.mixtures import Mixture

RESULTS = shipped("results")
SEEDS = (0, 1, 2)
WHOLE = 60_000  # pictures of Fashion-MNIST, of which a short training sees each once or twice
NEAR = 4  # names that an error gives
HOW_TO_GET_THEM = "install the library from the book's folder: pip install --force-reinstall --no-deps FOLDER"
GLUED = "application/papermill.record/"
_told: dict[str, str] = {}  # by a chapter, of whose kernel this is


class NotRecordedError(ValueError):
    """A recorded run that is not there; the message says which, and what to do."""


@dataclass(frozen=True)
class Recorded:
    """One recorded run: its folder, what was measured, and the record of its training."""

    folder: Path
    metrics: dict
    record: dict

    def picture(self, name: str = "samples") -> np.ndarray:
        """A recorded grid of images, (height, width) or (height, width, 3) in [0, 1]."""
        from bdbook import pixels

        return pixels.read_png(self.folder / f"{name}.png")

    def losses(self) -> tuple[list[int], list[float]]:
        """(steps, mean loss over the steps before each)."""
        lines = [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]
        return [line["step"] for line in lines], [line["loss"] for line in lines]

    def __str__(self) -> str:
        of, seed = self.record, self.record["identity"]["seed"]
        return (
            f"{self.folder.name}: seed {seed}, {self.metrics['step']} steps in {of['wall_s']:.0f} s, {of['device']}, "
            f"{of['date']}, commit {of.get('commit') or 'unknown'}"
        )


def none_here() -> bool:
    """Whether this is an installation without recorded runs: a wheel that was not built in the book's folder."""
    return IN_WHEEL and next(RESULTS.glob("*/metrics.json"), None) is None


def _none_has_it(name: str) -> str:
    return f"{name} is a recorded run, of which this installation has none; {HOW_TO_GET_THEM}"


def folder_of(name: str, profile: str = "cpu", seed: int = 0, results: Path = RESULTS) -> Path:
    """Where the run of a recipe under a profile is kept, whether it is there or not; record.py trains by that name.

    Raises NotRecordedError in an installation that has no recorded runs at all.
    """
    if results == RESULTS and none_here():
        raise NotRecordedError(_none_has_it(name))
    return results / f"{name}-{profile}{f'-seed{seed}' if seed else ''}"


def read(name: str, profile: str = "cpu", seed: int = 0, results: Path = RESULTS) -> Recorded:
    """The recorded run of a recipe under a profile. Raises NotRecordedError, with how to record it."""
    folder = folder_of(name, profile, seed, results)
    if not (folder / "metrics.json").is_file():
        there = [path.parent.name for path in results.glob("*/metrics.json")]
        near = sorted(difflib.get_close_matches(folder.name, there, NEAR, cutoff=0.0))
        more = f" and {len(there) - len(near)} more" if len(there) > len(near) else ""
        raise NotRecordedError(
            f"{folder} is not recorded; recorded are {', '.join(near) or 'none'}{more}. To record it, in a checkout of "
            "the book: "
            f"python results/record.py --profile {profile} --only {name}{f'@{seed}' if seed else ''}"
        )
    metrics, record = (json.loads((folder / f"{what}.json").read_text()) for what in ("metrics", "record"))
    return Recorded(folder, metrics, record)


def present(name: str, profile: str = "cpu", results: Path = RESULTS) -> list[Recorded]:
    """The recorded runs of a recipe, one for each seed that there is; none where there are none.

    Raises NotRecordedError as folder_of does.
    """
    found = [seed for seed in SEEDS if (folder_of(name, profile, seed, results) / "metrics.json").is_file()]
    return [read(name, profile, seed, results) for seed in found]


def seeds(name: str, profile: str = "cpu", results: Path = RESULTS) -> list[Recorded]:
    """The same, at least one. Raises NotRecordedError, with how to record it, where there is none."""
    return present(name, profile, results) or [read(name, profile, SEEDS[0], results)]


def laboratory(name: str, results: Path = RESULTS) -> dict:
    """A study of the exact laboratories, results/laboratory/NAME.json, whose program lies beside it."""
    found: dict = json.loads(_in_laboratory(f"{name}.json", results).read_text(encoding="utf-8"))
    return found


def few_pictures(system: str, count: int, step: int, results: Path = RESULTS) -> Recorded:
    """A training of results/laboratory/regularise.json on `count` pictures, after some steps, for `verdict`.

    Measured against the test split. "gap" is by how much the loss of test pictures over that of trained ones is higher
    than after the same steps of a training on WHOLE pictures, where both were new to the network: 0 where nothing was
    learnt by heart.

    Raises NotRecordedError where that training or the one on WHOLE is not recorded.
    """
    study = laboratory("regularise", results)
    row, whole = (study.get(f"{system}, {of}, {step}") for of in (count, WHOLE))
    if row is None or whole is None:
        of = ", ".join(sorted({key.rpartition(", ")[0] for key in study}))
        raise NotRecordedError(
            f"{system} after {step} steps on {count} and on {WHOLE} pictures: not both are recorded; there are {of}. "
            "results/laboratory/regularise.py records them"
        )
    ratio, usual = (of["loss"]["test"] / of["loss"]["trained"] for of in (row, whole))
    found = row["test"] | {"nearest": row["quality"]["nearest"], "gap": ratio / usual - 1}
    record = {"identity": {"seed": 0}} | row["about"]
    return Recorded(results / "laboratory" / f"{system}-{count}", {"quality": {"samples": found}, "step": step}, record)


def tensors(name: str, results: Path = RESULTS) -> dict[str, Tensor]:
    """What a study keeps beside its numbers, results/laboratory/NAME.safetensors: pictures as bytes."""
    return load_file(_in_laboratory(f"{name}.safetensors", results))


def mixture(name: str, results: Path = RESULTS) -> Mixture:
    """The mixture of Gaussians that was fitted to 16x16 pictures: "fashion", "photos" or "leaves"."""
    from bdbook.mixtures import Mixture

    return Mixture.load(_in_laboratory(f"{name}.safetensors", results))


def _in_laboratory(name: str, results: Path) -> Path:
    if results == RESULTS and none_here():
        raise NotRecordedError(_none_has_it(f"laboratory/{name}"))
    file = results / "laboratory" / name
    if not file.is_file():
        found = ", ".join(sorted(path.name for path in file.parent.glob("*.*"))) or "nothing"
        raise NotRecordedError(f"{file} is not recorded; there is {found}. The programs in results/laboratory make it")
    return file


def over_seeds(runs: list[Recorded], number: Callable[[dict], float]) -> tuple[float, float, list[float]]:
    """(mean, half of the range, each) of a number of the metrics over runs that differ by their seed."""
    each = [number(run.metrics) for run in runs]
    return statistics.fmean(each), (max(each) - min(each)) / 2, each


def from_to(numbers: Iterable[float], digits: int = 1) -> str:
    """The range of some numbers as prose says it: "13.1 to 14.1", or one number where both ends round alike."""
    numbers = list(numbers)
    ends = (f"{end:.{digits}f}" for end in (min(numbers), max(numbers)))
    return " to ".join(dict.fromkeys(ends))


def tell(**words: object) -> None:
    """Give words or numbers to the prose of the same chapter, which shows one by the role {glue:text}`name`.

    The built page reads them (MyST-NB); where that is not installed, a chapter runs all the same. In a notebook to run
    (book/handout.py) `said` does.
    """
    _told.update({name: str(word) for name, word in words.items()})
    if find_spec("myst_nb") is None:
        return
    from IPython.display import display

    # What myst_nb.glue(name, word, display=False) does, without its seconds of importing what checks notebooks.
    for name, word in words.items():
        kept = {"scrapbook": {"name": name, "mime_prefix": GLUED}}
        display({f"{GLUED}text/plain": repr(str(word))}, raw=True, metadata=kept)


def said(text: str) -> Markdown:
    """Prose with what `tell` was given in the place of each «name», for a notebook to show as Markdown.

    Raises ValueError where a cell that tells was not run before. Where no runs are recorded, none could tell of them.
    """
    from IPython.display import Markdown

    for name in re.findall("«(.+?)»", text):
        if name not in _told and not none_here():
            raise ValueError(f"nothing was told of {name!r} yet; run the cells above first (Run, Run All Cells)")
    return Markdown(re.sub("«(.+?)»", lambda found: _told.get(found[1], "(not recorded here)"), text.strip()))


def _lacking(error: BaseException | None) -> str | None:
    """The sentence for an error that comes of what this installation lacks: recorded runs, or a package of an extra."""
    if isinstance(error, FileNotFoundError) and none_here() and RESULTS in Path(error.filename or "").parents:
        return _none_has_it(Path(error.filename).relative_to(RESULTS).parts[0])
    if isinstance(error, NotRecordedError) or (isinstance(error, ModuleNotFoundError) and "pip install" in str(error)):
        return str(error)
    return None


# In a checkout such an error stops a chapter: no book may be built without what it shows.
if IN_WHEEL and "IPython" in sys.modules and (_shell := sys.modules["IPython"].get_ipython()):
    GoingOn(_shell, _lacking)
