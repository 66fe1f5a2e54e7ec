"""A run folder: what a training leaves on disk, and the trained model that is read from it.

record.json                 recipe, seed, data, device, versions, wall time, sittings
log.jsonl                   step and mean loss, a line each
checkpoints/step-*.safetensors   weights, averaged weights, optimiser, spectrum, from step 0 on: the last two are kept
weights.safetensors         averaged weights and spectrum when training is done
samples-*.png
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bdbook import __version__, data, samplers
from bdbook.clocks import Flow
from bdbook.data import Folder
from bdbook.denoiser import Denoiser, Spectral
from bdbook.oracle import Gaussian
from bdbook.priors import Prior
from bdbook.processes import Degradation
from bdbook.recipes import Recipe
from bdbook.training import checkpoints, records
from bdbook.training.engine import CHUNK, SINGLE_PROCESS, Engine
from bdbook.training.loop import State, generator_for
from bdbook.transforms import unwrapped

GIVEN = "given"  # the name of images that were handed over, in a record
CONFIG = "config.json"  # of a folder to share


@dataclass(frozen=True)
class Run:
    """A trained model: its recipe, its record and the denoiser with averaged weights. given: its images, if no name."""

    recipe: Recipe
    record: dict[str, Any]
    denoiser: Denoiser
    spectrum: Gaussian
    device: torch.device | str = "cpu"
    given: Tensor | None = None

    @classmethod
    def of_state(
        cls, recipe: Recipe, record: dict[str, Any], state: State, engine: Engine, given: Tensor | None = None
    ) -> Run:
        """A training as it stands."""
        told = record | {"step": state.step}
        return cls(recipe, told, state.ema_denoiser(), state.spectrum, engine.device, given)

    def images(self) -> Tensor:
        """The images it was trained on, loaded again, in [-1, 1]."""
        return data.as_float(self.pixels())

    def pixels(self) -> Tensor:
        """The same as they are stored: sets that do not fit in memory are mapped from a file.

        Raises ValueError where they are no longer those it was trained on. A set of the library, which nobody can have
        changed, is warned about: another machine may round otherwise.
        """
        if self.given is not None:
            return self.given
        if self.record["data"] == GIVEN:
            raise ValueError(
                f"{self.recipe.name} was trained on images that were handed over in Python; give them again: "
                "load_run(folder, images=images)"
            )
        known, source = self.record["identity"], self.source()
        found = data.load_pixels(source, unwrapped(self.recipe.size), self.recipe.channels, seed=known["seed"])
        if "images" not in known:  # a record made by hand
            return found
        if len(found) == known["count"] and records.fingerprint(found) == known["images"]:
            return found
        if len(found) == known["count"] and self.record["data"] in data.EMBEDDED:
            warnings.warn(
                f"{self.record['data']} differs from what {self.recipe.name} was trained on, by rounding if only the "
                "machine or the versions of the libraries are others",
                stacklevel=2,
            )
            return found
        raise self.others("train", known["count"], len(found))

    def flow(self, eta: float = 0.0) -> Flow:
        """The flow rule for this network: `samplers.flow` of the spectrum of its preconditioning, else of the data's.

        The page walks by the same numbers. Raises ValueError, at the first step, for a process without noise.
        """
        predicts, spectrum = self.denoiser.predicts, self.spectrum
        if isinstance(predicts, Spectral):  # under whose variance there is a floor (Recipe)
            spectrum = Gaussian(spectrum.basis, predicts.variance0, predicts.mean0)
        return samplers.flow(spectrum, eta)

    def source(self) -> str | Path | Folder:
        """Where its data are, for `data.load`: a set, or a folder as it is now, split as it was."""
        name = data.recorded(self.record["data"])
        if name != self.record["data"]:
            return name
        folder = data.folders.listed(name)
        return folder if "pictures" in self.record else data.folders.by_order(folder)

    def others(self, split: str, were: int, are: int) -> ValueError:
        """What to raise where the data are not those of the training."""
        changed = f"has {are} now" if were != are else f"has {are} now too, but others"
        return ValueError(
            f"{self.record['data']} had {were} pictures in its {split} split when {self.recipe.name} was trained, and "
            f"{changed}; put back what was there, or compare with what is there all the same: bdbook evaluate --data "
            f"{self.record['data']}"
        )

    def draw(
        self,
        count: int,
        seed: int,
        rule: str | samplers.Rule | None = None,
        steps: int | None = None,
        progress: bool = False,
        order: int = 1,
        clip: bool = False,
        engine: Engine = SINGLE_PROCESS,
    ) -> Tensor:
        """count images by the recipe's rule and steps, or by those given: (count, C, *axes), on the CPU.

        order, clip: as in `samplers.sample`. Images are made 64 at a time, each such chunk from a seed of its own, by
        the processes of the engine in turn; the images do not depend on how many processes there are.
        """
        times = self.denoiser.process.times(self.recipe.sample_steps if steps is None else steps)
        chosen = samplers.rule(self.recipe.rule if rule is None else rule)
        chunks = -(-count // CHUNK)
        total = len(range(engine.rank, chunks, engine.processes)) * (len(times) - 1)
        process, images = self.denoiser.process, cache(self.pixels)

        @cache
        def prior() -> Prior:
            return self.recipe.build_prior(process, self.spectrum, images)

        hidden = None if progress and engine.is_main else True
        with tqdm(total=total, unit="step", disable=hidden) as bar:

            def work(number: int, rows: slice) -> Tensor:
                random = generator_for(seed, "samples", number, device=self.device)
                size = rows.stop - rows.start
                drawn = process.draw(size, random)
                own = prior() if drawn is process else self.recipe.build_prior(drawn, self.spectrum, images)
                denoiser, start = replace(self.denoiser, process=drawn), own(size, random)
                trajectory = samplers.sample(denoiser, start, times, chosen, random, order, clip)
                return samplers.last(_counted(trajectory, bar)).x

            return engine.in_chunks(count, work)


def newest(path: Path | str) -> tuple[Path, dict[str, Tensor], dict[str, Any]]:
    """(file, tensors, header) of what `load` reads: the newest whole file of a run folder, or the file given.

    Raises ValueError where there is none, or where the config of a shared folder is not that of its weights.
    """
    path = Path(path)
    found = [path]
    if path.is_dir():
        found = [*checkpoints.found(path), *path.glob("weights.safetensors")]
        if not found:
            raise ValueError(f"{path} holds neither weights.safetensors nor checkpoints; is it a run folder?")
        found.sort(key=checkpoints.step_of)  # a training that went on after its end has checkpoints newer than weights
    file, tensors, header = checkpoints.newest_whole(found)
    if path.is_dir() and header["step"] == 0:
        raise ValueError(f"{file} is of step 0: nothing is learnt yet, and no later checkpoint is there")
    if (config := file.parent / CONFIG).is_file():
        _require_config(config, checkpoints.checksum(tensors, header), header)
    return file, tensors, header


def config_of(checksum: str, header: dict[str, Any]) -> dict[str, Any]:
    """What the config of a shared folder says of its weights."""
    return {"library_name": "bdbook", "format": checkpoints.FORMAT, "sha256": checksum, **header}


def _require_config(config: Path, checksum: str, header: dict[str, Any]) -> None:
    """Raise unless a shared folder's config is that of its weights; somebody else's config may lie there too."""
    try:
        told = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{config} is no JSON ({error}); get the folder anew, or take the file out") from error
    expected = config_of(checksum, header)
    if isinstance(told, dict) and told.get("library_name") == expected["library_name"] and told != expected:
        differ = [key for key in {**expected, **told} if told.get(key) != expected.get(key)]
        raise ValueError(
            f"{config} does not fit the weights beside it, in {', '.join(differ)}: one of both was changed; get the "
            "folder anew"
        )


def _counted(trajectory: Iterator[samplers.Step], bar: tqdm) -> Iterator[samplers.Step]:
    for step in trajectory:
        bar.update()
        yield step


def load(
    path: Path | str,
    engine: Engine = SINGLE_PROCESS,
    process: Degradation | None = None,
    net: nn.Module | None = None,
    images: Tensor | None = None,
) -> Run:
    """A trained model from a run folder, its weights or last checkpoint, whichever is newer, or from one such file.

    A folder that `sharing.share` wrote is read as a run folder is. process, net, images: those of your own that it was
    trained with; the library's are made again from the record.
    """
    file, tensors, header = newest(path)
    try:
        recipe = Recipe.from_dict(header["record"]["recipe"], process, net)
        built = recipe.build_net().to(engine.device).eval().requires_grad_(False)
        built.load_state_dict(checkpoints.part_of(tensors, "ema."))
    except (KeyError, TypeError, RuntimeError) as error:  # a field, or a name of weights, that is not known here
        raise ValueError(
            f"{file} is of a run that bdbook {__version__} cannot read ({type(error).__name__}: {error}); "
            "read it with the version that is in its record.json"
        ) from error
    basis = recipe.outline().basis
    spectrum = Gaussian(basis, tensors["spectrum.variance"], tensors["spectrum.mean"])
    process = recipe.build_process(spectrum)
    predicts = recipe.build_prediction(spectrum)
    denoiser = Denoiser(engine.compile_for_sampling(built), process, predicts, engine.autocast)
    return Run(recipe, {**header["record"], "step": header["step"]}, denoiser, spectrum, engine.device, images)
