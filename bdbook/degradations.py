"""Degradations that no orthonormal basis makes diagonal: kernels with any border, blends and snow.

Those that multiply coefficients are a `processes.Process`. Some draw something first, a mask's place, a flurry, another
image: `draw` fixes it for a batch. All are restored through the same `samplers.sample`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import fft
from scipy.ndimage import zoom as spline_zoom
from torch import Tensor

from bdbook.errors import unknown
from bdbook.processes import Degradation, Process, Start, label
from bdbook.schedules import dissipation_time
from bdbook.shapes import Coefficients, Images
from bdbook.times import Time, check_steps
from bdbook.transforms import BOUNDARIES, Basis, Pixel, Size, exact_arithmetic, height_width, kernel_matrix

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
        with exact_arithmetic(u.device.type):
            if max(height, width) > DENSE:
                return self._banded(u, index)
            rows, cols = (self._products(n)[index].unsqueeze(1).to(u) for n in (height, width))
            return rows @ u @ cols.mT

    def _products(self, n: int) -> Tensor:
        return _running_products(n, self.kernels, self.boundary, self.to_mean)

    def _banded(self, u: Tensor, index: Tensor) -> Tensor:
        """The same product for sides whose dense matrices would outgrow the image, images of one time together."""
        if self.boundary not in BOUNDARIES:
            raise unknown("boundary", self.boundary, BOUNDARIES)
        blurred = torch.empty_like(u)
        for step in index.unique().tolist():
            chosen = slice(None) if len(index) == 1 else (index == step).to(u.device)
            if self.to_mean and step == self.steps:
                blurred[chosen] = u[chosen].double().mean((-2, -1), keepdim=True).to(u)
                continue
            kernels = self.kernels[:step]
            down, across = (_Banded.of(n, kernels, self.boundary) for n in u.shape[-2:])
            blurred[chosen] = across.along_rows(down.along_columns(u[chosen]))
        return blurred


# Sides up to which all running products are kept as matrices: of 20 steps 11 MB a side. Above, bands are faster too.
DENSE = 256
# Rows that a band's matrix product takes at once, and the part of a kernel's weight that may be left out at its ends.
BLOCK, NEGLIGIBLE = 64, 1e-16


@dataclass(frozen=True)
class _Banded:
    """A product of kernel matrices for n pixels whose far corners are 0: its rows, block by block.

    wrapped: pixels of the other end that go before the first and after the last, where the border wraps around.
    blocks: (first row, first pixel that these rows look at, their part of the matrix), float64.
    """

    n: int
    wrapped: int
    blocks: tuple[tuple[int, int, Tensor], ...]

    @staticmethod
    def of(n: int, kernels: tuple[tuple[float, ...], ...], boundary: str) -> _Banded:
        with torch.inference_mode(False):
            return _banded(n, kernels, boundary)

    def along_columns(self, u: Tensor) -> Tensor:
        """(..., n, W) -> (..., n, W)."""
        u, out = self._wrap(u, -2), torch.empty_like(u)
        for row, first, matrix in self._on(u):
            out[..., row : row + len(matrix), :] = matrix @ u[..., first : first + matrix.shape[1], :]
        return out

    def along_rows(self, u: Tensor) -> Tensor:
        """(..., H, n) -> (..., H, n)."""
        u, out = self._wrap(u, -1), torch.empty_like(u)
        for col, first, matrix in self._on(u):
            out[..., col : col + len(matrix)] = u[..., first : first + matrix.shape[1]] @ matrix.mT
        return out

    def _wrap(self, u: Tensor, dim: int) -> Tensor:
        if not self.wrapped:
            return u
        return torch.cat([u.narrow(dim, self.n - self.wrapped, self.wrapped), u, u.narrow(dim, 0, self.wrapped)], dim)

    def _on(self, u: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        moved: dict[int, Tensor] = {}  # the blocks between the borders are one matrix
        for row, first, matrix in self.blocks:
            if id(matrix) not in moved:
                moved[id(matrix)] = matrix.to(u)
            yield row, first, moved[id(matrix)]


@lru_cache(maxsize=64)
def _banded(n: int, kernels: tuple[tuple[float, ...], ...], boundary: str) -> _Banded:
    taps = _combined(kernels)
    reach = len(taps) // 2
    if n <= max(4 * reach, BLOCK):  # nothing lies between the borders: the whole matrix, of a few reaches a side
        whole = torch.from_numpy(_product(n, kernels, boundary))
        return _Banded(n, 0, ((0, 0, whole),))

    def inner(count: int) -> Tensor:
        matrix = np.zeros((count, count + 2 * reach))
        for row in range(count):
            matrix[row, row : row + len(taps)] = taps
        return torch.from_numpy(matrix)

    wraps = boundary == "circular"
    begin, end = (0, n) if wraps else (reach, n - reach)
    starts = range(begin, end, BLOCK)
    each = {count: inner(count) for count in {min(BLOCK, end - start) for start in starts}}
    # Where it wraps, pixel i of the row lies at i + reach of the longer one.
    blocks = [(start, start if wraps else start - reach, each[min(BLOCK, end - start)]) for start in starts]
    if wraps or not reach:
        return _Banded(n, reach, tuple(blocks))
    # Rows near a border do not see the other one: they are those of a few pixels' product.
    few = torch.from_numpy(_product(4 * reach, kernels, boundary))
    top, bottom = few[:reach, : 2 * reach].clone(), few[-reach:, -2 * reach :].clone()
    return _Banded(n, 0, ((0, 0, top), *blocks, (n - reach, n - 2 * reach, bottom)))


def _combined(kernels: tuple[tuple[float, ...], ...]) -> np.ndarray:
    """The one kernel, of an odd number of taps, that does what these do far from a border; its ends are cut off.

    What is cut off is below rounding: its absolute weights sum to NEGLIGIBLE of all.
    """
    taps, weight = np.ones(1), np.ones(1)
    for kernel in kernels:
        # As `kernel_matrix`, out[i] = sum_k kernel[k] u[i + k - radius]; an even number of taps ends one earlier.
        odd = np.append(kernel, [0.0] * (1 - len(kernel) % 2))
        taps, weight = np.convolve(taps, odd), np.convolve(weight, np.abs(odd))
    both = weight + weight[::-1]
    tail = np.cumsum(both[: len(both) // 2])  # of each cut: the weight on both sides that goes with it
    cut = int(np.searchsorted(tail, NEGLIGIBLE * weight.sum(), side="right"))
    return taps[cut : len(taps) - cut]


def _product(n: int, kernels: tuple[tuple[float, ...], ...], boundary: str) -> np.ndarray:
    """W_i ... W_1 for n pixels, (n, n) float64, tap by tap: a kernel has fewer taps than the matrix columns."""
    product, rows = np.eye(n), np.arange(n)
    for kernel in kernels:
        radius, before = len(kernel) // 2, product
        product = np.zeros((n, n))
        for offset, tap in zip(range(-radius, radius + 1), kernel):
            source = BOUNDARIES[boundary](rows + offset, n)
            there = (source >= 0) & (source < n)
            product[rows[there]] += tap * before[source[there]]
    return product


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
class CosineBlur(Degradation):
    """`cold.DCTBlur` in pixels, by fast cosine transforms along rows and columns: for pictures of any size."""

    size: Size
    sigma_max: float = 8.0
    steps: int | None = None
    name: str = label("dct_blur")
    basis = Pixel()
    local = True

    def resized(self, size: Size) -> CosineBlur:
        return replace(self, size=size)

    def degrade(self, u: Coefficients, t: Time) -> Coefficients:
        tau = dissipation_time(self.sigma_max * self.check(t).flatten()).tolist()
        blurred = torch.empty_like(u)
        # One channel after another: what a transform needs beside the picture is a few times one of its channels.
        for index, channel in np.ndindex(tuple(u.shape[:2])):
            each = u[index, channel].cpu().numpy()
            for axis, n in enumerate(each.shape):
                kept = np.exp(-((np.pi * np.arange(n) / n) ** 2) * tau[index if len(tau) > 1 else 0]).astype(each.dtype)
                options: dict[str, Any] = {"axis": axis, "norm": "ortho", "workers": torch.get_num_threads()}
                each = fft.dct(each, **options)
                each *= kept[:, None] if axis == 0 else kept
                each = fft.idct(each, overwrite_x=True, **options)
            blurred[index, channel] = torch.from_numpy(each).to(u)
        return blurred


@dataclass(frozen=True)
class BlockMeans(Degradation):
    """`cold.Pixelation` in pixels, by means over blocks of 2^i pixels: for pictures of any size."""

    size: Size
    steps: int = 3
    name: str = label("super_resolution")
    basis = Pixel()
    local = True

    @property
    def multiple(self) -> int:
        block: int = 2**self.steps
        return block

    def resized(self, size: Size) -> BlockMeans:
        return replace(self, size=size)

    def degrade(self, u: Coefficients, t: Time) -> Coefficients:
        blocks = [2**i for i in torch.round(self.check(t).flatten() * self.steps).long().tolist()]
        images = u.split(1) if len(blocks) > 1 else (u,)
        return torch.cat(
            [
                F.avg_pool2d(image, block).repeat_interleave(block, -2).repeat_interleave(block, -1)
                for image, block in zip(images, blocks)
            ]
        )


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
