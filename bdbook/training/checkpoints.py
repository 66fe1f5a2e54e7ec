"""Checkpoints: the state of a training on disk, whole or not there.

Every file is written under another name and moved into place. Weights and checkpoints carry a checksum of all they
hold; one that disk or hand has damaged since is left aside, with a warning, for the one before it.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors
from torch import Tensor

from bdbook.files import write_atomically
from bdbook.oracle import Gaussian
from bdbook.recipes import Recipe
from bdbook.training import records
from bdbook.training.engine import SINGLE_PROCESS, Engine
from bdbook.training.loop import State, start

FORMAT = "bdbook-1"
KEPT = 2


def save(folder: Path, state: State, record: dict, log: list[dict]) -> Path:
    """Write checkpoint, record and log; drop all but the last two checkpoints."""
    tensors = {f"net.{k}": v for k, v in state.net.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in state.ema.state_dict().items()}
    names = [name for name, _ in state.net.named_parameters()]
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{names[index]}.{k}": v for k, v in moments.items()}
    tensors |= _spectrum_tensors(state.spectrum)
    path = path_of(folder, state.step)
    if state.step == 0:  # the first of a run goes first: where it is not, there is no run yet
        write_atomically(path, _encode(tensors, record, state.step))
    # The log before a later one: lines past the last checkpoint are cut at resumption, lost ones could not be found.
    write_atomically(folder / "log.jsonl", "".join(json.dumps(line) + "\n" for line in log))
    write_atomically(folder / "record.json", json.dumps(record, indent=1))
    if state.step:
        write_atomically(path, _encode(tensors, record, state.step))
    for old in found(folder)[:-KEPT]:
        old.unlink(missing_ok=True)  # a process that a cluster has lost sight of may still train the same run
    return path


def save_weights(path: Path, state: State, record: dict) -> None:
    """The averaged weights and the spectrum: all that sampling needs."""
    tensors = {f"ema.{k}": v for k, v in state.ema.state_dict().items()} | _spectrum_tensors(state.spectrum)
    write_atomically(path, _encode(tensors, record, state.step))


def save_halved(path: Path, source: Path) -> None:
    """The same as a file of weights in half the bytes, in float16; who loads it computes in float32 as before.

    A weight moves by one part in 2048 at most, or by 3e-8 where it is smaller than 6e-5.
    """
    tensors, header = read(source)
    tensors = {key: value.half() if key.startswith("ema.") else value for key, value in tensors.items()}
    write_atomically(path, _encode(tensors, header["record"], header["step"]))


def copy_weights(path: Path, source: Path, record: dict) -> str:
    """What `save_weights` would have written of a file of weights or a checkpoint, with this record; its checksum."""
    tensors, header = read(source)
    tensors = {key: value for key, value in tensors.items() if key.startswith(("ema.", "spectrum."))}
    write_atomically(path, _encode(tensors, record, header["step"]))
    return checksum(tensors, {"record": record, "step": header["step"]})


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return Path(folder) / "checkpoints" / f"step-{step:08d}.safetensors"


def found(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted((Path(folder) / "checkpoints").glob("step-*.safetensors"))


def resume(
    folder: Path, recipe: Recipe, images: Tensor, seed: int, engine: Engine = SINGLE_PROCESS
) -> tuple[State, dict[str, Any], list[dict[str, Any]]]:
    """(state, record, log) of the last whole checkpoint in folder. Raises ValueError where there is none."""
    state = start(recipe, images, seed, engine)
    for half_written in (Path(folder) / "checkpoints").glob(".*.tmp"):  # by a run that was killed
        if engine.is_main:
            half_written.unlink(missing_ok=True)
    there = found(folder)
    if not there:
        raise ValueError(f"{folder} has no checkpoint to go on from")
    path, tensors, header = newest_whole(there)
    stored = records.as_identified_now(header["record"]["identity"])
    records.require_same(path, stored, records.identity(recipe, seed, images))
    state.net.load_state_dict(part_of(tensors, "net."))
    state.ema.load_state_dict(part_of(tensors, "ema."))
    state.step = header["step"]
    if state.step == 0:  # before the first step Adam has no moments, and the log no line
        return state, header["record"], []
    moments: dict[int, dict[str, Tensor]] = {}
    for index, (name, weights) in enumerate(state.net.named_parameters()):
        moments[index] = {"step": tensors[f"adam.{name}.step"]}
        for key in ("exp_avg", "exp_avg_sq"):  # laid out as the weights are: Adam's kernel goes through both in step
            moments[index][key] = torch.empty_like(weights, device="cpu").copy_(tensors[f"adam.{name}.{key}"])
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": moments})
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return state, header["record"], [line for line in log if line["step"] <= state.step]


def newest_whole(paths: list[Path]) -> tuple[Path, dict[str, Tensor], dict[str, Any]]:
    """The last file that is not damaged, and what it holds; damaged ones after it are warned about."""
    for path in reversed(paths):
        try:
            return path, *read(path)
        except ValueError as error:
            if path == paths[0]:
                raise
            warnings.warn(f"{error}. Going back to the one before it", stacklevel=3)
    raise AssertionError("no paths")


def read(path: Path) -> tuple[dict[str, Tensor], dict]:
    """(tensors, header) of a file of weights or a checkpoint; ValueError where it is damaged or another's."""
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
    if known is not None and known != checksum(tensors, header):
        raise ValueError(f"{path} is damaged: its checksum does not fit its contents")
    return tensors, header


def step_of(path: Path) -> float:
    """The step of a file by its header; a file that has none comes last, for `newest_whole` to warn about."""
    try:
        with safe_open(path, "pt") as file:
            return json.loads((file.metadata() or {})[FORMAT])["step"]
    except (SafetensorError, KeyError, ValueError):
        return math.inf


def _spectrum_tensors(spectrum: Gaussian) -> dict[str, Tensor]:
    return {"spectrum.mean": spectrum.mean, "spectrum.variance": spectrum.variance}


def _encode(tensors: dict[str, Tensor], record: dict, step: int) -> bytes:
    # One key: safetensors writes several in any order, and the same run should be the same file.
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    header = {"record": record, "step": step}
    header["sha256"] = checksum(tensors, header)
    return safetensors(tensors, {FORMAT: json.dumps(header)})


def checksum(tensors: dict[str, Tensor], header: dict) -> str:
    """SHA-256 of the header and of every tensor's name, shape, type and bytes."""
    digest = hashlib.sha256(json.dumps(header).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def part_of(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
