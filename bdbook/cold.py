"""The degradations of cold diffusion by name, with the settings of its tables. Source: Bansal sec. 4, 5, app. A.

Each factory takes the image size first. What is diagonal in a basis is a `Process` without noise: blur that wraps
around or mirrors at the pixel's edge, masks, pixelation, desaturation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from bdbook import data, schedules
from bdbook.degradations import Blend, Degradation, RecursiveBlur, Snow
from bdbook.errors import unknown
from bdbook.priors import Prior, flat_colour, images, normal
from bdbook.processes import Process, check_sigma_max, lookup
from bdbook.times import check_steps
from bdbook.transforms import (
    BOUNDARIES,
    DCT,
    Basis,
    Colour,
    Haar,
    Hartley,
    Pixel,
    gaussian_kernel,
    kernel_matrix,
    pair,
)

Size = int | tuple[int, int]
# Pictures of the other data set that animorphosis turns to.
OTHERS = 1024


# --- blur -----------------------------------------------------------------------------------------------------

GROWTH = {
    "constant": lambda std, rate, i: std,
    "linear": lambda std, rate, i: std + rate * i,
    "exponential": lambda std, rate, i: std * math.exp(rate * i),
}


def blur(
    size: Size,
    steps: int = 50,
    std: float = 0.35,
    rate: float = 0.01,
    growth: str = "linear",
    first: int = 1,
    width: int = 11,
    boundary: str = "reflect",
    to_mean: bool = False,
) -> Degradation:
    """Gaussian kernels one after another: std_i = std, std + rate i or std e^(rate i) px, i from `first` on.

    width: taps of each kernel, odd. boundary: "circular" and "symmetric" give a `Process`, the others a
    `RecursiveBlur`. to_mean: the last step is the channel mean. The paper counts i from 1, its code from 0.
    Source: Bansal sec. 4.1, 5.2, app. A.1.
    """
    if growth not in GROWTH:
        raise unknown("growth", growth, GROWTH)
    if boundary not in BOUNDARIES:
        raise unknown("boundary", boundary, BOUNDARIES)
    if steps < 1 or width < 1 or width % 2 == 0:
        raise ValueError(f"steps was {steps} and width {width}; expected at least 1 step and an odd number of taps")
    stds = [GROWTH[growth](std, rate, i) for i in range(first, first + steps)]
    kernels = tuple(gaussian_kernel(s, width // 2) for s in stds)
    if boundary == "circular":
        return _diagonal_blur(Hartley(size), kernels, boundary, to_mean)
    if boundary == "symmetric":
        return _diagonal_blur(DCT(size), kernels, boundary, to_mean)
    return RecursiveBlur(pair(size), kernels, boundary, to_mean)


def _diagonal_blur(basis: Basis, kernels: tuple, boundary: str, to_mean: bool) -> Process:
    """alpha_t is the product of the kernels' eigenvalues, along rows times along columns."""
    axes = []
    for n in basis.size:
        vectors = basis._axis(n)
        eigenvalues = {k: (vectors @ kernel_matrix(n, k, boundary) * vectors).sum(1) for k in kernels}
        axes.append(np.cumprod([np.ones(n), *(eigenvalues[k] for k in kernels)], axis=0))
        if to_mean:
            axes[-1][-1] = np.arange(n) == 0
    rows, cols = (torch.from_numpy(axis) for axis in axes)
    return _tabulated(basis, rows[:, None, :, None] * cols[:, None, None, :], "blur")


def dct_blur(size: Size, sigma_max: float = 8.0, steps: int | None = None) -> Process:
    """Exact blur with mirrored borders, sigma_B,t = sigma_max t px: alpha_t = e^(-lambda sigma_B,t^2 / 2)."""
    check_sigma_max(sigma_max)
    check_steps(steps)
    basis = DCT(size)

    def alpha(t: Tensor) -> Tensor:
        return schedules.frequency_scaling(basis.freq2.to(t.device), schedules.dissipation_time(sigma_max * t))

    return Process(basis, alpha, torch.zeros_like, steps, "dct_blur")


# --- masks ----------------------------------------------------------------------------------------------------


def inpainting(
    size: Size,
    steps: int = 50,
    first: float = 1.0,
    increment: float = 0.1,
    where: str = "centre",
    colour: bool = False,
    channels: int = 1,
) -> Degradation:
    """Pixels fade under Gaussian masks one over another: alpha_i = product over j <= i of 1 - G_j / max G_j.

    G_j has standard deviation first + increment (j - 1) px (the paper calls it variance, its code uses it so).
    where: "centre", or "random" for a place of its own for each image of a batch. colour: what fades becomes a flat
    random colour instead of grey, for generation. Source: Bansal sec. 4.2, 5.3, app. A.2.
    """
    if where not in ("centre", "random"):
        raise unknown("place of the mask", where, ("centre", "random"))
    height, width = pair(size)
    deviations = tuple(first + increment * j for j in range(steps))
    if steps < 1 or not min(deviations) > 0:
        raise ValueError(f"steps was {steps}, first {first}, increment {increment}; expected masks of positive width")
    if where == "random":
        masks = RandomMask((height, width), deviations)
    else:
        masks = _mask((height, width), deviations, torch.tensor([[(height - 1) / 2, (width - 1) / 2]]).double())
    if not colour:
        return masks
    if where == "random":
        raise ValueError("a random place and a random colour together are not supported; use where='centre'")
    fade = Process(
        Pixel(), lambda t: masks.alpha(t.flatten()), lambda t: 1 - masks.alpha(t.flatten()), steps, "inpainting"
    )
    return Blend(fade, flat_colour((channels, height, width)), name="inpainting with a colour")


@dataclass(frozen=True)
class Masks(Process):
    """Masks at drawn places; `of` gives those of some images."""

    of: Callable[[slice], Process] | None = None

    def rows(self, chosen):
        return self.of(chosen)


def _mask(size: tuple[int, int], deviations: tuple[float, ...], centres: Tensor) -> Process:
    """Masks around centres (B, 2), in pixels (row, column)."""
    height, width = size
    device = centres.device
    d2 = (torch.arange(height, device=device)[:, None] - centres[:, 0, None, None]) ** 2 + (
        torch.arange(width, device=device) - centres[:, 1, None, None]
    ) ** 2
    # To the nearest pixel the curve is 1, as the authors divide by its largest value.
    d2 = d2 - d2.flatten(1).amin(1)[:, None, None]
    keep = torch.ones_like(d2)
    table = [keep]
    for deviation in deviations:
        keep = keep * -torch.expm1(-d2 / (2 * deviation**2))
        table.append(keep)
    table = torch.stack(table)  # (N + 1, B, H, W)

    def alpha(t: Tensor) -> Tensor:
        index = torch.round(t.flatten() * len(deviations)).long().to(device)
        if len(index) > 1 < table.shape[1] != len(index):
            raise ValueError(f"masks were drawn for {table.shape[1]} images, but there are {len(index)} times")
        each = torch.arange(table.shape[1], device=device) if table.shape[1] > 1 else torch.zeros_like(index)
        return table[index.expand(len(each)) if len(index) == 1 else index, each].unsqueeze(1)

    def of(chosen: slice) -> Process:
        return _mask(size, deviations, centres[chosen] if len(centres) > 1 else centres)

    return Masks(Pixel(), alpha, torch.zeros_like, len(deviations), "inpainting", of)


@dataclass(frozen=True)
class RandomMask(Degradation):
    """`inpainting` before its place is drawn: uniform over the image's pixels, one for each image of a batch."""

    size: tuple[int, int]
    deviations: tuple[float, ...]
    name: str = "inpainting"
    basis = Pixel()

    @property
    def steps(self) -> int:
        return len(self.deviations)

    def draw(self, count, generator):
        sides = torch.tensor(self.size, dtype=torch.float64, device=generator.device)
        centres = torch.rand(count, 2, generator=generator, device=generator.device, dtype=torch.float64) * sides
        return _mask(self.size, self.deviations, centres.floor())

    def degrade(self, u, t):
        raise ValueError("the masks' places have not been drawn; use draw(count, generator)")


# --- resolution, colour ---------------------------------------------------------------------------------------


def super_resolution(size: Size, steps: int = 3) -> Process:
    """Means over blocks of 2^i pixels, shown in full size: step i takes the next finest Haar wavelets away.

    The paper's code halves with a bicubic filter; a mean is the same idea, and diagonal. Source: Bansal sec. 4.3.
    """
    height, width = pair(size)
    if steps < 1 or height % 2**steps or width % 2**steps:
        raise ValueError(f"{height}x{width} pixels cannot be halved {steps} times; expected multiples of {2**steps}")
    kept = [
        (torch.arange(height)[:, None] < height >> i) & (torch.arange(width) < width >> i) for i in range(steps + 1)
    ]
    return _tabulated(Haar((height, width)), torch.stack(kept).double().unsqueeze(1), "super_resolution")


def colourisation(steps: int | None = 50, channels: int = 3) -> Process:
    """Colour fades to the mean of the channels: (1 - t) x + t mean. steps=None: any t. Source: Bansal app. A.4."""
    check_steps(steps)
    grey = torch.arange(channels).reshape(1, -1, 1, 1) == 0

    def alpha(t: Tensor) -> Tensor:
        return torch.where(grey.to(t.device), 1.0, 1 - t)

    return Process(Colour(channels), alpha, torch.zeros_like, steps, "colourisation")


# --- noise and other images -----------------------------------------------------------------------------------


def cosine_blend(steps: int | None = 200) -> Process:
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2): D(x, 0) = x exactly, nothing of x at t = 1."""
    check_steps(steps)

    def alpha(t: Tensor) -> Tensor:
        return torch.where(t == 1, 0.0, torch.cos(t * math.pi / 2))

    return Process(Pixel(), alpha, lambda t: torch.sin(t * math.pi / 2), steps, "cosine blend")


def noise(size: Size, steps: int | None = 200, channels: int = 1) -> Blend:
    """Noise as a degradation, one pattern an image, drawn once and kept. Source: Bansal sec. 5.1, "fixed noise".

    With the pattern estimated at each step instead, use `cosine_blend` and the rule ddim.
    """
    return Blend(cosine_blend(steps), normal((channels, *pair(size))), name="noise")


def animorphosis(other: Prior, steps: int | None = 200) -> Blend:
    """A picture turns into another, drawn from `other` (`priors.images`). Source: Bansal sec. 5.3."""
    return Blend(cosine_blend(steps), other, name="animorphosis")


def _tabulated(basis: Basis, table: Tensor, name: str) -> Process:
    """alpha of step i is table[i], (N + 1, 1, H, W) float64."""
    return Process(basis, lambda t: lookup(table, t.flatten()), torch.zeros_like, len(table) - 1, name)


# --- by name --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preset:
    """A degradation with the settings of one of the paper's experiments, for images of its size."""

    factory: str
    size: int
    channels: int
    settings: Mapping[str, float | int | str | bool]

    def build(self) -> Degradation:
        return degradation(self.factory, self.size, self.channels, **self.settings)


FACTORIES = {
    "blur": lambda size, channels, **settings: blur(size, **settings),
    "dct_blur": lambda size, channels, **settings: dct_blur(size, **settings),
    "inpainting": lambda size, channels, **settings: inpainting(size, channels=channels, **settings),
    "super_resolution": lambda size, channels, **settings: super_resolution(size, **settings),
    "colourisation": lambda size, channels, **settings: colourisation(channels=channels, **settings),
    "snow": lambda size, channels, **settings: Snow(pair(size), **settings),
    "noise": lambda size, channels, **settings: noise(size, channels=channels, **settings),
    "animorphosis": lambda size, channels, other="leaves", **settings: animorphosis(
        images(data.load(other, size, channels, OTHERS)), **settings
    ),
}


def degradation(name: str, size: Size, channels: int = 1, **settings) -> Degradation:
    """A degradation by the name of its factory; that of animorphosis takes the other data set's name, "leaves"."""
    if name not in FACTORIES:
        raise unknown("degradation", name, FACTORIES)
    return FACTORIES[name](size, channels, **settings)


def _preset(factory: str, size: int, channels: int, **settings) -> Preset:
    return Preset(factory, size, channels, MappingProxyType(settings))


# "-code" where the released code differs from the paper's words.
PRESETS = {
    "blur-mnist": _preset("blur", 28, 1, steps=40, std=7.0, growth="constant", boundary="circular"),
    "blur-mnist-code": _preset("blur", 28, 1, steps=20, std=7.0, growth="constant", boundary="circular"),
    "blur-cifar10": _preset("blur", 32, 3, steps=50, std=0.35, rate=0.01, growth="linear"),
    "blur-cifar10-code": _preset("blur", 32, 3, steps=50, std=0.35, rate=0.01, growth="linear", first=0),
    "blur-celeba": _preset("blur", 128, 3, steps=200, std=1.0, rate=0.01, growth="exponential", width=15),
    "blur-generation": _preset(
        "blur",
        128,
        3,
        steps=300,
        std=1.0,
        growth="exponential",
        first=0,  # "starts at 1"
        width=27,
        boundary="circular",
        to_mean=True,
    ),
    "inpainting-mnist": _preset("inpainting", 28, 1, where="random"),
    "inpainting-cifar10": _preset("inpainting", 32, 3, where="random"),
    "inpainting-celeba": _preset("inpainting", 128, 3),
    # The paper gives no numbers; these are its code's, and leave at most 0.5 % of a pixel (which walks them backwards).
    "inpainting-generation": _preset("inpainting", 128, 3, steps=750, first=0.05, increment=0.05, colour=True),
    "super-resolution-cifar10": _preset("super_resolution", 32, 3, steps=3),
    "super-resolution-celeba": _preset("super_resolution", 128, 3, steps=6),
    "super-resolution-celeba-code": _preset("super_resolution", 128, 3, steps=4),
    "colourisation-cifar10": _preset("colourisation", 32, 3, steps=50),
    "colourisation-celeba": _preset("colourisation", 128, 3, steps=20),
    "snow-cifar10": _preset("snow", 32, 3, threshold=(1.15, 0.7), wind=(0.05, 16.0)),
    "snow-celeba": _preset("snow", 128, 3, threshold=(1.15, 0.55), wind=(0.05, 20.0)),
    "noise": _preset("noise", 128, 3),
}


def preset(name: str) -> Degradation:
    """One of the paper's degradations, built for its image size."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name].build()
