"""Four embedded datasets that need no network: digits, photos, dead leaves, Gaussian fields."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy.fft import idctn
from torch import Tensor

from bdbook.data.reading import SPLITS, resize, stack, take
from bdbook.errors import unknown
from bdbook.transforms import Size, height_width

# Photographs of scenes that ship inside the wheels; scans, textures and graphics are left out.
COLOUR_PHOTOGRAPHS = (
    ("sklearn.datasets.images", "china.jpg"),
    ("sklearn.datasets.images", "flower.jpg"),
    ("skimage.data", "astronaut.png"),
    ("skimage.data", "chelsea.png"),
    ("skimage.data", "coffee.png"),
    ("skimage.data", "motorcycle_left.png"),
    ("skimage.data", "rocket.jpg"),
)
GREY_PHOTOGRAPHS = (("skimage.data", "camera.png"),)  # used for one channel only
# A patch covers 3 to 12 times its side. Cut at full resolution most patches would be flat sky or wall and a few
# all texture: so unequal in contrast that a small network learns little else.
REDUCTION = (3.0, 12.0)
SMALLEST_LEAF = 2.0  # radius in pixels
FIRST_TEST_LEAF = 10**9  # test images of the endless dead leaves start at this index


def package_file(package: str, name: str) -> Path:
    """A file of an installed package, which is not imported: scikit-learn would add a third to every start."""
    distribution, *folders = package.split(".")
    spec = find_spec(distribution)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package}, which holds {name}, is missing: pip install scikit-learn scikit-image")
    return Path(spec.origin).parent.joinpath(*folders, name)


# --- digits ---------------------------------------------------------------------------------------------------


def digits(size: Size, channels: int = 1, count: int | None = None, split: str = "train", seed: int = 0) -> Tensor:
    """scikit-learn's 1797 handwritten digits, 8x8 with values 0 to 16; the last fifth is for testing."""
    table = np.loadtxt(package_file("sklearn.datasets.data", "digits.csv.gz"), delimiter=",", dtype=np.float32)
    images = table[:, :-1].reshape(-1, 8, 8) / 8 - 1  # the last column is the label
    border = round(0.8 * len(images))
    images = take(images[:border] if split == "train" else images[border:], count, f"digits, split {split!r},")
    resized = np.stack([np.asarray(resize(Image.fromarray(image), height_width(size))) for image in images])
    return torch.from_numpy(resized)[:, None].repeat(1, channels, 1, 1)


# --- photos ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _photographs(channels: int) -> tuple[Image.Image, ...]:
    names = COLOUR_PHOTOGRAPHS if channels == 3 else COLOUR_PHOTOGRAPHS + GREY_PHOTOGRAPHS
    images = []
    for package, name in names:
        with Image.open(package_file(package, name)) as image:
            images.append(image.convert("RGB" if channels == 3 else "L"))
    return tuple(images)


def photograph(name: str, size: Size, channels: int = 3) -> Tensor:
    """One whole photograph by name, e.g. "flower", centre-cropped and reduced: (C, H, W) in [-1, 1]."""
    files = COLOUR_PHOTOGRAPHS if channels == 3 else COLOUR_PHOTOGRAPHS + GREY_PHOTOGRAPHS
    names = [Path(file).stem for _, file in files]
    if name not in names:
        raise unknown("photograph", name, names)
    image = _photographs(channels)[names.index(name)]
    return stack([resize(image, height_width(size))])[0]


def photos(size: Size, channels: int = 1, count: int | None = None, split: str = "train", seed: int = 0) -> Tensor:
    """Patches of real photographs, whose spectra fall roughly as 1/f^2.

    Each is cut from a random photograph, at a random place, 3 to 12 times as large as `size` (log-uniform; less
    where the photograph is too small), averaged over areas down to `size`, and flipped half of the time. Test
    patches come from the right-hand fifth of each photograph, training patches from the rest.
    """
    height, width = height_width(size)
    regions = []
    for image in _photographs(channels):
        border = round(0.8 * image.width)
        left, right = (0, border) if split == "train" else (border, image.width)
        largest = min(REDUCTION[1], (right - left) / width, image.height / height)
        if largest >= 1:
            regions.append((image, left, right, largest))
    if not regions:
        raise ValueError(f"no {split} part of the photographs is as large as {height}x{width}: choose a smaller size")
    patches = []
    for u in np.random.default_rng([seed, SPLITS[split]]).random((count or 16384, 5)):
        image, left, right, largest = regions[int(u[0] * len(regions))]
        smallest = min(REDUCTION[0], largest)
        scale = smallest * (largest / smallest) ** u[1]
        x, y = left + u[2] * (right - left - scale * width), u[3] * (image.height - scale * height)
        # Whole pixels: a box filter at a fraction of a pixel would blur the patches that are not reduced.
        x, y, w, h = int(x), int(y), int(scale * width), int(scale * height)
        patch = image.resize((width, height), Image.Resampling.BOX, box=(x, y, x + w, y + h))
        patches.append(ImageOps.mirror(patch) if u[4] < 0.5 else patch)
    return stack(patches)


# --- dead leaves ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _leaf_radii(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Radii (px) and their cumulative probability among the leaves that can be seen."""
    radii = np.geomspace(SMALLEST_LEAF, 2 * max(height, width, SMALLEST_LEAF), 1024)
    seen = radii**-3.0 * (height + 2 * radii) * (width + 2 * radii)
    steps = np.diff(radii) * (seen[1:] + seen[:-1]) / 2
    cumulative = np.concatenate([[0.0], np.cumsum(steps)])
    return radii, cumulative / cumulative[-1]


def leaves_image(index: int, size: Size, channels: int = 1, seed: int = 0) -> Tensor:
    """Image `index` of an endless series of dead leaves, (C, H, W) in [-1, 1] (Lee, Mumford, Huang 2001).

    Opaque discs of random place and of one grey level or colour each hide one another. The level, or each of red, green
    and blue, is uniform in [-1, 1] and independent of the others: all hues, and channels without the correlation that
    those of photographs have. The radii have density r^-3 from 2 px to twice the longer side, which makes the pictures
    look alike at all scales in between, with the hard edges and the power-law spectrum of photographs (1/f^2.5 to
    1/f^2.7 for both at 16 and 32 px). Edges are smoothed by drawing at twice the size.
    """
    height, width = height_width(size)
    rng = np.random.default_rng([seed, index])
    radii, cumulative = _leaf_radii(height, width)
    y, x = (np.mgrid[: 2 * height, : 2 * width].reshape(2, -1).astype(np.float32) + 0.5) / 2
    pixels = np.empty((4 * height * width, channels), np.float32)
    bare = np.arange(len(pixels))
    # From front to back, a handful of leaves at a time: each pixel keeps the first that covers it.
    while len(bare):
        u = rng.random((64, 3 + channels), dtype=np.float32)
        r = np.interp(u[:, 0], cumulative, radii).astype(np.float32)
        centre_y, centre_x = u[:, 1] * (height + 2 * r) - r, u[:, 2] * (width + 2 * r) - r
        covers = (y[bare, None] - centre_y) ** 2 + (x[bare, None] - centre_x) ** 2 <= r**2
        front = covers.argmax(axis=1)
        covered = covers[np.arange(len(bare)), front]
        pixels[bare[covered]] = 2 * u[front[covered], 3:] - 1
        bare = bare[~covered]
    image = pixels.reshape(height, 2, width, 2, channels).mean(axis=(1, 3))
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def leaves(size: Size, channels: int = 1, count: int | None = None, split: str = "train", seed: int = 0) -> Tensor:
    """The first `count` dead-leaves images, of index 0 on to train, of index 10^9 on to test."""
    start = FIRST_TEST_LEAF if split == "test" else 0
    return torch.stack([leaves_image(start + i, size, channels, seed) for i in range(count or 8192)])


# --- gaussian -------------------------------------------------------------------------------------------------


def power_law_variance(size: Size, std: float = 0.5) -> Tensor:
    """Variance of each orthonormal DCT coefficient of the `gaussian` images, float64 (1, 1, H, W).

    Proportional to 1 / (freq2 + eps), freq2 = (pi n / H)^2 + (pi m / W)^2 in rad^2/px^2, with eps the smallest
    nonzero freq2, so that the mean brightness varies half as much as the coarsest pattern. The mean over
    frequencies, which is the mean over pixels of their variance, is std^2.
    """
    height, width = height_width(size)
    fy, fx = (np.pi * np.arange(side) / side for side in (height, width))
    variance = 1 / (fy[:, None] ** 2 + fx**2 + (np.pi / max(height, width)) ** 2)
    return torch.from_numpy(std**2 * variance / variance.mean())[None, None]


def gaussian(size: Size, channels: int = 1, count: int | None = None, split: str = "train", seed: int = 0) -> Tensor:
    """Gaussian fields of exactly known spectrum, `power_law_variance`, of mean 0 and standard deviation 0.5.

    They are not clipped, as that would not leave them Gaussian: about one pixel in twenty lies beyond [-1, 1].
    """
    noise = np.random.default_rng([seed, SPLITS[split]]).standard_normal(
        (count or 16384, channels, *height_width(size))
    )
    coefficients = noise * power_law_variance(size).sqrt().numpy()
    return torch.from_numpy(idctn(coefficients, axes=(2, 3), norm="ortho").astype(np.float32))


EMBEDDED: dict[str, Callable[..., Tensor]] = {
    "digits": digits,
    "photos": photos,
    "leaves": leaves,
    "gaussian": gaussian,
}
