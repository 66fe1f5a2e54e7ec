"""Restoring one's own pictures with a trained restorer, at any size.

A network that was trained on small patches is asked tile by tile, and its answers are blended where tiles overlap; the
degradation itself is computed on the whole picture, channel by channel, without matrices of the picture's side: memory
and time grow as the pixels do. What depends on the whole picture (masks, snow, blends) is not cut up: then the picture
is resized to the size of the training.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from bdbook import cold, recipes, samplers
from bdbook.degradations import BlockMeans, CosineBlur, RecursiveBlur
from bdbook.denoiser import RESIDUAL, X0, Denoiser, Estimate, Observed
from bdbook.errors import unknown
from bdbook.evaluation import restoration
from bdbook.evaluation.pictures import read_picture
from bdbook.processes import Degradation, Process
from bdbook.training.loop import generator_for
from bdbook.training.runs import Run
from bdbook.transforms import Rotation2D, height_width

__all__ = ["Restored", "check_run", "read_picture", "require_degradation", "restore", "side_by_side", "tiled"]

TILE, OVERLAP, MARGIN = 336, 16, 8
# Pixels a side; of the whole picture, of which about 100 bytes each are held at once; a side where a basis of one's own
# has matrices of it.
SMALLEST, MOST_PIXELS, LARGEST = 16, 100_000_000, 4096
# What the eye takes for the brightness of red, green and blue. Source: ITU-R BT.601
BRIGHTNESS = (0.299, 0.587, 0.114)
COLOURS = ("brightness", "each")
# More steps bring back more of the fine contrast and come less close: of 512 test patches photos-sharpen restores, 5
# steps reach 32.0 dB with 0.45 of the variance in the finer bands, 10 steps 31.8 dB with 0.50.
STEPS = 5
# Seconds from which on it is said how long a restoration will take.
LONG = 10.0


@dataclass(frozen=True)
class Restored:
    """One picture: ways (degraded, direct, tacos and, where it is known, truth), each (C, H, W), and how."""

    ways: dict[str, Tensor]
    how: str


@torch.no_grad()
def restore(
    run: Run,
    picture: Tensor,
    severity: float = 1.0,
    steps: int | None = STEPS,
    degrade: bool = False,
    seed: int = 0,
    progress: bool = False,
    colour: str = "brightness",
) -> Restored:
    """Restore `picture` (C, H, W) in [-1, 1], degraded as the run's training images were, to the severity given.

    degrade: it is a clean picture; degrade it first. steps: at most so many. seed: of what a degradation draws.
    progress: say first how long it will take, and show the tiles done. colour: where a network of one channel restores
    a picture of three: every channel is restored once; TACoS walks their "brightness" (BT.601), and what its further
    steps change is added to all three, or it walks "each" of them, for up to three times the time.
    """
    recipe, process = run.recipe, run.denoiser.process
    check_run(run, severity, degrade)
    if colour not in COLOURS:
        raise unknown("way to restore a colour picture", colour, COLOURS)
    height, width = picture.shape[-2:]
    x, trained = _batch(picture, recipe.channels).to(run.device), height_width(recipe.size)
    denoiser, tiles = run.denoiser, 1
    if process.local:
        padded = height + -height % process.multiple, width + -width % process.multiple
        process = of_any_size(process.resized(padded), denoiser)
        check_size(height, width, LARGEST if isinstance(process.basis, Rotation2D) else None)
        x = F.pad(x, (0, padded[1] - width, 0, padded[0] - height), mode="replicate")
        # Attention has only seen patches of one size, and of a network of one's own nothing is known.
        free = recipe.unet is not None and not recipe.unet.attention
        tile, overlap, margin = ((TILE, TILE), OVERLAP, MARGIN) if free else (trained, min(trained) // 4, 0)
        factor = 1 if recipe.unet is None else recipe.unet.factors[-1]
        net = denoiser.net
        if isinstance(net, nn.Module):  # the layout of the images in it, which its convolutions need not make each time
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types know it not
        asked, spans = _Counted(net), tiles_of(padded, tile, overlap + 2 * margin, factor)
        tiles = len(spans[0]) * len(spans[1])
        net, how = tiled(asked, tile, overlap, factor, margin)
    else:
        check_size(height, width)
        x = F.interpolate(x, trained, mode="bilinear", antialias=True)
        net = asked = _Counted(denoiser.net)
        how = f"resized to {trained[1]}x{trained[0]}, the size it was trained on"
    denoiser = replace(denoiser, net=net, process=process.draw(len(x), generator_for(seed, "restore")))
    x_t = denoiser.process.mean(x, severity) if degrade else x
    table = process.steps
    available = None if table is None else round(severity * table)
    wanted = steps if available is None or steps is None else min(steps, available)
    times = restoration.walk_times(denoiser, wanted, severity)
    together = colour == "brightness" and process.local and len(x) == 3 and recipe.channels == 1
    # Brightness is degraded as the channels are where the degradation is linear, and answered for where the guess is.
    together = together and isinstance(process, Process | LINEAR) and denoiser.predicts in (X0, RESIDUAL)
    passes = len(x) + len(times) - 2 if together else (len(x) if process.local else 1) * (len(times) - 1)
    if progress and process.local:
        sides = (side[0].stop - side[0].start for side in spans)
        _announce(asked.net, torch.zeros(1, x.shape[1], *sides, device=x.device), passes, tiles)
    with tqdm(total=passes * tiles, desc="restoring", unit="tile", disable=None if progress else True) as bar:
        asked.bar = bar
        direct, tacos = (_by_brightness if together else _each)(denoiser, x_t, times)
    ways = {"degraded": x_t, "direct": direct, "tacos": tacos} | ({"truth": x} if degrade else {})
    how += ", TACoS by its brightness" if together else ""
    shape = (height, width) if process.local else trained
    return Restored({name: _unbatch(y, recipe.channels)[:, : shape[0], : shape[1]] for name, y in ways.items()}, how)


def _each(denoiser: Denoiser, x_t: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """(direct, tacos) of a batch; one image after another where nothing was drawn for it as a whole, to save memory."""
    count = 1 if denoiser.process.local else len(x_t)
    direct, tacos = torch.empty_like(x_t), torch.empty_like(x_t)
    for start in range(0, len(x_t), count):
        rows = slice(start, start + count)
        drawn = replace(denoiser, process=denoiser.process.rows(rows))
        first = drawn.estimate(x_t[rows], times[0].item())
        direct[rows] = first.x0_hat
        tacos[rows] = _walk(drawn, first, times)
    return direct, tacos


def _by_brightness(denoiser: Denoiser, x_t: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """(direct, tacos) of the channels of a picture, (3, 1, H, W); the answer for their brightness is theirs, mixed."""
    direct, process, t = torch.empty_like(x_t), denoiser.process, times[0].item()
    light, answer = torch.zeros_like(x_t[:1]), torch.zeros_like(x_t[:1])
    for channel, share in enumerate(BRIGHTNESS):
        estimate = denoiser.estimate(x_t[channel : channel + 1], t)
        direct[channel : channel + 1] = estimate.x0_hat
        light += share * x_t[channel]
        answer += share * estimate.pixels
    first = Estimate(Observed(process, light, process.basis.forward(light), t), answer, denoiser.predicts)
    before = first.x0_hat
    return direct, direct + (_walk(denoiser, first, times) - before)


def _walk(denoiser: Denoiser, first: Estimate, times: Tensor) -> Tensor:
    """The end of TACoS, whose first answer is there already."""
    x, estimate = first.seen.x_t, first
    for number, (t, s) in enumerate(samplers.pairs(times)):
        if number:
            estimate = denoiser.estimate(x, t)
        x = samplers.step(estimate, t, s, samplers.tacos)
    return x


class _Counted:
    """A network that shows in a bar how often it was asked."""

    def __init__(self, net: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.net = net
        self.bar: tqdm | None = None

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        out = self.net(x, t)
        if self.bar is not None:
            self.bar.update()
        return out


def _announce(net: Callable, piece: Tensor, passes: int, tiles: int) -> None:
    """Say how long it will take, from one tile, where that is long."""
    t = torch.ones(1, dtype=piece.dtype, device=piece.device)

    def seconds() -> float:
        start = time.perf_counter()
        net(piece, t).cpu()
        return time.perf_counter() - start

    # The first time takes longer.
    if seconds() * passes * tiles < LONG or (expected := seconds() * passes * tiles) < LONG:
        return
    told = f"{expected:.0f} seconds" if expected < 100 else f"{expected / 60:.0f} minutes"
    print(f"about {told} here: {passes} times {tiles} tiles", file=sys.stderr, flush=True)


# Degradations that are no `Process`, but linear, and the same for every channel.
LINEAR = RecursiveBlur | CosineBlur | BlockMeans


def of_any_size(process: Degradation, denoiser: Denoiser) -> Degradation:
    """The same degradation in pixels, without matrices of the picture's side; itself where none such is known."""
    if denoiser.predicts not in (X0, RESIDUAL):  # the others divide by alpha, in the basis
        return process
    if isinstance(process, cold.KernelBlur):
        return RecursiveBlur(process.size, process.kernels, process.boundary, process.to_mean, name=process.name)
    if isinstance(process, cold.DCTBlur):
        return CosineBlur(process.size, process.sigma_max, process.steps, name=process.name)
    if isinstance(process, cold.Pixelation):
        return BlockMeans(process.size, process.steps, name=process.name)
    return process


def check_size(height: int, width: int, largest: int | None = None) -> None:
    """Raise unless a picture of so many pixels can be restored; largest: a side, where matrices have that side."""
    small, many = min(height, width) < SMALLEST, height * width > MOST_PIXELS
    if small or many or (largest is not None and max(height, width) > largest):
        most = f"at least {SMALLEST}" if largest is None else f"{SMALLEST} to {largest}"
        raise ValueError(
            f"the picture has {width}x{height} pixels; expected sides of {most} and at most "
            f"{MOST_PIXELS // 10**6} million pixels. Resize it first"
        )


def check_run(run: Run, severity: float = 1.0, degrade: bool = False) -> None:
    """Raise unless a run restores pictures such as the one given, of this severity."""
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
    check_severity(run.denoiser, severity)


def check_severity(denoiser: Denoiser, severity: float) -> None:
    """Raise unless the severity is one that the degradation has."""
    table = denoiser.process.steps
    if not 0 < severity <= 1 or (table is not None and abs(severity * table - round(severity * table)) > 1e-6):
        grid = "" if table is None else f", a multiple of 1/{table} = {1 / table:g}"
        raise ValueError(f"severity was {severity:g}; expected a number in (0, 1]{grid}")


def tiled(net: Callable, tile: tuple[int, int], overlap: int, factor: int, margin: int = 0) -> tuple[Callable, str]:
    """A network for pictures of any size, and how: asked in overlapping tiles, blended linearly; small ones whole.

    margin: pixels at a tile's ends inside the picture that are left out, as the network sees zeros beyond them; the
    tiles overlap by twice as much more.
    """

    def ask(x: Tensor, t: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        # The mirrored margin makes sides that halve often enough.
        padded = _pad(x, -height % factor, -width % factor)
        rows, cols = tiles_of((height, width), tile, overlap + 2 * margin, factor)
        total, weight = torch.zeros_like(padded), torch.zeros_like(padded[:1, :1])
        for row in rows:
            for col in cols:
                piece = padded[..., row, col]
                down, across = (
                    _weights(span, side, overlap, margin).to(x) for span, side in zip((row, col), padded.shape[-2:])
                )
                ramp = down[:, None] * across
                total[..., row, col] += ramp * net(piece, t)
                weight[..., row, col] += ramp
        return total.div_(weight)[..., :height, :width]

    shared = overlap + 2 * margin
    return ask, f"in its own size, the network asked in tiles of up to {max(tile)} pixels that overlap by {shared}"


def tiles_of(
    size: tuple[int, int], tile: tuple[int, int], overlap: int, factor: int
) -> tuple[list[slice], list[slice]]:
    """The rows and the columns of the tiles of a picture (H, W), made longer where its sides are no multiples."""
    rows, cols = (_spans(side + -side % factor, most, overlap, factor) for side, most in zip(size, tile))
    return rows, cols


def _spans(side: int, tile: int, overlap: int, factor: int) -> list[slice]:
    """The fewest tiles of at most `tile` that cover the side, of one length, a multiple of factor, evenly spread."""
    count = max(1, math.ceil((side - overlap) / (tile - overlap)))
    length = min(side, factor * math.ceil((side + (count - 1) * overlap) / count / factor))
    starts = [round(i * (side - length) / max(1, count - 1)) for i in range(count)]
    return [slice(start, start + length) for start in starts]


def _weights(span: slice, side: int, overlap: int, margin: int) -> Tensor:
    """Of a tile's pixels along a side: 0 in the margins, which the picture's own ends have none of, then a ramp."""
    before, after = margin * (span.start > 0), margin * (span.stop < side)
    return F.pad(_ramp(span.stop - span.start - before - after, overlap), (before, after))


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


def side_by_side(restored: Restored) -> list[Tensor]:
    """truth (where known), degraded, direct and TACoS, each (C, H, W), for `pictures.compared`."""
    shown = ("truth", "degraded", "direct", "tacos")
    return [restored.ways[name] for name in shown if name in restored.ways]
