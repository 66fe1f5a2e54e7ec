"""Restoring one's own pictures with a trained restorer, at any size.

A network that was trained on small patches is asked tile by tile, and its answers are blended where tiles overlap; the
degradation itself is computed on the whole picture. What depends on the whole picture (masks, snow, blends) is not
cut up: then the picture is resized to the size of the training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from bdbook import cold, data, recipes
from bdbook.denoiser import Denoiser
from bdbook.errors import unknown
from bdbook.evaluation import restoration
from bdbook.training.loop import generator_for
from bdbook.training.runs import Run
from bdbook.transforms import height_width

TILE, OVERLAP = 336, 16
SMALLEST, LARGEST = 16, 4096


@dataclass(frozen=True)
class Restored:
    """One picture: ways (degraded, direct, tacos and, where it is known, truth), each (C, H, W), and how."""

    ways: dict[str, Tensor]
    how: str


def restore(
    run: Run,
    picture: Tensor,
    severity: float = 1.0,
    steps: int | None = 10,
    degrade: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Restored:
    """Restore `picture` (C, H, W) in [-1, 1], degraded as the run's training images were, to the severity given.

    degrade: it is a clean picture; degrade it first. steps: at most so many. seed: of what a degradation draws.
    """
    recipe, process = run.recipe, run.denoiser.process
    if process.noisy:
        raise ValueError(
            f"{recipe.name} generates pictures from noise; give a run of a degradation, e.g. photos-sharpen"
        )
    if process.to_mean:
        raise ValueError(f"{recipe.name} blurs to a single colour, and nothing of a picture is left to restore from")
    if not process.local and not degrade:
        raise ValueError(
            f"{recipe.name} needs to know what was drawn ({process.name}: where, and what covers the picture), which "
            "cannot be seen in it; give a clean picture and --degrade"
        )
    height, width = picture.shape[-2:]
    if min(height, width) < SMALLEST or max(height, width) > LARGEST:
        raise ValueError(
            f"the picture has {width}x{height} pixels; expected sides of {SMALLEST} to {LARGEST}. Resize it first"
        )
    x, trained = _batch(picture, recipe.channels).to(run.device), height_width(recipe.size)
    if process.local:
        x = F.pad(x, (0, -width % process.multiple, 0, -height % process.multiple), mode="replicate")
        process = process.resized((x.shape[-2], x.shape[-1]))
        # Attention has only seen patches of one size, and of a network of one's own nothing is known.
        free = recipe.unet is not None and not recipe.unet.attention
        tile, overlap = ((TILE, TILE), OVERLAP) if free else (trained, min(trained) // 4)
        net, how = tiled(run.denoiser.net, tile, overlap, 1 if recipe.unet is None else recipe.unet.factors[-1])
    else:
        x = F.interpolate(x, trained, mode="bilinear", antialias=True)
        net, how = run.denoiser.net, f"resized to {trained[1]}x{trained[0]}, the size it was trained on"
    denoiser = replace(run.denoiser, net=net, process=process.draw(len(x), generator_for(seed, "restore")))
    check_severity(denoiser, severity)
    x_t = denoiser.process.mean(x, severity) if degrade else x
    table = process.steps
    available = None if table is None else round(severity * table)
    wanted = steps if available is None or steps is None else min(steps, available)
    ways = restoration.restorations(denoiser, x_t, wanted, severity, progress, rules=("tacos",))
    ways |= {"truth": x} if degrade else {}
    shape = (height, width) if process.local else trained
    return Restored({name: _unbatch(y, recipe.channels)[:, : shape[0], : shape[1]] for name, y in ways.items()}, how)


def check_severity(denoiser: Denoiser, severity: float) -> None:
    """Raise unless the severity is one that the degradation has."""
    table = denoiser.process.steps
    if not 0 < severity <= 1 or (table is not None and abs(severity * table - round(severity * table)) > 1e-6):
        grid = "" if table is None else f", a multiple of 1/{table} = {1 / table:g}"
        raise ValueError(f"severity was {severity:g}; expected a number in (0, 1]{grid}")


def tiled(net: Callable, tile: tuple[int, int], overlap: int, factor: int) -> tuple[Callable, str]:
    """A network for pictures of any size, and how: asked in overlapping tiles, blended linearly; small ones whole."""

    def ask(x: Tensor, t: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        # The mirrored margin makes sides that halve often enough.
        padded = _pad(x, -height % factor, -width % factor)
        rows, cols = (_spans(side, most, overlap, factor) for side, most in zip(padded.shape[-2:], tile))
        total, weight = torch.zeros_like(padded), torch.zeros_like(padded[:1, :1])
        for row in rows:
            for col in cols:
                piece = padded[..., row, col]
                ramp = _ramp(piece.shape[-2], overlap).to(x)[:, None] * _ramp(piece.shape[-1], overlap).to(x)
                total[..., row, col] += ramp * net(piece, t)
                weight[..., row, col] += ramp
        return (total / weight)[..., :height, :width]

    return ask, f"in its own size, the network asked in tiles of up to {max(tile)} pixels that overlap by {overlap}"


def _spans(side: int, tile: int, overlap: int, factor: int) -> list[slice]:
    """The fewest tiles of at most `tile` that cover the side, of one length, a multiple of factor, evenly spread."""
    count = max(1, math.ceil((side - overlap) / (tile - overlap)))
    length = min(side, factor * math.ceil((side + (count - 1) * overlap) / count / factor))
    starts = [round(i * (side - length) / max(1, count - 1)) for i in range(count)]
    return [slice(start, start + length) for start in starts]


def _ramp(length: int, overlap: int) -> Tensor:
    """Weights that rise from each end over the overlap; nowhere 0, since the picture's border has one tile only."""
    distance = torch.arange(1, length + 1, dtype=torch.float64)
    return torch.minimum(distance, distance.flip(0)).clamp_max(overlap) / overlap


def _pad(x: Tensor, bottom: int, right: int) -> Tensor:
    return F.pad(x, (0, right, 0, bottom), mode="reflect") if bottom or right else x


def _batch(picture: Tensor, channels: int) -> Tensor:
    """(C, H, W) as the network takes it: a grey one restores the channels of a colour picture one by one."""
    if channels == 1:
        return picture.unsqueeze(1)
    return picture.unsqueeze(0) if len(picture) == channels else picture.expand(channels, -1, -1).unsqueeze(0)


def _unbatch(x: Tensor, channels: int) -> Tensor:
    return x.squeeze(1).cpu() if channels == 1 else x.squeeze(0).cpu()


def read_picture(path: Path) -> Tensor:
    """A file in its own size, (1 or 3, H, W) in [-1, 1]."""
    try:
        with Image.open(path) as opened:
            channels = 1 if opened.mode in ("1", "L", "LA", "I", "I;16") else 3
        image = data.read_image(path, channels)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
    return data.stack([image])[0]


def require_degradation(run: Run, name: str | None) -> None:
    """Raise if a degradation was asked for that the weights were not trained for."""
    if name is None or name == run.denoiser.process.name:
        return
    if name not in cold.FACTORIES:
        raise unknown("degradation", name, cold.FACTORIES)
    fitting = [recipe for recipe, of in recipes.BOOK.items() if of.process == name and of.data == "photos"]
    how = f"train one: bdbook train --recipe {fitting[0]} --out runs/{name}" if fitting else "and no recipe is"
    raise ValueError(
        f"the weights were trained for {run.denoiser.process.name} (recipe {run.recipe.name}), not for {name}; {how}"
    )


def side_by_side(restored: Restored) -> Tensor:
    """truth (where known), degraded, direct and TACoS, (N, C, H, W), for `pixels.png`."""
    shown = ("truth", "degraded", "direct", "tacos")
    return torch.stack([restored.ways[name] for name in shown if name in restored.ways])
