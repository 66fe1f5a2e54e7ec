"""Pictures that may lie behind a blurred one: drawn by a network that generates, at the size of the picture.

The blur is given, by its width or its kernel; the network was not trained for it, and need not be. A picture of another
size than the network's is walked whole, and the network asked for its guess in overlapping tiles. That takes a process
of white noise, whose noise in a tile is that of the picture: of one that blurs, a tile's borders are mirrored where the
picture's go on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bdbook import posteriors
from bdbook.denoiser import X0, Denoiser
from bdbook.evaluation.metrics import band_index
from bdbook.oracle import Gaussian
from bdbook.posteriors import View
from bdbook.processes import Process
from bdbook.training.loop import generator_for
from bdbook.training.runs import Run
from bdbook.transforms import DCT, height_width

# Steps of a walk, unless asked for; pixels of a picture, which a network of 16 px is asked about in 8,000 tiles.
STEPS, MOST_PIXELS = 12, 2**20
# Tiles that a network is asked for at once.
AT_ONCE = 256


@dataclass(frozen=True)
class Possible:
    """What may lie behind a picture: drawn (S, C, H, W), what was seen and, where known, the truth, each (C, H, W)."""

    drawn: Tensor
    seen: Tensor
    how: str
    truth: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """The picture that is nearest on average, (C, H, W)."""
        return self.drawn.mean(0)

    @property
    def spread(self) -> Tensor:
        """Standard deviation of each pixel, (C, H, W); of one picture there is none, and it is 0."""
        return self.drawn.std(0) if len(self.drawn) > 1 else torch.zeros_like(self.seen)

    def means(self) -> dict[int, Tensor]:
        """From fidelity to sharpness: the means of the first S, then of 16, 8, 4, 2 and 1 of them."""
        counts = [len(self.drawn), *(k for k in (16, 8, 4, 2, 1) if k < len(self.drawn))]
        return {count: self.drawn[:count].mean(0) for count in counts}

    def detail(self, picture: Tensor) -> float:
        """Energy of a picture (C, H, W) in the upper three of five bands of frequency over that of those drawn."""
        basis = DCT(tuple(picture.shape[1:]))
        fine = band_index(basis.freq2, 5) >= 2
        energy = basis.forward(self.drawn).square()[..., fine].sum((1, 2)).mean()
        return (basis.forward(picture[None]).square()[..., fine].sum() / energy.clamp_min(1e-30)).item()


@torch.no_grad()
def draw(
    run: Run,
    picture: Tensor,
    noise: float,
    width: float | None = None,
    kernel: Tensor | None = None,
    count: int = 16,
    steps: int = STEPS,
    degrade: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Possible:
    """count pictures that may lie behind `picture` (C, H, W) in [-1, 1], seen through a known blur and noise.

    width: of a Gaussian blur, px; or kernel, (odd, odd), symmetric, of sum 1. noise: its standard deviation. degrade:
    the picture is clean; blur it first, and add the noise. A network of one channel draws each channel of a picture by
    itself. Raises ValueError where the network or the picture is none for it.
    """
    if (width is None) == (kernel is None):
        raise ValueError(
            "the blur was given " + ("twice" if kernel is not None else "not at all") + "; expected its width in "
            "pixels or its kernel: nothing can be drawn without it, and a picture does not say which it was"
        )
    _, height, across = picture.shape
    channels = run.recipe.channels
    if channels not in (1, len(picture)):
        raise ValueError(
            f"the network of {run.recipe.name} draws pictures of {channels} channels, and this has {len(picture)}"
        )
    denoiser, spectrum, how = _prior(run, (height, across))
    size = (height, across)
    view = View.blurred(size, width, noise) if width is not None else View.of_kernel(size, _tensor(kernel), noise)
    clean = picture.unsqueeze(1) if channels == 1 else picture.unsqueeze(0)
    random = generator_for(seed, "possible")
    seen = view.sample(clean, torch.randn(clean.shape, generator=random)) if degrade else clean
    process = denoiser.process
    assert isinstance(process, Process)  # by _prior
    times = posteriors.grid(process, spectrum, steps)
    drawn = posteriors.sample(denoiser, spectrum, view, seen, times, count, random, progress=progress)
    drawn, seen = (x.flatten(-4, -3) for x in (drawn, seen))  # of channels and images one is 1
    return Possible(drawn, seen, how, picture if degrade else None)


def _prior(run: Run, size: tuple[int, int]) -> tuple[Denoiser, Gaussian, str]:
    """(denoiser, spectrum, how) for pictures of a size; the run's own at its own."""
    process, trained = run.denoiser.process, height_width(run.recipe.size)
    if not isinstance(process, Process) or not process.noisy:
        raise ValueError(
            f"{run.recipe.name} restores and generates nothing; give a run that generates, e.g. photos-ddpm"
        )
    if size == trained:
        return run.denoiser, run.spectrum, "in the network's own size"
    height, width = size
    told = f"the picture has {width}x{height} pixels, and {run.recipe.name} was trained on {trained[1]}x{trained[0]}"
    if height < trained[0] or width < trained[1] or height * width > MOST_PIXELS:
        raise ValueError(f"{told}; expected at least as many, and at most {MOST_PIXELS:,}: cut it or resize it first")
    if not _is_white(process):
        raise ValueError(
            f"{told}, by a process that is not the same for a part of a picture ({process.name}); give a picture of "
            "that size, or a run of white noise, e.g. photos-ddpm"
        )
    whole = replace(process, basis=DCT(size))  # type: ignore[type-var]  # those of white noise are dataclasses with one

    def ask(x: Tensor, t: Tensor) -> Tensor:
        time = float(t[0]) if process.steps is None else round(float(t[0]) * process.steps) / process.steps
        return _in_tiles(lambda tiles: run.denoiser(tiles, time), x, trained)

    count = math.prod(len(_starts(side, tile)) for side, tile in zip(size, trained))
    how = f"the network asked in {count} tiles of {trained[1]}x{trained[0]} pixels that overlap"
    return Denoiser(ask, whole, X0), _enlarged(run.spectrum, size), how


def _is_white(process: Process) -> bool:
    """Whether alpha and sigma are the same for all frequencies, and the process fits every basis."""
    return hasattr(process, "basis") and all(x.numel() == 1 for x in (process.alpha(1.0), process.sigma(1.0)))


def _starts(side: int, tile: int) -> list[int]:
    """Where the fewest tiles that cover a side begin, evenly spread, and overlap by at least a quarter."""
    overlap = tile // 4
    count = max(1, math.ceil((side - overlap) / (tile - overlap)))
    return [round(i * (side - tile) / max(1, count - 1)) for i in range(count)]


def _in_tiles(net: Any, x: Tensor, tile: tuple[int, int]) -> Tensor:
    """What a network says of x (B, C, H, W) tile by tile, blended linearly where tiles overlap."""
    places = [(top, left) for top in _starts(x.shape[-2], tile[0]) for left in _starts(x.shape[-1], tile[1])]
    pieces = torch.cat([x[..., top : top + tile[0], left : left + tile[1]] for top, left in places])
    answers = torch.cat([net(some) for some in pieces.split(AT_ONCE)]).split(len(x))
    down, along = (torch.arange(1, n + 1, dtype=x.dtype) for n in tile)
    ramp = torch.minimum(down, down.flip(0))[:, None] * torch.minimum(along, along.flip(0))
    total, weight = torch.zeros_like(x), torch.zeros_like(x[:1, :1])
    for (top, left), answer in zip(places, answers):
        there = (..., slice(top, top + tile[0]), slice(left, left + tile[1]))
        total[there] += ramp * answer
        weight[there] += ramp
    return total / weight


def _enlarged(spectrum: Gaussian, size: tuple[int, int]) -> Gaussian:
    """The spectrum of larger pictures: the variance at each frequency that of the nearest, and the same mean colour.

    Orthonormal coefficients of stationary pictures have variances that depend on their frequency and not on the size.
    """
    before = spectrum.variance.shape[-2:]
    rows, columns = (torch.arange(n, dtype=torch.float64) * (m / n) for n, m in zip(size, before))
    # grid_sample's places: -1 is the first value and 1 the last; beyond it the last.
    down, across = (2 * at.clamp_max(m - 1) / max(m - 1, 1) - 1 for at, m in zip((rows, columns), before))
    grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1)[None]
    logs = spectrum.variance.clamp_min(torch.finfo(torch.float64).tiny).log()
    variance = F.grid_sample(logs, grid, align_corners=True, padding_mode="border").exp()
    mean = torch.zeros_like(variance)
    mean[..., 0, 0] = spectrum.mean[..., 0, 0] * math.sqrt(math.prod(size) / math.prod(before))
    return Gaussian(DCT(size), variance, mean)


def read_kernel(path: Any) -> Tensor:
    """A kernel from a .npy file, which is not unpickled. Raises ValueError where it is none."""
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a kernel ({error}); expected a .npy file of numbers") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu":
        raise ValueError(f"{path} holds no array of real numbers; expected one, (odd, odd), as numpy.save writes it")
    return torch.from_numpy(found.astype(np.float64))


def _tensor(kernel: Tensor | None) -> Tensor:
    assert kernel is not None  # of width and kernel one is given
    return kernel
