"""Orthonormal bases in which the book's processes are diagonal.

Every basis here acts on rows, columns or channels by an orthonormal matrix, so that

    u = forward(x) = V' x,     x = inverse(u) = V u,     |u| = |x|   (Parseval).

Matrices are computed once in float64 and applied in the dtype of the image. bf16 would turn a round-trip
error of 1e-6 into 3e-2, so half-precision images are lifted to float32 and autocast and TF32 are kept out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from bdbook.errors import unknown
from bdbook.shapes import AnyImages, Coefficients, Images, OfBasis

Size = int | tuple[int, int]


def height_width(size: Size) -> tuple[int, int]:
    """(H, W) of a size given as one side or as both."""
    sides = (size, size) if isinstance(size, int | np.integer) else tuple(size)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"image size was {size}; expected positive sides, e.g. 32 or (32, 48)")
    return int(sides[0]), int(sides[1])


class Basis:
    """An orthonormal change of basis V for images (B, C, H, W)."""

    @property
    def freq2(self) -> OfBasis:
        """lambda, squared frequency of each coefficient, (1, 1, H, W) float64, rad^2 / px^2."""
        raise NotImplementedError

    def forward(self, x: AnyImages) -> Coefficients:
        """Coefficients u = V' x; x and u are (B, C, H, W)."""
        raise NotImplementedError

    def inverse(self, u: Coefficients) -> Images:
        """Image x = V u."""
        raise NotImplementedError


@dataclass(frozen=True)
class Pixel(Basis):
    """The identity: pixels are their own coefficients. Fits every size."""

    @property
    def freq2(self) -> OfBasis:
        return torch.zeros(1, 1, 1, 1, dtype=torch.float64)

    def forward(self, x: AnyImages) -> Coefficients:
        return at_least_float32(x)

    def inverse(self, u: Coefficients) -> Images:
        return at_least_float32(u)


@dataclass(frozen=True)
class Rotation2D(Basis):
    """u = R x C' with orthonormal R (H, H) and C (W, W), one basis vector a row."""

    size: Size

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", height_width(self.size))  # 8 and (8, 8) are the same basis

    def matrices(self) -> tuple[Tensor, Tensor]:
        """(R, C), float64."""
        rows, cols = (_as_tensor(self._axis(n)) for n in height_width(self.size))
        return rows, cols

    def _axis(self, n: int) -> np.ndarray:
        raise NotImplementedError

    def _axis_frequency(self, n: int) -> np.ndarray:
        raise NotImplementedError

    @property
    def freq2(self) -> OfBasis:
        rows, cols = (_as_tensor(self._axis_frequency(n) ** 2) for n in height_width(self.size))
        return (rows[:, None] + cols[None, :])[None, None]

    def forward(self, x: AnyImages) -> Coefficients:
        return self._apply(x, inverse=False)

    def inverse(self, u: Coefficients) -> Images:
        return self._apply(u, inverse=True)

    def _apply(self, x: Tensor, inverse: bool) -> Tensor:
        if tuple(x.shape[-2:]) != self.size:
            raise ValueError(
                f"{type(self).__name__} was made for images of size {self.size}, but got {tuple(x.shape)}; "
                f"make it with size={tuple(x.shape[-2:])}"
            )
        with exact_arithmetic(x.device.type):
            x = at_least_float32(x)
            left, right = _operators(self, inverse, x.dtype, x.device)
            return left @ x @ right


@dataclass(frozen=True)
class DCT(Rotation2D):
    """Orthonormal DCT-II along rows and columns: the eigenbasis of blur with mirrored borders.

    Coefficient (n, m) has lambda = (pi n / H)^2 + (pi m / W)^2. Source: HS app. A.1, Rissanen et al. 2022.
    """

    def _axis(self, n: int) -> np.ndarray:
        k, j = np.arange(n)[:, None], np.arange(n)[None, :]
        matrix: np.ndarray = np.sqrt(2 / n) * np.cos(np.pi * k * (2 * j + 1) / (2 * n))
        matrix[0] /= np.sqrt(2)
        return matrix

    def _axis_frequency(self, n: int) -> np.ndarray:
        return np.pi * np.arange(n) / n


@dataclass(frozen=True)
class Hartley(Rotation2D):
    """Orthonormal real Fourier basis along rows and columns: the eigenbasis of symmetric blur that wraps around.

    Row k is cos(2 pi k j / n) + sin(2 pi k j / n), divided by sqrt(n); k and n - k have the same frequency.
    """

    def _axis(self, n: int) -> np.ndarray:
        angle = 2 * np.pi * np.outer(np.arange(n), np.arange(n)) / n
        return (np.cos(angle) + np.sin(angle)) / math.sqrt(n)

    def _axis_frequency(self, n: int) -> np.ndarray:
        k = np.arange(n)
        frequency: np.ndarray = 2 * np.pi * np.minimum(k, n - k) / n
        return frequency


@dataclass(frozen=True)
class Haar(Rotation2D):
    """Orthonormal Haar wavelets along rows and columns, coarse to fine: the eigenbasis of pixelation.

    Any side works: where blocks cannot be paired evenly the wavelet is the unbalanced one, still orthonormal.
    A wavelet that spans n pixels counts as one cycle in n pixels: frequency 2 pi / n.
    """

    def _axis(self, n: int) -> np.ndarray:
        return _haar(n)[0]

    def _axis_frequency(self, n: int) -> np.ndarray:
        return _haar(n)[1]


@dataclass(frozen=True)
class Separable(Rotation2D):
    """The eigenbasis of a symmetric blur kernel W applied along rows and columns.

    boundary "zero" pads with zeros (the authors' released choice: a symmetric Toeplitz matrix, decomposed per
    axis; the image's eigenvectors are outer products, Kawar et al. 2022 app. D). "symmetric" mirrors at the
    half sample, where the eigenvectors are the DCT's. Eigenvalues are in descending order, which for a
    low-pass kernel is ascending frequency; freq2 follows that index. Source: Lee sec. 2.2.
    """

    kernel: tuple[float, ...] = field(default=(0.25, 0.5, 0.25))
    boundary: str = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        taps = np.asarray(self.kernel, dtype=float)
        if taps.ndim != 1 or len(taps) % 2 == 0 or not np.allclose(taps, taps[::-1], atol=1e-12):
            raise ValueError(f"kernel was {self.kernel}; expected an odd number of taps, the same read from either end")
        if self.boundary not in ("zero", "symmetric"):
            raise unknown("boundary", self.boundary, ("zero", "symmetric"))
        object.__setattr__(self, "kernel", tuple(taps.tolist()))

    def _axis(self, n: int) -> np.ndarray:
        return _eigen(n, self.kernel, self.boundary)[1]

    def _axis_frequency(self, n: int) -> np.ndarray:
        return np.pi * np.arange(n) / n

    @property
    def eigenvalues(self) -> OfBasis:
        """D: eigenvalues of W on an image, (1, 1, H, W) float64."""
        rows, cols = (_as_tensor(_eigen(n, self.kernel, self.boundary)[0]) for n in height_width(self.size))
        return (rows[:, None] * cols[None, :])[None, None]


@dataclass(frozen=True)
class Colour(Basis):
    """A rotation of the channels whose first axis is grey: u_0 is sqrt(C) times the channel mean."""

    channels: int = 3

    @property
    def freq2(self) -> OfBasis:
        return torch.zeros(1, 1, 1, 1, dtype=torch.float64)

    def matrix(self) -> Tensor:
        """(C, C) float64, one basis vector a row: the DCT over channels, whose first row is constant."""
        return _as_tensor(DCT(self.channels)._axis(self.channels))

    def forward(self, x: AnyImages) -> Coefficients:
        return self._apply(x, self.matrix())

    def inverse(self, u: Coefficients) -> Images:
        return self._apply(u, self.matrix().T)

    def _apply(self, x: Tensor, matrix: Tensor) -> Tensor:
        if x.shape[1] != self.channels:
            raise ValueError(f"Colour has {self.channels} channels, but got an image batch {tuple(x.shape)}")
        with exact_arithmetic(x.device.type):
            x = at_least_float32(x)
            return torch.einsum("kc,bchw->bkhw", matrix.to(x), x)


def gaussian_kernel(sigma: float, radius: int | None = None) -> tuple[float, ...]:
    """Taps of a Gaussian of standard deviation sigma px, sampled and normalised to sum 1.

    radius defaults to int(3 sigma + 0.5), at least 1; sigma = 0.4 gives Lee's .0404 .9192 .0404.
    """
    if not sigma > 0:
        raise ValueError(f"kernel sigma was {sigma}; expected a positive width in pixels")
    radius = max(1, int(3 * sigma + 0.5)) if radius is None else radius
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return tuple((taps / taps.sum()).tolist())


def kernel_matrix(n: int, kernel: tuple[float, ...], boundary: str) -> np.ndarray:
    """The (n, n) matrix that convolves a row of n pixels with the kernel under the boundary rule.

    "zero" outside; "symmetric" mirrors at the edge of the border pixel, "reflect" at its centre; "circular" wraps.
    """
    if boundary not in BOUNDARIES:
        raise unknown("boundary", boundary, BOUNDARIES)
    outside = BOUNDARIES[boundary]
    radius = len(kernel) // 2
    matrix = np.zeros((n, n))
    rows = np.arange(n)
    for offset, tap in zip(range(-radius, radius + 1), kernel):
        cols = outside(rows + offset, n)
        there = (cols >= 0) & (cols < n)
        matrix[rows[there], cols[there]] += tap
    return matrix


def _mirror_at_edge(j: np.ndarray, n: int) -> np.ndarray:
    j = j % (2 * n)  # ... 1 0 | 0 1 ... n-1 | n-1 ...
    mirrored: np.ndarray = np.minimum(j, 2 * n - 1 - j)
    return mirrored


def _mirror_at_centre(j: np.ndarray, n: int) -> np.ndarray:
    j = j % max(2 * n - 2, 1)  # ... 2 1 | 0 1 ... n-1 | n-2 ...
    mirrored: np.ndarray = np.minimum(j, 2 * n - 2 - j)
    return mirrored


# Where the pixels j lie that a row of n pixels does not have.
BOUNDARIES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "zero": lambda j, n: j,
    "symmetric": _mirror_at_edge,
    "reflect": _mirror_at_centre,
    "circular": lambda j, n: j % n,
}


def at_least_float32(x: Tensor) -> Tensor:
    """x itself in float32 or float64; half precision lifted to float32."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


@contextmanager
def exact_arithmetic(device_type: str) -> Iterator[None]:
    """Full float32 matrix products: no autocast, no TF32."""
    with torch.autocast(device_type, enabled=False):
        if device_type != "cuda":
            yield
            return
        matmul = torch.backends.cuda.matmul
        before: bool | str
        exact: bool | str
        try:
            switch, before, exact = "allow_tf32", matmul.allow_tf32, False
        except RuntimeError:  # torch refuses the old switch to those who have used the new one
            switch, before, exact = "fp32_precision", matmul.fp32_precision, "ieee"
        if before == exact:
            yield
            return
        setattr(matmul, switch, exact)
        try:
            yield
        finally:
            setattr(matmul, switch, before)


def _as_tensor(array: np.ndarray) -> Tensor:
    return torch.tensor(np.ascontiguousarray(array))  # a copy: the arrays are cached


@lru_cache(maxsize=64)
def _operators(basis: Rotation2D, inverse: bool, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    # Cached: building and moving the matrices costs more than multiplying by them. Not as inference tensors, which
    # training could not use later.
    with torch.inference_mode(False):
        rows, cols = basis.matrices()
        left, right = (rows.T, cols) if inverse else (rows, cols.T)
        return left.contiguous().to(device, dtype), right.contiguous().to(device, dtype)


@lru_cache(maxsize=64)
def _eigen(n: int, kernel: tuple[float, ...], boundary: str) -> tuple[np.ndarray, np.ndarray]:
    matrix = kernel_matrix(n, kernel, boundary)
    if boundary == "symmetric":
        # The DCT diagonalises it exactly; eigh would return an arbitrary basis for repeated eigenvalues.
        vectors = DCT(n)._axis(n)
        return np.einsum("kj,ji,ki->k", vectors, matrix, vectors), vectors
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = values[::-1], vectors[:, ::-1].T
    # A fixed sign, since stored spectra have a mean: the largest entry of the first half is positive.
    largest = np.abs(vectors[:, : -(-n // 2)]).argmax(1)
    return values.copy(), vectors * np.sign(vectors[np.arange(n), largest])[:, None]


@lru_cache(maxsize=64)
def _haar(n: int) -> tuple[np.ndarray, np.ndarray]:
    blocks = [(j, j + 1) for j in range(n)]
    details = []
    while len(blocks) > 1:
        merged = []
        for (a, b), (_, c) in zip(blocks[0::2], blocks[1::2]):
            left, right = b - a, c - b
            row = np.zeros(n)
            row[a:b] = math.sqrt(right / (left * (left + right)))
            row[b:c] = -math.sqrt(left / (right * (left + right)))
            details.append((c - a, a, row))
            merged.append((a, c))
        if len(blocks) % 2:
            merged.append(blocks[-1])
        blocks = merged
    details.sort(key=lambda d: (-d[0], d[1]))
    matrix = np.stack([np.full(n, 1 / math.sqrt(n)), *(row for _, _, row in details)])
    return matrix, np.array([0.0, *(2 * np.pi / span for span, _, _ in details)])
