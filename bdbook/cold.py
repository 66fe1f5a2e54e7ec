"""The degradations of cold diffusion by name, with the settings of its tables. Source: Bansal sec. 4, 5, app. A.

Each factory takes the image size first. What is diagonal in a basis is a `Process` without noise: blur that wraps
around or mirrors at the pixel's edge, masks, pixelation, desaturation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bdbook import schedules
from bdbook.degradations import Blend, RecursiveBlur, Snow, start_of_blur
from bdbook.errors import unknown
from bdbook.priors import FlatColour, Normal, Prior
from bdbook.processes import Degradation, Process, Start, check_sigma_max, label, lookup, schedule
from bdbook.shapes import Coefficients, Expanded, PerFrequency
from bdbook.times import Time, check_steps
from bdbook.transforms import (
    BOUNDARIES,
    DCT,
    Colour,
    Haar,
    Hartley,
    Pixel,
    Size,
    gaussian_kernel,
    height_width,
    kernel_matrix,
)

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
    if boundary in DIAGONAL:
        return KernelBlur(size, kernels, boundary, to_mean)
    return RecursiveBlur(size, kernels, boundary, to_mean)


# Boundaries under which a symmetric kernel is diagonal, and where.
DIAGONAL: dict[str, type[Hartley] | type[DCT]] = {"circular": Hartley, "symmetric": DCT}


@dataclass(frozen=True)
class KernelBlur(Process):
    """Kernels one after another at a border where they are diagonal; alpha_t is the product of their eigenvalues.

    boundary: "circular" or "symmetric". The rest as in `degradations.RecursiveBlur`.
    """

    size: Size
    kernels: tuple[tuple[float, ...], ...]
    boundary: str = "symmetric"
    to_mean: bool = False
    name: str = label("blur")
    noisy = False
    local = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", height_width(self.size))

    @property
    def basis(self) -> Hartley | DCT:
        return DIAGONAL[self.boundary](self.size)

    @property
    def steps(self) -> int:
        return len(self.kernels)

    @property
    def start(self) -> Start:
        return start_of_blur(self.to_mean)

    def resized(self, size: Size) -> KernelBlur:
        return replace(self, size=size)

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        return lookup(_eigenvalue_products(self.basis, self.kernels, self.boundary, self.to_mean), t.flatten())

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return torch.zeros_like(t)


@lru_cache(maxsize=16)
def _eigenvalue_products(
    basis: Hartley | DCT, kernels: tuple[tuple[float, ...], ...], boundary: str, to_mean: bool
) -> Tensor:
    """alpha of each step, along rows times along columns, (N + 1, 1, H, W) float64."""
    axes = []
    for n in height_width(basis.size):
        vectors = basis._axis(n)
        eigenvalues = {k: (vectors @ kernel_matrix(n, k, boundary) * vectors).sum(1) for k in kernels}
        axes.append(np.cumprod([np.ones(n), *(eigenvalues[k] for k in kernels)], axis=0))
        if to_mean:
            axes[-1][-1] = np.arange(n) == 0
    with torch.inference_mode(False):
        rows, cols = (torch.from_numpy(axis) for axis in axes)
        return rows[:, None, :, None] * cols[:, None, None, :]


@dataclass(frozen=True)
class DCTBlur(Process):
    """Exact blur with mirrored borders, sigma_B,t = sigma_max t px: alpha_t = e^(-lambda sigma_B,t^2 / 2)."""

    size: Size
    sigma_max: float = 8.0
    steps: int | None = None
    name: str = label("dct_blur")
    noisy = False
    local = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", height_width(self.size))
        check_sigma_max(self.sigma_max)
        check_steps(self.steps)

    @property
    def basis(self) -> DCT:
        return DCT(self.size)

    def resized(self, size: Size) -> DCTBlur:
        return replace(self, size=size)

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        tau = schedules.dissipation_time(self.sigma_max * t)
        return schedules.frequency_scaling(self.basis.freq2.to(t.device), tau)

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return torch.zeros_like(t)


dct_blur = DCTBlur


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
    height, width = height_width(size)
    deviations = tuple(first + increment * j for j in range(steps))
    if steps < 1 or not min(deviations) > 0:
        raise ValueError(f"steps was {steps}, first {first}, increment {increment}; expected masks of positive width")
    if where == "random":
        if colour:
            raise ValueError("a random place and a random colour together are not supported; use where='centre'")
        return RandomMask((height, width), deviations)
    masks = CentredMask((height, width), deviations)
    if not colour:
        return masks
    return Blend(Fade(masks), FlatColour((channels, height, width)), name="inpainting with a colour")


def _mask_table(size: tuple[int, int], deviations: tuple[float, ...], centres: Tensor) -> Tensor:
    """What each step keeps of the pixels around centres (B, 2), in pixels (row, column): (N + 1, B, H, W) float64."""
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
    return torch.stack(table)


@lru_cache(maxsize=16)
def _centred_table(size: tuple[int, int], deviations: tuple[float, ...]) -> Tensor:
    height, width = size
    with torch.inference_mode(False):
        return _mask_table(size, deviations, torch.tensor([[(height - 1) / 2, (width - 1) / 2]]).double())


@dataclass(frozen=True)
class CentredMask(Process):
    """`inpainting` around the middle of every image."""

    size: tuple[int, int]
    deviations: tuple[float, ...]
    name: str = label("inpainting")
    basis = Pixel()
    noisy = False

    @property
    def steps(self) -> int:
        return len(self.deviations)

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        return lookup(_centred_table(self.size, self.deviations), t.flatten())

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return torch.zeros_like(t)


@dataclass(frozen=True, eq=False)
class DrawnMask(Process):
    """`inpainting` around centres (B, 2) in pixels (row, column), one for each image of a batch."""

    size: tuple[int, int]
    deviations: tuple[float, ...]
    centres: Tensor
    name: str = label("inpainting")
    basis = Pixel()
    noisy = False

    @property
    def steps(self) -> int:
        return len(self.deviations)

    @schedule
    def alpha(self, t: Tensor) -> PerFrequency:
        table = self._table
        index, images = torch.round(t.flatten() * self.steps).long().to(table.device), table.shape[1]
        if len(index) > 1 < images != len(index):
            raise ValueError(f"masks were drawn for {images} images, but there are {len(index)} times")
        each = torch.arange(images, device=table.device) if images > 1 else torch.zeros_like(index)
        return table[index.expand(len(each)) if len(index) == 1 else index, each].unsqueeze(1)

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return torch.zeros_like(t)

    @cached_property
    def _table(self) -> Tensor:
        return _mask_table(self.size, self.deviations, self.centres)

    def rows(self, chosen: slice) -> DrawnMask:
        return replace(self, centres=self.centres[chosen]) if len(self.centres) > 1 else self


@dataclass(frozen=True)
class RandomMask(Degradation):
    """`inpainting` before its place is drawn: uniform over the image's pixels, one for each image of a batch."""

    size: tuple[int, int]
    deviations: tuple[float, ...]
    name: str = label("inpainting")
    basis = Pixel()

    @property
    def steps(self) -> int:
        return len(self.deviations)

    def draw(self, count: int, generator: torch.Generator) -> DrawnMask:
        sides = torch.tensor(self.size, dtype=torch.float64, device=generator.device)
        centres = torch.rand(count, 2, generator=generator, device=generator.device, dtype=torch.float64) * sides
        return DrawnMask(self.size, self.deviations, centres.floor())

    def degrade(self, u: Coefficients, t: Time) -> Coefficients:
        raise ValueError("the masks' places have not been drawn; use draw(count, generator)")


@dataclass(frozen=True)
class Fade(Process):
    """What a mask takes from the image is given to the noise: alpha as the mask's, sigma = 1 - alpha."""

    mask: CentredMask
    name: str = label("inpainting")
    basis = Pixel()

    @property
    def steps(self) -> int:
        return self.mask.steps

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        return self.mask.alpha(t.flatten())

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return 1 - self.mask.alpha(t.flatten())


# --- resolution, colour ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pixelation(Process):
    """Means over blocks of 2^i pixels, shown in full size: step i takes the next finest Haar wavelets away.

    The paper's code halves with a bicubic filter; a mean is the same idea, and diagonal. Source: Bansal sec. 4.3.
    """

    size: Size
    steps: int = 3
    name: str = label("super_resolution")
    noisy = False
    local = True

    def __post_init__(self) -> None:
        height, width = height_width(self.size)
        object.__setattr__(self, "size", (height, width))
        if self.steps < 1 or height % self.multiple or width % self.multiple:
            raise ValueError(
                f"{height}x{width} pixels cannot be halved {self.steps} times; expected multiples of {self.multiple}"
            )

    @property
    def multiple(self) -> int:
        block: int = 2**self.steps
        return block

    @property
    def basis(self) -> Haar:
        return Haar(self.size)

    @property
    def start(self) -> Start:
        """A mixture over the blocks where they are few, else pixelated images."""
        blocks = math.prod(side >> self.steps for side in height_width(self.size))
        return Start("mixture" if blocks <= FEW else "images")

    def resized(self, size: Size) -> Pixelation:
        return replace(self, size=size)

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        block = 2 ** torch.round(t * self.steps).long()
        height, width = height_width(self.size)
        rows, cols = (torch.arange(side, device=t.device) for side in (height, width))
        return ((rows[:, None] < height // block) & (cols < width // block)).double()

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return torch.zeros_like(t)


# Blocks of a channel that a mixture is fitted to.
FEW = 16
super_resolution = Pixelation


@dataclass(frozen=True)
class Colourisation(Process):
    """Colour fades to the mean of the channels: (1 - t) x + t mean. steps=None: any t. Source: Bansal app. A.4."""

    steps: int | None = 50
    channels: int = 3
    name: str = label("colourisation")
    noisy = False
    local = True

    def __post_init__(self) -> None:
        check_steps(self.steps)

    @property
    def basis(self) -> Colour:
        return Colour(self.channels)

    def resized(self, size: Size) -> Colourisation:
        return self

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        grey = torch.arange(self.channels, device=t.device).reshape(1, -1, 1, 1) == 0
        return torch.where(grey, 1.0, 1 - t)

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return torch.zeros_like(t)


colourisation = Colourisation


# --- noise and other images -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CosineBlend(Process):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2): D(x, 0) = x exactly, nothing of x at t = 1."""

    steps: int | None = 200
    name: str = label("cosine blend")
    basis = Pixel()
    start = Start("noise")

    def __post_init__(self) -> None:
        check_steps(self.steps)

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        return torch.where(t == 1, 0.0, torch.cos(t * math.pi / 2))

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return torch.sin(t * math.pi / 2)


cosine_blend = CosineBlend


def noise(size: Size, steps: int | None = 200, channels: int = 1) -> Blend:
    """Noise as a degradation, one pattern an image, drawn once and kept. Source: Bansal sec. 5.1, "fixed noise".

    With the pattern estimated at each step instead, use `cosine_blend` and the rule ddim.
    """
    return Blend(CosineBlend(steps), Normal((channels, *height_width(size))), name="noise")


def animorphosis(other: Prior, steps: int | None = 200) -> Blend:
    """A picture turns into another, drawn from `other` (`priors.images`, `data.Pictures`). Source: Bansal sec. 5.3."""
    if not callable(other):
        raise ValueError(
            f"other was {other!r}; expected a prior such as priors.images(pictures) or data.Pictures(name, 16)"
        )
    return Blend(CosineBlend(steps), other, name="animorphosis")


# --- by name --------------------------------------------------------------------------------------------------


Setting = float | str | tuple[float, float]


@dataclass(frozen=True)
class Preset:
    """A degradation with the settings of one of the paper's experiments, for images of its size."""

    factory: str
    size: int
    channels: int
    settings: Mapping[str, Setting]

    def build(self) -> Degradation:
        return degradation(self.factory, self.size, self.channels, **self.settings)


FACTORIES: dict[str, Callable[..., Degradation]] = {
    "blur": lambda size, channels, **settings: blur(size, **settings),
    "dct_blur": lambda size, channels, **settings: dct_blur(size, **settings),
    "inpainting": lambda size, channels, **settings: inpainting(size, channels=channels, **settings),
    "super_resolution": lambda size, channels, **settings: super_resolution(size, **settings),
    "colourisation": lambda size, channels, **settings: colourisation(channels=channels, **settings),
    "snow": lambda size, channels, **settings: Snow(size, **settings),
    "noise": lambda size, channels, **settings: noise(size, channels=channels, **settings),
    "animorphosis": lambda size, channels, **settings: animorphosis(**settings),
}


def degradation(name: str, size: Size, channels: int = 1, **settings: Any) -> Degradation:
    """A degradation by the name of its factory; settings: its arguments besides the size and the channels."""
    if name not in FACTORIES:
        raise unknown("degradation", name, FACTORIES)
    return FACTORIES[name](size, channels, **settings)


def _preset(factory: str, size: int, channels: int, **settings: Setting) -> Preset:
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
