"""Where samples go: one picture of all, an array, or a folder with a picture for each; series also as a sound."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from bdbook import pixels
from bdbook.files import write_atomically
from bdbook.training.engine import CHUNK, Engine

MANIFEST = "samples.json"
NUMBERED = re.compile(r"\d{5,}\.png")
# Of silence between two sounds, s.
PAUSE = 0.1
ASKED = "give a name that ends in .png (a grid), .npz (an array) or / (a folder of single pictures)"


class Target(Protocol):
    """Takes samples as they come and writes them."""

    path: Path

    def check(self, count: int, shape: tuple[int, ...]) -> None:
        """Raise, before anything is drawn, where so many images of a shape (C, *axes) could not be written."""

    def add(self, first: int, images: Tensor) -> None:
        """Images (N, C, *axes), the first of which has this number."""

    def finish(self, told: dict[str, Any]) -> None:
        """All are there: write what is left to write. told: how they were made."""


def target(out: str | None, folder: Path, overwrite: bool = False, dims: int = 2, rate: int | None = None) -> Target:
    """Where `--out` leads: an ending decides; None is samples.png in the folder, or the next name that is free.

    dims: how many axes the images have; series and volumes become samples.npy. rate: samples a second, of series that
    are sounds. Raises ValueError, before anything is computed, for what cannot be written, or would be written over.
    """
    if dims != 2:
        return _of_values(out, folder, overwrite, dims, rate)
    if out is None:
        return Grid(folder / "samples.png", "PNG", overwrite, may_move=True)
    path = Path(out)
    if not out or "\0" in out:
        raise ValueError(f"out was {out!r}; {ASKED}")
    if out.endswith(("/", os.sep)) or path.is_dir() or not path.suffix:
        return Folder(path, overwrite)
    if path.suffix.lower() == ".npz":
        return Array(path, overwrite)
    kinds = pixels.writable()
    if path.suffix.lower() not in kinds:
        raise ValueError(
            f"out was {out}, and {path.suffix} is no format that can be written; {ASKED}; a grid may end in .jpg, "
            ".webp or .tiff too"
        )
    return Grid(path, kinds[path.suffix.lower()], overwrite)


def _of_values(out: str | None, folder: Path, overwrite: bool, dims: int, rate: int | None) -> Target:
    """`target` of series and volumes."""
    if out is None:
        return Values(folder / "samples.npy", overwrite, may_move=True)
    path = Path(out)
    kinds = "one that ends in .npy, an array of float32" + (", or in .wav, a sound" if dims == 1 else "")
    if path.suffix.lower() == ".npy" and "\0" not in out:
        return Values(path, overwrite)
    if dims != 1 or path.suffix.lower() != ".wav" or "\0" in out:
        what = "series" if dims == 1 else "volumes"
        raise ValueError(f"out was {out!r}, and the run draws {what}, which are no pictures; give a name: {kinds}")
    if rate is None:
        raise ValueError(
            f"out was {out}, and nothing says how many samples of this run are a second; write an array, .npy, or "
            "train with bdbook.fit(..., rate=)"
        )
    return Sound(path, rate, overwrite)


@dataclass
class Grid:
    """One picture of all images, eight a row, each pixel four times as large."""

    path: Path
    kind: str
    overwrite: bool = False
    may_move: bool = False
    kept: dict[int, Tensor] = field(default_factory=dict)

    def check(self, count: int, shape: tuple[int, ...]) -> None:
        self._move()
        _free(self.path, self.overwrite)
        if self.kind != "PNG":  # formats have a largest side, and modes that they lack: try it out
            pixels.encoded(torch.zeros(count, *shape, dtype=torch.uint8), self.kind)

    def add(self, first: int, images: Tensor) -> None:
        self.kept[first] = pixels.quantise(images)

    def finish(self, told: dict[str, Any]) -> None:
        images = torch.cat([self.kept[first] for first in sorted(self.kept)])
        content = pixels.encoded(images, self.kind)
        self._move()  # another may have taken the name meanwhile
        write_atomically(self.path, content)

    def _move(self) -> None:
        if self.may_move and not self.overwrite:
            self.path = _next(self.path)


@dataclass
class Array:
    """arr_0, uint8 (N, H, W, C), as the evaluator of Dhariwal and Nichol 2021 reads it."""

    path: Path
    overwrite: bool = False
    kept: dict[int, Tensor] = field(default_factory=dict)

    def check(self, count: int, shape: tuple[int, ...]) -> None:
        _free(self.path, self.overwrite)

    def add(self, first: int, images: Tensor) -> None:
        self.kept[first] = pixels.quantise(images)

    def finish(self, told: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, pixels.to_pixels(torch.cat([self.kept[first] for first in sorted(self.kept)])))
        write_atomically(self.path, buffer.getvalue())


@dataclass
class Values:
    """Samples as they are, float32 (N, C, *axes)."""

    path: Path
    overwrite: bool = False
    may_move: bool = False
    kept: dict[int, Tensor] = field(default_factory=dict)

    def check(self, count: int, shape: tuple[int, ...]) -> None:
        self._move()
        _free(self.path, self.overwrite)

    def add(self, first: int, images: Tensor) -> None:
        self.kept[first] = images.float()

    def finish(self, told: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        np.save(buffer, torch.cat([self.kept[first] for first in sorted(self.kept)]).numpy())
        self._move()
        write_atomically(self.path, buffer.getvalue())

    def _move(self) -> None:
        if self.may_move and not self.overwrite:
            self.path = _next(self.path)


@dataclass
class Sound:
    """One sound of all samples, (N, C, L) with one or two channels, in 16 bits: one after the other, a pause between.

    rate: samples a second. What lies beyond [-1, 1] is cut off.
    """

    path: Path
    rate: int
    overwrite: bool = False
    kept: dict[int, Tensor] = field(default_factory=dict)

    def check(self, count: int, shape: tuple[int, ...]) -> None:
        if shape[0] not in (1, 2):
            raise ValueError(f"{self.path}: the run draws {shape[0]} channels; a sound has one or two, write .npy")
        _free(self.path, self.overwrite)

    def add(self, first: int, images: Tensor) -> None:
        self.kept[first] = (images.clamp(-1, 1) * 32767).round().to(torch.int16)

    def finish(self, told: dict[str, Any]) -> None:
        from scipy.io import wavfile

        samples = torch.cat([self.kept[first] for first in sorted(self.kept)])
        pause = torch.zeros(*samples.shape[:2], round(PAUSE * self.rate), dtype=torch.int16)
        buffer = io.BytesIO()
        wavfile.write(buffer, self.rate, torch.cat([samples, pause], 2).movedim(1, 2).flatten(0, 1).numpy())
        write_atomically(self.path, buffer.getvalue())


@dataclass
class Folder:
    """00000.png, ...: a picture for each image, as large as it is, as tools for FID read them.

    They are written as they come. Last comes samples.json, how they were made: where it is, all are there.
    """

    path: Path
    overwrite: bool = False
    cleared: bool = False

    def check(self, count: int, shape: tuple[int, ...]) -> None:
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file; expected a folder, or a name that is free")
        _writable(self.path)
        if not self.path.is_dir():
            return
        endings = pixels.writable()
        held = sorted(file.name for file in self.path.iterdir() if file.suffix.lower() in endings)
        foreign = [name for name in held if not NUMBERED.fullmatch(name)]
        if foreign:  # whoever reads the folder would count them
            raise ValueError(
                f"{self.path} holds pictures that are no samples, e.g. {foreign[0]}; choose a folder of its own"
            )
        if (held or (self.path / MANIFEST).exists()) and not self.overwrite:
            raise ValueError(
                f"{self.path} holds samples already ({len(held)} pictures); choose another folder, or add --overwrite"
            )

    def add(self, first: int, images: Tensor) -> None:
        if not self.cleared:  # earlier ones, which may be more than these
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / MANIFEST).unlink(missing_ok=True)
            for file in self.path.iterdir():
                if NUMBERED.fullmatch(file.name):
                    file.unlink()
            self.cleared = True
        for number, image in enumerate(images, first):
            (self.path / f"{number:05d}.png").write_bytes(pixels.png(image[None], columns=1, enlarge=1))

    def finish(self, told: dict[str, Any]) -> None:
        write_atomically(self.path / MANIFEST, json.dumps(told, indent=1))


def _next(path: Path) -> Path:
    """The path, or if it is taken samples-2, samples-3, ... beside it."""
    number = 2
    while os.path.lexists(path):
        path, number = path.with_name(f"samples-{number}{path.suffix}"), number + 1
    return path


def _free(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise ValueError(f"{path} is a folder; end its name in a slash to write single pictures into it")
    if os.path.lexists(path) and not overwrite:
        raise ValueError(f"{path} exists already; choose another name, or add --overwrite")
    _writable(path.parent)


def _writable(folder: Path) -> None:
    """Raise where a folder, or the one in which it has to be made, lets nobody write."""
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        raise ValueError(f"{there} is a file, so that nothing can be written in {folder}; choose another --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{there} cannot be written to; choose another --out")


@dataclass(frozen=True)
class Passing(Engine):
    """An engine that passes each chunk of images on as it is drawn, and keeps none: memory does not grow with them.

    Of several processes each has its part until the end; then the main one has all of them. Raises for NaN and
    infinity, of which a picture would show nothing.
    """

    keep: Callable[[int, Tensor], None] = print

    @classmethod
    def of(cls, engine: Engine, keep: Callable[[int, Tensor], None]) -> Passing:
        return cls(engine.device, engine.autocast, engine.compiler, engine.accelerator, keep)

    @torch.no_grad()
    def in_chunks(self, count: int, work: Callable[[int, slice], Tensor]) -> Tensor:
        if self.processes == 1:
            for number, first in enumerate(range(0, count, CHUNK)):
                self._pass(first, work(number, slice(first, min(first + CHUNK, count))).cpu())
            return torch.empty(0)
        whole = super().in_chunks(count, work)
        for first in range(0, count, CHUNK):
            self._pass(first, whole[first : first + CHUNK])
        return torch.empty(0)

    def _pass(self, first: int, images: Tensor) -> None:
        broken = (~images.isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
        if broken:  # on every process, so that none waits for another
            raise ValueError(
                f"image {first + broken[0]} came out as NaN or infinity, and so did {len(broken) - 1} more of "
                f"{len(images)} beside it; expected finite pixels: train for longer, or try --clip, more --steps, "
                "another --rule"
            )
        if self.is_main:
            self.keep(first, images)
