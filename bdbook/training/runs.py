"""A run folder: what a training leaves on disk, and how it is taken up again.

    record.json                 recipe, seed, data, device, versions, wall time
    log.jsonl                   step and mean loss, a line each
    checkpoints/step-*.safetensors   weights, averaged weights, optimiser, spectrum: the last two are kept
    weights.safetensors         averaged weights and spectrum when training is done
    samples-*.png

Every file is written under another name and moved into place, so that it is whole or not there. Weights and
checkpoints carry a checksum of all they hold; one that disk or hand has damaged since is left aside, with a warning,
for the one before it.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import subprocess
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from bdbook import __version__, data, pixels, samplers
from bdbook.denoiser import Denoiser
from bdbook.files import write_atomically
from bdbook.oracle import Gaussian
from bdbook.priors import Prior
from bdbook.recipes import Recipe
from bdbook.training.engine import ALONE, CHUNK, Engine
from bdbook.training.loop import State, generator_for, start

FORMAT = "bdbook-1"
KEPT = 2
HASHED = 16384


@dataclass(frozen=True)
class Run:
    """A trained model: its recipe, its record and the denoiser with averaged weights."""

    recipe: Recipe
    record: dict
    denoiser: Denoiser
    spectrum: Gaussian
    device: torch.device | str = "cpu"

    def images(self) -> Tensor:
        """The images it was trained on, loaded again, in [-1, 1]."""
        return data.as_float(self.pixels())

    def pixels(self) -> Tensor:
        """The same as they are stored: sets that do not fit in memory are mapped from a file."""
        seed = self.record["identity"]["seed"]
        return data.load_pixels(self.record["data"], self.recipe.size, self.recipe.channels, seed=seed)

    def draw(
        self,
        count: int,
        seed: int,
        rule: str | None = None,
        steps: int | None = None,
        progress: bool = False,
        order: int = 1,
        clip: bool = False,
        engine: Engine = ALONE,
    ) -> Tensor:
        """count images by the recipe's rule and steps, or by those given: (count, C, H, W), on the CPU.

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


def _counted(trajectory: Iterator[samplers.Step], bar: tqdm) -> Iterator[samplers.Step]:
    for step in trajectory:
        bar.update()
        yield step


def identity(recipe: Recipe, seed: int, images: Tensor) -> dict:
    """What must agree for a run to be resumed: the recipe but for how it samples, the seed and the very pixels.

    Of more than 16384 images some, evenly spread, stand for all: millions would take minutes to read.
    """
    some = pixels.subsample_evenly(images, HASHED)
    digest = hashlib.sha256(some.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]
    return {"recipe": _as_trained(recipe), "seed": seed, "images": digest, "count": len(images)}


def _as_trained(recipe: Recipe) -> dict:
    """A recipe but for how it samples, as JSON gives it back."""
    return json.loads(json.dumps({k: v for k, v in recipe.as_dict().items() if k not in ("rule", "sample_steps")}))


def commit() -> str | None:
    """The commit of the checkout that this library runs from, "-changed" if files differ; None outside of one."""
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


def new_record(recipe: Recipe, seed: int, images: Tensor, source: str, profile: str, engine: Engine = ALONE) -> dict:
    """The record of a run that begins now."""
    on_gpu = engine.device.type == "cuda"
    device = torch.cuda.get_device_name(engine.device) if on_gpu else f"CPU, threads: {torch.get_num_threads()}"
    versions = {"bdbook": __version__, "torch": torch.__version__, "python": platform.python_version()}
    return {
        "identity": identity(recipe, seed, images),
        "recipe": recipe.as_dict(),
        "data": source,
        "profile": profile,
        "device": device,
        "processes": engine.processes,
        "precision": "fp32" if engine.autocast is None else str(engine.autocast).removeprefix("torch."),
        "versions": versions,
        "commit": commit(),
        "date": date.today().isoformat(),
        "wall_s": 0.0,
    }


def save_checkpoint(folder: Path, state: State, record: dict, log: list[dict]) -> Path:
    """Write checkpoint, record and log; drop all but the last two checkpoints."""
    tensors = {f"net.{k}": v for k, v in state.net.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in state.ema.state_dict().items()}
    names = [name for name, _ in state.net.named_parameters()]
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{names[index]}.{k}": v for k, v in moments.items()}
    tensors |= _spectrum_tensors(state.spectrum)
    path = folder / "checkpoints" / f"step-{state.step:08d}.safetensors"
    # The log goes first: lines past the last checkpoint are cut at resumption, missing ones could not be made up.
    write_atomically(folder / "log.jsonl", "".join(json.dumps(line) + "\n" for line in log))
    write_atomically(folder / "record.json", json.dumps(record, indent=1))
    write_atomically(path, _encode(tensors, record, state.step))
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink(missing_ok=True)  # a process that a cluster has lost sight of may still train the same run
    return path


def save_weights(path: Path, state: State, record: dict) -> None:
    """The averaged weights and the spectrum: all that sampling needs."""
    tensors = {f"ema.{k}": v for k, v in state.ema.state_dict().items()} | _spectrum_tensors(state.spectrum)
    write_atomically(path, _encode(tensors, record, state.step))


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted((Path(folder) / "checkpoints").glob("step-*.safetensors"))


def resume(folder: Path, recipe: Recipe, images: Tensor, seed: int, engine: Engine = ALONE):
    """(state, record, log) of the last whole checkpoint in folder; the state is `start`'s where there is none."""
    state = start(recipe, images, seed, engine)
    for half_written in (Path(folder) / "checkpoints").glob(".*.tmp"):  # by a run that was killed
        if engine.is_main:
            half_written.unlink(missing_ok=True)
    found = checkpoints(folder)
    if not found:
        return state, None, []
    path, tensors, header = _newest_whole(found)
    stored = header["record"]["identity"]
    # As this version would write it: fields that recipes have gained since have their defaults.
    stored = stored | {"recipe": _as_trained(Recipe.from_dict(stored["recipe"]))}
    _require_same(path, stored, identity(recipe, seed, images))
    state.net.load_state_dict(_part(tensors, "net."))
    state.ema.load_state_dict(_part(tensors, "ema."))
    names = [name for name, _ in state.net.named_parameters()]
    moments = {k: {} for k in range(len(names))}
    for index, name in enumerate(names):
        for key in ("step", "exp_avg", "exp_avg_sq"):
            moments[index][key] = tensors[f"adam.{name}.{key}"]
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": moments})
    state.step = header["step"]
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return state, header["record"], [line for line in log if line["step"] <= state.step]


def load(path: Path | str, engine: Engine = ALONE) -> Run:
    """A trained model from a run folder, its weights or last checkpoint, whichever is newer, or from one such file."""
    path = Path(path)
    found = [path]
    if path.is_dir():
        found = [*checkpoints(path), *path.glob("weights.safetensors")]
        if not found:
            raise ValueError(f"{path} holds neither weights.safetensors nor checkpoints; is it a run folder?")
        found.sort(key=_step_of)  # a training that went on after its end has checkpoints newer than its weights
    _, tensors, header = _newest_whole(found)
    recipe = Recipe.from_dict(header["record"]["recipe"])
    net = recipe.build_net().to(engine.device).eval().requires_grad_(False)
    net.load_state_dict(_part(tensors, "ema."))
    process = recipe.build_process()
    spectrum = Gaussian(process.basis, tensors["spectrum.variance"], tensors["spectrum.mean"])
    denoiser = Denoiser(engine.quick(net), process, recipe.build_prediction(spectrum), engine.autocast)
    return Run(recipe, {**header["record"], "step": header["step"]}, denoiser, spectrum, engine.device)


class Clock:
    """Wall time of a run over all its sittings, s."""

    def __init__(self, record: dict):
        self.before, self.began = record["wall_s"], time.monotonic()

    def read(self) -> float:
        return round(self.before + time.monotonic() - self.began, 1)


def _spectrum_tensors(spectrum: Gaussian) -> dict[str, Tensor]:
    return {"spectrum.mean": spectrum.mean, "spectrum.variance": spectrum.variance}


def _encode(tensors: dict[str, Tensor], record: dict, step: int) -> bytes:
    # One key: safetensors writes several in any order, and the same run should be the same file.
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    header = {"record": record, "step": step}
    header["sha256"] = _digest(tensors, header)
    return save(tensors, {FORMAT: json.dumps(header)})


def _digest(tensors: dict[str, Tensor], header: dict) -> str:
    """SHA-256 of the header and of every tensor's name, shape, type and bytes."""
    digest = hashlib.sha256(json.dumps(header).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _newest_whole(paths: list[Path]) -> tuple[Path, dict[str, Tensor], dict]:
    """The last file that is not damaged, and what it holds; damaged ones after it are warned about."""
    for path in reversed(paths):
        try:
            return path, *_decode(path)
        except ValueError as error:
            if path == paths[0]:
                raise
            warnings.warn(f"{error}. Going back to the one before it", stacklevel=3)
    raise AssertionError("no paths")


def _decode(path: Path) -> tuple[dict[str, Tensor], dict]:
    if not path.exists():
        raise ValueError(f"{path} does not exist; expected a run folder or a .safetensors file of bdbook")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or no safetensors file ({error})") from error
    if FORMAT not in metadata:
        found = ", ".join(metadata) or "nothing"
        raise ValueError(f"{path} was not written by this version of bdbook: expected {FORMAT!r} in it, found {found}")
    header = json.loads(metadata[FORMAT])
    known = header.pop("sha256", None)  # runs recorded before there were checksums have none
    if known is not None and known != _digest(tensors, header):
        raise ValueError(f"{path} is damaged: its checksum does not fit its contents")
    return tensors, header


def _step_of(path: Path) -> float:
    """The step of a file by its header; a file that has none comes last, for `_newest_whole` to warn about."""
    try:
        with safe_open(path, "pt") as file:
            return json.loads((file.metadata() or {})[FORMAT])["step"]
    except (SafetensorError, KeyError, ValueError):
        return math.inf


def _require_same(path: Path, stored: dict, asked: dict) -> None:
    stored, asked = _flatten(stored), _flatten(asked)
    differ = [f"{k} (stored {stored.get(k)}, asked {asked.get(k)})" for k in asked if stored.get(k) != asked[k]]
    if differ:
        raise ValueError(
            f"{path} is of another configuration: {'; '.join(differ)}. Ask for the stored one, or start a new run "
            "in another folder"
        )


def _flatten(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
