"""Degradations that no orthonormal basis makes diagonal: kernels with any border, blends and snow.

Those that multiply coefficients are a `processes.Process`. Some draw something first, a mask's place, a flurry, another
image: `draw` fixes it for a batch. All are restored through the same `samplers.sample`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import zoom as spline_zoom
from torch import Tensor

from bdbook.processes import Degradation, Process, Start, label
from bdbook.shapes import Coefficients, Images
from bdbook.times import Time, check_steps
from bdbook.transforms import Basis, Pixel, Size, exact_arithmetic, height_width, kernel_matrix

# Noise that tells the pixels of a flat start apart. Source: Bansal sec. 5.2
SYMMETRY_BREAKING = 0.002


@dataclass(frozen=True)
class RecursiveBlur(Degradation):
    """Kernels one after another, D(x, i / N) = G_i * ... * G_1 * x, any border. Source: Bansal sec. 4.1.

    kernels: one tuple of taps a step, along rows and columns alike. boundary: "reflect" (mirrored at the centre of
    the border pixel, as in the authors' code), or as in `transforms.kernel_matrix`. to_mean: the last step is the
    channel mean, as for generation.
    """

    size: Size
    kernels: tuple[tuple[float, ...], ...]
    boundary: str = "reflect"
    to_mean: bool = False
    name: str = label("blur")
    basis = Pixel()
    local = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", height_width(self.size))

    @property
    def steps(self) -> int:
        return len(self.kernels)

    @property
    def start(self) -> Start:
        """The few numbers that blur to the mean leaves, else blurred images."""
        return start_of_blur(self.to_mean)

    def resized(self, size: Size) -> RecursiveBlur:
        return replace(self, size=size)

    def degrade(self, u: Coefficients, t: Time) -> Coefficients:
        height, width = height_width(self.size)
        if tuple(u.shape[-2:]) != (height, width):
            raise ValueError(f"this blur was made for images of size {(height, width)}, but got {tuple(u.shape)}")
        index = torch.round(self.check(t).flatten() * self.steps).long().cpu()
        rows, cols = (self._products(n)[index].unsqueeze(1).to(u) for n in (height, width))
        with exact_arithmetic(u.device.type):
            return rows @ u @ cols.mT

    def _products(self, n: int) -> Tensor:
        return _running_products(n, self.kernels, self.boundary, self.to_mean)


def start_of_blur(to_mean: bool) -> Start:
    """Where the walk of a blur begins: of one that leaves nothing but the mean, flat images told apart by noise."""
    return Start("mixture", SYMMETRY_BREAKING) if to_mean else Start("images")


@lru_cache(maxsize=16)
def _running_products(n: int, kernels: tuple[tuple[float, ...], ...], boundary: str, to_mean: bool) -> Tensor:
    """I, W_1, W_2 W_1, ...: (N + 1, n, n) float64."""
    products, matrices = [np.eye(n)], {}
    for taps in kernels:
        if taps not in matrices:
            matrices[taps] = kernel_matrix(n, taps, boundary)
        products.append(matrices[taps] @ products[-1])
    if to_mean:
        products[-1] = np.full((n, n), 1 / n)
    return torch.from_numpy(np.stack(products))


@dataclass(frozen=True)
class Blend(Degradation):
    """D(x, t) = alpha_t x + sigma_t z with a z that stays: fixed noise, a flat colour, the picture of an animal.

    process: whose alpha and sigma. draw_z: (count, generator) -> z, (count, C, H, W), a `priors.Prior`. z: what was
    drawn. Source: Bansal sec. 5.1 (noise), sec. 5.3 (colour, animorphosis).
    """

    process: Process
    draw_z: Callable[[int, torch.Generator], Tensor] | None = None
    z: Tensor | None = None
    name: str = label("blend")

    @property
    def basis(self) -> Basis:
        return self.process.basis

    @property
    def steps(self) -> int | None:
        return self.process.steps

    def draw(self, count: int, generator: torch.Generator) -> Blend:
        if self.draw_z is None and self.z is None:
            raise ValueError(f"{self.name} was given no draw_z to draw from; give one, or z itself")
        z = self.z if self.draw_z is None else self.draw_z(count, generator)
        return replace(self, process=self.process.draw(count, generator), z=z)

    def rows(self, chosen: slice) -> Blend:
        z = self.z if self.z is None or len(self.z) == 1 else self.z[chosen]
        return replace(self, process=self.process.rows(chosen), z=z)

    def degrade(self, u: Coefficients, t: Time) -> Coefficients:
        if self.z is None:
            raise ValueError(f"{self.name} blends with an image that has not been drawn; use draw(count, generator)")
        _check_drawn(self.name, self.z, u)
        z = self.basis.forward(self.z.to(u))
        return self.process.alpha(t).to(u) * u + self.process.sigma(t).to(u) * z


@dataclass(frozen=True)
class Snow(Degradation):
    """Flakes where a field exceeds a falling threshold, blown along by wind: x + S + S', clipped to the range.

    S_C = S_B [S_B > c_0(t)], clipped to [0, 1], S its blur along rows or columns by a kernel of deviation c_1(t) px,
    S' the same turned by 180 degrees; the image is clipped with its values taken to [0, 1]. c_0 falls and c_1 grows
    linearly in t. Source: Bansal app. A.5, after Hendrycks & Dietterich 2019 (ImageNet-C).

    field: S_B of a batch, (B, 1, H, W), and vertical (B,), whether it blows along columns: what `draw` draws. The
    field is N(mean, deviation^2), its upper left corner enlarged `zoom` times (linear splines). zoom is this book's
    choice, as is the kernel: one-sided, as wind blows, its border pixels repeated.
    """

    size: Size
    threshold: tuple[float, float] = (1.15, 0.7)
    wind: tuple[float, float] = (0.05, 16.0)
    mean_value: float = 0.55
    deviation: float = 0.3
    zoom: float = 2.0
    steps: int | None = 200
    field: Tensor | None = None
    vertical: Tensor | None = None
    name: str = label("snow")
    basis = Pixel()

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", height_width(self.size))
        if not min(self.wind) > 0 or not self.zoom >= 1:
            raise ValueError(f"wind was {self.wind} and zoom {self.zoom}; expected winds above 0 px and zoom >= 1")
        check_steps(self.steps)

    def draw(self, count: int, generator: torch.Generator) -> Snow:
        height, width = height_width(self.size)
        noise = torch.randn(count, height, width, generator=generator, device=generator.device, dtype=torch.float64)
        seeds = (self.mean_value + self.deviation * noise).cpu().numpy()
        vertical = torch.rand(count, generator=generator, device=generator.device) < 0.5
        corner = tuple(int(np.ceil(side / self.zoom)) + 1 for side in (height, width))
        enlarged = np.stack([spline_zoom(s[: corner[0], : corner[1]], self.zoom, order=1) for s in seeds])
        field = torch.from_numpy(np.ascontiguousarray(enlarged[:, None, :height, :width])).to(generator.device)
        return replace(self, field=field, vertical=vertical)

    def rows(self, chosen: slice) -> Snow:
        if self.field is None or self.vertical is None:
            return self
        return replace(self, field=self.field[chosen], vertical=self.vertical[chosen])

    def flakes(self, t: Time) -> Images:
        """S_C, (B, 1, H, W): the field where it exceeds the threshold, clipped to [0, 1]."""
        field, _ = self.drawn()
        first, last = self.threshold
        threshold = first + (last - first) * self.check(t).to(field.device)
        return torch.where(field > threshold, field, 0.0).clamp(0, 1)

    def layer(self, t: Time) -> Images:
        """S + S', (B, 1, H, W), in units of the image's range."""
        flakes, (_, vertical) = self.flakes(t), self.drawn()
        first, last = self.wind
        deviation = (first + (last - first) * self.check(t)).flatten()
        along_columns, along_rows = (
            _wind_matrices(n, deviation).unsqueeze(1).to(flakes) for n in (flakes.shape[-2], flakes.shape[-1])
        )
        blown = torch.where(
            vertical.reshape(-1, 1, 1, 1).to(flakes.device), along_columns @ flakes, flakes @ along_rows.mT
        )
        # At t = 0 the threshold may still let a flake through: no severity, no snow.
        return torch.where(self.check(t).to(blown) > 0, blown + blown.flip(-1, -2), 0.0)

    def degrade(self, u: Coefficients, t: Time) -> Coefficients:
        field, _ = self.drawn()
        _check_drawn(self.name, field, u)
        # [-1, 1] is twice as wide as [0, 1]. Nothing is clipped where nothing has fallen, so that D(x, 0) = x.
        layer = 2 * self.layer(t).to(u)
        return torch.where(layer > 0, (u + layer).clamp(-1, 1), u)

    def drawn(self) -> tuple[Tensor, Tensor]:
        """(field, vertical); raises before they are drawn."""
        if self.field is None or self.vertical is None:
            raise ValueError("no snow has been drawn; use draw(count, generator)")
        return self.field, self.vertical


def _check_drawn(name: str, drawn: Tensor, u: Tensor) -> None:
    """Raise unless what was drawn is for as many images as u has (or one for all), of u's size."""
    if len(drawn) not in (1, len(u)) or drawn.shape[-2:] != u.shape[-2:]:
        raise ValueError(
            f"{name} was drawn for {len(drawn)} images of size {tuple(drawn.shape[-2:])}, but got {tuple(u.shape)}; "
            "draw again with draw(len(x), generator)"
        )


def _wind_matrices(n: int, deviation: Tensor) -> Tensor:
    """A one-sided Gaussian average over the n - 1 pixels before each, border pixel repeated: (B, n, n) float64."""
    reach = torch.arange(n, dtype=torch.float64, device=deviation.device)
    taps = torch.exp(-0.5 * (reach / deviation.double().unsqueeze(1)) ** 2)
    taps = taps / taps.sum(1, keepdim=True)  # (B, n)
    source = (torch.arange(n)[:, None] - torch.arange(n)).clamp_min(0).to(deviation.device)  # pixel i, reach k
    matrices = torch.zeros(len(taps), n, n, dtype=torch.float64, device=deviation.device)
    return matrices.scatter_add(2, source.expand_as(matrices), taps.unsqueeze(1).expand_as(matrices).contiguous())
