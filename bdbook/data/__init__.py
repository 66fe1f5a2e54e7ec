"""Images to learn from: four embedded datasets that need no network, others by name, and any folder of images.

made.py         sounds, turbulence: series and fields that are computed, not among the names
embedded.py     digits, photos, leaves, gaussian
fashion.py      Fashion-MNIST, of a package of Debian, of files or of the hub
emoji.py        emoji in colour, of the font Noto Color Emoji
huggingface.py  MNIST, CIFAR-10, ... of the Hugging Face hub
folders.py      which pictures of a folder are trained on and which held out
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
from bdbook.data import emoji, fashion, folders, huggingface
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
from bdbook.data.folders import Folder, image_files
from bdbook.data.reading import (
    SPLITS,
    UNREADABLE,
    check_request,
    read_image,
    read_images,
    resize,
    stack,
    take,
)
from bdbook.errors import unknown
from bdbook.pixels import as_float
from bdbook.transforms import Size, height_width

__all__ = [
    "EMBEDDED",
    "SET",
    "SPLITS",
    "UNREADABLE",
    "Folder",
    "Pictures",
    "Size",
    "as_float",
    "check_request",
    "digits",
    "emoji",
    "fashion",
    "folders",
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
    "recorded",
    "resize",
    "source",
    "stack",
]


# Before a name: the data set of that name, whatever folders there are.
SET = "set:"


def load(
    name: str | Path | Folder,
    size: Size,
    channels: int = 1,
    count: int | None = None,
    split: str = "train",
    seed: int = 0,
) -> Tensor:
    """Images of a dataset, (count, channels, H, W) float32 in [-1, 1].

    name      "digits", "photos", "leaves", "gaussian", "fashion", "emoji", a set of `huggingface` ("mnist", "cifar10",
              ...), or the path of a folder, of which `folders` says what is for testing. Where there are both, the name
              alone is an error: "./photos" is the folder, "set:photos" the set. A `Path` is always a folder
    size      side in pixels or (height, width); of fashion 32, of emoji 128, or a side that divides it
    channels  1 (grey) or 3 (colour; digits and fashion repeat their grey, gaussian channels are independent)
    count     None: all digits, emoji, files or images of the hub, 60000 of fashion, 16384 photos or gaussian, 8192
              leaves
    seed      what is drawn at random: patches of photos, leaves, gaussian fields
    """
    return as_float(load_pixels(name, size, channels, count, split, seed))


def load_pixels(
    name: str | Path | Folder,
    size: Size,
    channels: int = 1,
    count: int | None = None,
    split: str = "train",
    seed: int = 0,
) -> Tensor:
    """What `load` makes float32 of, as it is stored: uint8 for a set of the hub, mapped from a file, else float32.

    Fashion of 32 px is uint8 too, and emoji of any size.
    """
    size = height_width(size)
    check_request(channels, count, split)
    found = name if isinstance(name, Folder) else source(name)
    if isinstance(found, Folder):
        return read_images(take(found.part(split), count, f"folder {str(name)!r}, split {split!r},"), size, channels)
    if found in EMBEDDED:
        return _embedded(found, size, channels, count, split, seed).clone()  # callers may write to theirs
    if found == fashion.NAME:
        return fashion.load(size, channels, count, split)
    if found == emoji.NAME:
        return emoji.load(size, channels, count, split)
    return huggingface.load(found, size, channels, count, split)


def source(name: str | Path) -> str | Folder:
    """What a name means: the name of a set, without "set:", or the pictures of a folder. ValueError where neither."""
    sets = _sets()
    if isinstance(name, Path):
        if name == Path():
            raise ValueError("the path was Path('.'), which is what an empty one gives too; give Path.cwd(), or \".\"")
        return folders.listed(name)
    if not name.strip():
        raise ValueError("the name of the data was empty; expected a data set or a folder of pictures, . for this one")
    if name.startswith(SET):
        if name.removeprefix(SET) not in sets:
            raise unknown("dataset", name.removeprefix(SET), sets)
        return name.removeprefix(SET)
    folder = Path(name).expanduser()
    if name in sets:
        if folder.is_dir():
            raise ValueError(
                f"{name!r} is both a data set and the folder {str(folder.absolute())!r}; write ./{name} for the "
                f"folder, {SET}{name} for the set"
            )
        return name
    if not folder.exists() and name == folder.name:  # a single word, which may be meant either way
        kinds = [*sets, "the path of a folder of images"]
        raise ValueError(f"{unknown('dataset', name, kinds)} Of folders, {folders.missing(name)}")
    return folders.listed(name)


def recorded(name: str) -> str | Path:
    """What stands in a recipe or a record, for `load`: a set's name there is the set, whatever folders there are."""
    return f"{SET}{name}" if name in _sets() else name


def _sets() -> list[str]:
    return [*EMBEDDED, fashion.NAME, emoji.NAME, *huggingface.DATASETS]


@dataclass(frozen=True)
class Pictures:
    """A prior that draws pictures of a data set, which is loaded at the first draw: what animorphosis turns to.

    name: as in a recipe, where that of a set is the set.
    """

    name: str
    size: Size
    channels: int = 1
    count: int = 1024

    def __call__(self, count: int, generator: torch.Generator) -> Tensor:
        return priors.images(_pictures(self))(count, generator)


@lru_cache(maxsize=4)
def _pictures(asked: Pictures) -> Tensor:
    return load(recorded(asked.name), asked.size, asked.channels, asked.count)


@lru_cache(maxsize=8)
def _embedded(name: str, size: tuple[int, int], channels: int, count: int | None, split: str, seed: int) -> Tensor:
    return EMBEDDED[name](size, channels, count, split, seed)
