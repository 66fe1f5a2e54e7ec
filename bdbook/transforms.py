"""Orthonormal bases in which the book's processes are diagonal.

Every basis here acts along the axes of an image, or on its channels, by orthonormal matrices, so that

    u = forward(x) = V' x,     x = inverse(u) = V u,     |u| = |x|   (Parseval).

An image is whatever has one to three axes: a series (B, C, L), a picture (B, C, H, W), a volume or a film (B, C, D, H,
W). An axis has two ends, or is a `Circle`, as longitude is. Squared frequencies add over the axes, as the Laplacian
does: pi^2 (n^2 / H^2 + m^2 / W^2) of a picture with two ends each way.

Matrices are computed once in float64 and applied in the dtype of the image. bf16 would turn a round-trip
error of 1e-6 into 3e-2, so half-precision images are lifted to float32 and autocast and TF32 are kept out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from bdbook.errors import unknown
from bdbook.shapes import AnyImages, Coefficients, Images, OfBasis

# The axes that an image may have, and how an error writes its shape.
LARGEST_DIMS = 3
LETTERS = {1: "L", 2: "H, W", 3: "D, H, W"}


@dataclass(frozen=True)
class Circle:
    """An axis of so many pixels whose last is a neighbour of its first: longitude, the hours of a day."""

    length: int


# The length of an axis with two ends, at which blur is mirrored; or an axis that has none.
Axis = int | Circle
# One number is the side of a square picture, (64,) a series, (8, 16, 16) a volume.
Size = int | tuple[Axis, ...]


def axes_of(size: Size) -> tuple[Axis, ...]:
    """The axes of a size, one to three."""
    axes = (size, size) if isinstance(size, int | np.integer | Circle) else tuple(size)
    if not 1 <= len(axes) <= LARGEST_DIMS or min(map(length_of, axes)) < 1:
        raise ValueError(
            f"image size was {size}; expected positive sides of one to {LARGEST_DIMS} axes: 32 or (32, 48) for "
            "pictures, (64,) for series, (8, 16, 16) for volumes; Circle(48) for an axis that wraps around"
        )
    return tuple(Circle(int(axis.length)) if isinstance(axis, Circle) else int(axis) for axis in axes)


def length_of(axis: Axis) -> int:
    """The pixels along an axis."""
    return axis.length if isinstance(axis, Circle) else axis


def lengths(size: Size) -> tuple[int, ...]:
    """The pixels along each axis of a size."""
    return tuple(map(length_of, axes_of(size)))


def unwrapped(size: Size) -> Size:
    """A size without its circles: that of images in a file, which knows nothing of seams."""
    return size if isinstance(size, int) else lengths(size)


def height_width(size: Size) -> tuple[int, int]:
    """(H, W) of a picture's size given as one side or as both; raises for what has other axes."""
    axes = axes_of(size)
    if len(axes) != 2 or any(isinstance(axis, Circle) for axis in axes):
        raise ValueError(f"image size was {size}; this is for pictures alone: expected a height and a width")
    height, width = lengths(axes)
    return height, width


def shape_in_words(dims: int, first: str = "B") -> str:
    """The shape of images of so many axes, for an error: "(B, C, H, W)"."""
    return f"({first}, C, {LETTERS[dims]})"


class Basis:
    """An orthonormal change of basis V for images (B, C, *axes); pictures are (B, C, H, W)."""

    @property
    def freq2(self) -> OfBasis:
        """lambda, squared frequency of each coefficient, (1, 1, *axes) float64, rad^2 / px^2."""
        raise NotImplementedError

    @property
    def dims(self) -> int:
        """How many axes the images have: two, unless a basis says otherwise."""
        return 2

    def forward(self, x: AnyImages) -> Coefficients:
        """Coefficients u = V' x; x and u are (B, C, *axes)."""
        raise NotImplementedError

    def inverse(self, u: Coefficients) -> Images:
        """Image x = V u."""
        raise NotImplementedError


class _OfAnySize(Basis):
    """A basis that leaves the axes as they are, and has a field that says how many there are."""

    dims: int

    @property
    def freq2(self) -> OfBasis:
        return torch.zeros(1, 1, *[1] * self.dims, dtype=torch.float64)

    def _keep_dims(self) -> None:
        if self.dims not in LETTERS:
            raise ValueError(f"dims was {self.dims}; expected the number of an image's axes, 1 to {LARGEST_DIMS}")

    def _require_axes(self, x: Tensor) -> None:
        if x.ndim != self.dims + 2:
            raise ValueError(
                f"{self} is for images {shape_in_words(self.dims)}, but got {tuple(x.shape)}; images of other axes "
                f"need another: {type(self).__name__}(dims=1) for {shape_in_words(1)}"
            )


@dataclass(frozen=True)
class Pixel(_OfAnySize):
    """The identity: pixels are their own coefficients. Fits every size of so many axes."""

    dims: int = 2

    def __post_init__(self) -> None:
        self._keep_dims()

    def __repr__(self) -> str:  # of pictures as in records from before there were others
        return "Pixel()" if self.dims == 2 else f"Pixel(dims={self.dims})"

    def forward(self, x: AnyImages) -> Coefficients:
        self._require_axes(x)
        return at_least_float32(x)

    def inverse(self, u: Coefficients) -> Images:
        self._require_axes(u)
        return at_least_float32(u)


@dataclass(frozen=True)
class Rotation(Basis):
    """An orthonormal matrix for each axis, one basis vector a row: u = R x C' of a picture.

    Along a `Circle` every such basis is `Hartley`'s: that of all symmetric blur that wraps around.
    """

    size: Size

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", axes_of(self.size))  # 8 and (8, 8) are the same basis

    @property
    def dims(self) -> int:
        return len(axes_of(self.size))

    def matrices(self) -> tuple[Tensor, ...]:
        """A matrix for each axis, (R, C) for pictures, float64."""
        return tuple(
            _as_tensor(_hartley(axis.length) if isinstance(axis, Circle) else self._axis(axis))
            for axis in axes_of(self.size)
        )

    def _axis(self, n: int) -> np.ndarray:
        """The matrix along an axis with two ends."""
        raise NotImplementedError

    def _axis_frequency(self, n: int) -> np.ndarray:
        """The frequency of each of its rows, rad / px."""
        raise NotImplementedError

    @property
    def freq2(self) -> OfBasis:
        along = (
            _hartley_frequency(axis.length) if isinstance(axis, Circle) else self._axis_frequency(axis)
            for axis in axes_of(self.size)
        )
        return sum(_crossed(frequency**2 for frequency in along), torch.zeros(()))[None, None]

    def forward(self, x: AnyImages) -> Coefficients:
        return self._apply(x, inverse=False)

    def inverse(self, u: Coefficients) -> Images:
        return self._apply(u, inverse=True)

    def _apply(self, x: Tensor, inverse: bool) -> Tensor:
        sides = lengths(self.size)
        if tuple(x.shape[2:]) != sides:
            raise ValueError(
                f"{type(self).__name__} was made for images of size {sides}, but got {tuple(x.shape)}; "
                + (
                    f"make it with size={tuple(x.shape[2:])}"
                    if x.ndim == len(sides) + 2
                    else f"expected {shape_in_words(len(sides))}"
                )
            )
        with exact_arithmetic(x.device.type):
            x = at_least_float32(x)
            *before, last = _operators(self, inverse, x.dtype, x.device)
            for place, matrix in enumerate(before, 2):
                x = (matrix @ x.flatten(place + 1)).reshape(x.shape)
            return x @ last


Rotation2D = Rotation  # its name when all images were pictures


@dataclass(frozen=True)
class DCT(Rotation):
    """Orthonormal DCT-II along every axis with two ends: the eigenbasis of heat dissipation.

    Its borders are mirrored, where an axis has ends, and it wraps around a `Circle`. Coefficient (n, m) of a picture
    has lambda = (pi n / H)^2 + (pi m / W)^2. Along a Circle of L pixels frequencies come in pairs, 2 pi k / L for a
    cosine and a sine of k waves, the rows k and L - k (`Hartley`). Source: HS app. A.1, Rissanen et al. 2022.
    """

    def _axis(self, n: int) -> np.ndarray:
        return _cosines(n)

    def _axis_frequency(self, n: int) -> np.ndarray:
        return np.pi * np.arange(n) / n


@dataclass(frozen=True)
class Hartley(Rotation):
    """Orthonormal real Fourier basis along every axis: the eigenbasis of symmetric blur that wraps around.

    Row k is cos(2 pi k j / n) + sin(2 pi k j / n), divided by sqrt(n); k and n - k have the same frequency, of min(k,
    n - k) waves in n pixels: they are a pair, which spans the cosine and the sine.
    """

    def _axis(self, n: int) -> np.ndarray:
        return _hartley(n)

    def _axis_frequency(self, n: int) -> np.ndarray:
        return _hartley_frequency(n)


@dataclass(frozen=True)
class Haar(Rotation):
    """Orthonormal Haar wavelets along every axis, coarse to fine: the eigenbasis of pixelation.

    Any side works: where blocks cannot be paired evenly the wavelet is the unbalanced one, still orthonormal.
    A wavelet that spans n pixels counts as one cycle in n pixels: frequency 2 pi / n.
    """

    def _axis(self, n: int) -> np.ndarray:
        return _haar(n)[0]

    def _axis_frequency(self, n: int) -> np.ndarray:
        return _haar(n)[1]


@dataclass(frozen=True)
class Separable(Rotation):
    """The eigenbasis of a symmetric blur kernel W applied along every axis.

    boundary "zero" pads with zeros (the authors' released choice: a symmetric Toeplitz matrix, decomposed per
    axis; the image's eigenvectors are outer products, Kawar et al. 2022 app. D). "symmetric" mirrors at the
    half sample, where the eigenvectors are the DCT's. Eigenvalues are in descending order, which for a
    low-pass kernel is ascending frequency; freq2 follows that index. Around a `Circle` W wraps, whatever the
    boundary. Source: Lee sec. 2.2.
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
        """D: eigenvalues of W on an image, (1, 1, *axes) float64."""
        along = (
            _eigen(length_of(axis), self.kernel, "circular" if isinstance(axis, Circle) else self.boundary)[0]
            for axis in axes_of(self.size)
        )
        return math.prod(_crossed(along), start=torch.ones(()))[None, None]


@dataclass(frozen=True)
class Colour(_OfAnySize):
    """A rotation of the channels whose first axis is grey: u_0 is sqrt(C) times the channel mean."""

    channels: int = 3
    dims: int = 2

    def __post_init__(self) -> None:
        self._keep_dims()

    def __repr__(self) -> str:  # as `Pixel`'s
        return f"Colour(channels={self.channels})" if self.dims == 2 else f"Colour({self.channels}, dims={self.dims})"

    def matrix(self) -> Tensor:
        """(C, C) float64, one basis vector a row: the DCT over channels, whose first row is constant."""
        return _as_tensor(_cosines(self.channels))

    def forward(self, x: AnyImages) -> Coefficients:
        return self._apply(x, self.matrix())

    def inverse(self, u: Coefficients) -> Images:
        return self._apply(u, self.matrix().T)

    def _apply(self, x: Tensor, matrix: Tensor) -> Tensor:
        self._require_axes(x)
        if x.shape[1] != self.channels:
            raise ValueError(f"Colour has {self.channels} channels, but got an image batch {tuple(x.shape)}")
        with exact_arithmetic(x.device.type):
            x = at_least_float32(x)
            return torch.einsum("kc,bc...->bk...", matrix.to(x), x)


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


def _crossed(along: Iterable[np.ndarray]) -> tuple[Tensor, ...]:
    """What is known along each axis, (n,), for all coefficients, each of the shape of an image's axes."""
    return torch.meshgrid(*map(_as_tensor, along), indexing="ij")


@lru_cache(maxsize=64)
def _operators(basis: Rotation, inverse: bool, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """What to multiply an image by from the left along each axis, and along the last from the right."""
    # Cached: building and moving the matrices costs more than multiplying by them. Not as inference tensors, which
    # training could not use later.
    with torch.inference_mode(False):
        *before, last = (matrix.T if inverse else matrix for matrix in basis.matrices())
        return tuple(matrix.contiguous().to(device, dtype) for matrix in (*before, last.T))


def _cosines(n: int) -> np.ndarray:
    """The (n, n) DCT-II."""
    k, j = np.arange(n)[:, None], np.arange(n)[None, :]
    matrix: np.ndarray = np.sqrt(2 / n) * np.cos(np.pi * k * (2 * j + 1) / (2 * n))
    matrix[0] /= np.sqrt(2)
    return matrix


def _hartley(n: int) -> np.ndarray:
    angle = 2 * np.pi * np.outer(np.arange(n), np.arange(n)) / n
    return (np.cos(angle) + np.sin(angle)) / math.sqrt(n)


def _hartley_frequency(n: int) -> np.ndarray:
    k = np.arange(n)
    frequency: np.ndarray = 2 * np.pi * np.minimum(k, n - k) / n
    return frequency


# Boundaries under which a known basis diagonalises every symmetric kernel.
EXACT = {"symmetric": _cosines, "circular": _hartley}


@lru_cache(maxsize=64)
def _eigen(n: int, kernel: tuple[float, ...], boundary: str) -> tuple[np.ndarray, np.ndarray]:
    matrix = kernel_matrix(n, kernel, boundary)
    if boundary in EXACT:
        # eigh would return an arbitrary basis for repeated eigenvalues.
        vectors = EXACT[boundary](n)
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
