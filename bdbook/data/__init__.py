"""Images to learn from: four embedded datasets that need no network, sets of the hub, and any folder of images.

embedded.py     digits, photos, leaves, gaussian
huggingface.py  MNIST, CIFAR-10, ... of the Hugging Face hub
reading.py      files of pictures; what all sets share

Every function returns float32 images (N, C, H, W) in [-1, 1] (`gaussian` alone may leave that range), but for
`load_pixels`, which leaves 8-bit pixels as they are stored. The same arguments give the same images, and a smaller
count gives the first of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from bdbook import priors
from bdbook.data import huggingface
from bdbook.data.embedded import (
    EMBEDDED,
    digits,
    gaussian,
    leaves,
    leaves_image,
    package_file,
    photograph,
    photos,
    power_law_variance,
)
from bdbook.data.reading import (
    SPLITS,
    UNREADABLE,
    Size,
    check_request,
    image_files,
    read_image,
    read_images,
    resize,
    stack,
    take,
)
from bdbook.errors import unknown
from bdbook.pixels import as_float
from bdbook.transforms import height_width

__all__ = [
    "EMBEDDED",
    "SPLITS",
    "UNREADABLE",
    "Pictures",
    "Size",
    "as_float",
    "check_request",
    "digits",
    "gaussian",
    "huggingface",
    "image_files",
    "leaves",
    "leaves_image",
    "load",
    "load_pixels",
    "package_file",
    "photograph",
    "photos",
    "power_law_variance",
    "read_image",
    "read_images",
    "resize",
    "stack",
]


def load(
    name: str | Path, size: Size, channels: int = 1, count: int | None = None, split: str = "train", seed: int = 0
) -> Tensor:
    """Images of a dataset, (count, channels, H, W) float32 in [-1, 1].

    name      "digits", "photos", "leaves", "gaussian", a set of `huggingface` ("mnist", "cifar10", ...), or the path of
              a folder ("./photos" if it bears such a name); of a folder, every fifth image in order of path is for
              testing
    size      side in pixels or (height, width)
    channels  1 (grey) or 3 (colour; digits repeat their grey, gaussian channels are independent)
    count     None: all digits, files or images of the hub, 16384 photos or gaussian, 8192 leaves
    seed      what is drawn at random: patches of photos, leaves, gaussian fields
    """
    return as_float(load_pixels(name, size, channels, count, split, seed))


def load_pixels(
    name: str | Path, size: Size, channels: int = 1, count: int | None = None, split: str = "train", seed: int = 0
) -> Tensor:
    """What `load` makes float32 of, as it is stored: uint8 for a set of the hub, mapped from a file, else float32."""
    size = height_width(size)
    check_request(channels, count, split)
    if str(name) in EMBEDDED:
        return _embedded(str(name), size, channels, count, split, seed).clone()  # callers may write to theirs
    from bdbook.data import huggingface  # here, as it reads images with this module

    if str(name) in huggingface.DATASETS:
        return huggingface.load(str(name), size, channels, count, split)
    if not Path(name).is_dir():
        raise unknown("dataset", str(name), [*EMBEDDED, *huggingface.DATASETS, "the path of a folder of images"])
    found = image_files(name)
    chosen = [file for i, file in enumerate(found) if (i % 5 == 4) == (split == "test")]
    if not chosen:
        raise ValueError(f"folder {str(name)!r} has {len(found)} image(s), too few for a {split} split")
    return read_images(take(chosen, count, f"folder {str(name)!r}, split {split!r},"), size, channels)


@dataclass(frozen=True)
class Pictures:
    """A prior that draws pictures of a data set, which is loaded at the first draw: what animorphosis turns to."""

    name: str
    size: Size
    channels: int = 1
    count: int = 1024

    def __call__(self, count: int, generator: torch.Generator) -> Tensor:
        return priors.images(_pictures(self))(count, generator)


@lru_cache(maxsize=4)
def _pictures(asked: Pictures) -> Tensor:
    return load(asked.name, asked.size, asked.channels, asked.count)


@lru_cache(maxsize=8)
def _embedded(name: str, size: tuple[int, int], channels: int, count: int | None, split: str, seed: int) -> Tensor:
    return EMBEDDED[name](size, channels, count, split, seed)
