"""Picture files as 8-bit images: read upright, cut to a size, stacked to a batch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from bdbook.errors import unknown
from bdbook.pixels import as_float
from bdbook.transforms import Size, height_width

SPLITS = {"train": 0, "test": 1}
# What Pillow raises on damaged files depends on the format.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class Cuttable(Protocol):
    """A list, a tuple, an array: what has a length and a beginning."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: slice, /) -> Any: ...


Items = TypeVar("Items", bound=Cuttable)


def check_request(channels: int, count: int | None, split: str) -> None:
    """Raise unless a dataset can be asked for this."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (colour), got {channels}")
    if count is not None and count < 1:
        raise ValueError(f"count must be at least 1, got {count}")


def take(items: Items, count: int | None, where: str) -> Items:
    """The first `count` of the items, all for None; raises where there are fewer."""
    if count is not None and count > len(items):
        raise ValueError(f"{where} has {len(items)} images, {count} were asked for: lower count or leave it out")
    some: Items = items[:count]
    return some


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Centre-crop to the aspect of `size`, then average over areas, or interpolate if it has to grow."""
    height, width = size
    shrinks = image.width >= width and image.height >= height
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return ImageOps.fit(image, (width, height), method)


def stack(images: Sequence[Image.Image]) -> Tensor:
    """8-bit images, L or RGB, of one size -> (N, C, H, W) in [-1, 1]."""
    pixels = torch.from_numpy(np.stack([np.atleast_3d(np.asarray(image)) for image in images]))
    return as_float(pixels.permute(0, 3, 1, 2).contiguous())


def read_image(path: str | Path | BinaryIO, channels: int = 1) -> Image.Image:
    """One file as an upright 8-bit image, L or RGB; transparent parts show white, of a film the first frame."""
    with Image.open(path) as opened:
        image = eight_bits(ImageOps.exif_transpose(opened), getattr(opened, "filename", ""))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB").convert("RGB" if channels == 3 else "L")


def eight_bits(image: Image.Image, name: str = "") -> Image.Image:
    """A grey image of up to 16 bits with 8, others as they are; name: its file's, for a warning.

    Cameras and microscopes store 10 or 12 bits in files of 16: where the largest value fits in 8, 10 or 12 bits, these
    are taken for its range, with a warning. Raises ValueError for floating-point pixels.
    """
    if image.mode == "F":
        raise ValueError(
            "floating-point pixels have no agreed range; save it with 8 or 16 bits, e.g. as PNG, its range 0 to 255"
        )
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.float64)  # Pillow's own conversion would clip it at 255
    largest = values.max()
    bits = next(bits for bits in (8, 10, 12, 16) if largest < 2**bits or bits == 16)
    if bits < 16 and largest > 0:
        warnings.warn(
            f"{name or 'an image'} has 16 bits, but no value above {largest:.0f}: it is taken for one of {bits} bits, "
            f"0 to {2**bits - 1}. Save it with 8 bits if it is as dark as it looked",
            stacklevel=3,
        )
    return Image.fromarray((values * (255 / (2**bits - 1))).round().clip(0, 255).astype(np.uint8))


def read_images(paths: Sequence[Path], size: Size, channels: int = 1) -> Tensor:
    """Files -> (N, C, H, W) in [-1, 1], centre-cropped and resized; one that cannot be read is warned about."""
    size, images = height_width(size), []
    for path in paths:
        try:
            images.append(resize(read_image(path, channels), size))
        except UNREADABLE as error:
            warnings.warn(f"left out {str(path)!r}, which cannot be read: {error}", stacklevel=2)
    if not images:
        raise ValueError(f"none of the {len(paths)} image files could be read, the first being {str(paths[0])!r}")
    return stack(images)


def dividing(size: Size, whole: int, name: str, more: str = "") -> int:
    """The side of a square that divides `whole`, of which each pixel is the mean of an area; else ValueError."""
    height, width = height_width(size)
    if height != width or whole % height:
        sides = ", ".join(str(side) for side in range(1, whole + 1) if whole % side == 0)
        raise ValueError(
            f"{name} was asked for with {height}x{width} px; expected a square whose side divides {whole}: "
            f"{sides}{more}"
        )
    return height
