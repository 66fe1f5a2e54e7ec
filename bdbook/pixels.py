"""Pixels as files hold them, 0 to 255, and as networks do, [-1, 1]; grids of pictures as PNG."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from bdbook.shapes import AnyImages, AnyNumbers, Bytes, Picture, Pixels

# Variance that rounding to 8 bits adds to a pixel, or to a coefficient, of images in [-1, 1].
ROUNDING = (2 / 255) ** 2 / 12
# So far beyond [-1, 1] rounding may lead.
BEYOND = 1e-4
# What a PNG of this library says under Software, so that nobody trains on it by mistake.
SOFTWARE = "bdbook"


def as_float(images: Tensor) -> Tensor:
    """8-bit pixels, 0 to 255, as float32 in [-1, 1]; floating-point images are returned as they are."""
    if images.is_floating_point():
        return images
    if images.dtype != torch.uint8:
        raise ValueError(f"expected images of uint8 or of a floating-point type, got {images.dtype}")
    return images.to(torch.float32).div_(127.5).sub_(1)  # in place: large sets are copied once


def check_range(images: Tensor) -> None:
    """Raise unless floating-point images lie in [-1, 1]; warn where they look like [0, 1]. Other types are let be."""
    if not images.is_floating_point() or not images.numel():
        return
    low, high = (bound.item() for bound in images.aminmax())
    if not math.isfinite(high - low):
        return  # a recipe says which image it is
    if max(-low, high) > 1 + BEYOND:
        raise ValueError(
            f"images went from {low:.4g} to {high:.4g}; expected were [-1, 1], or uint8. Those of 0 to 255: images / "
            "127.5 - 1; of 0 to 1: 2 * images - 1; real-valued fields, to be left as they are: "
            "bdbook.fit(..., unbounded=True)"
        )
    if low >= 0 and high > 0:
        warnings.warn(
            f"images went from {low:.4g} to {high:.4g}, which looks like [0, 1]; expected were [-1, 1]: 2 * images - 1",
            stacklevel=3,
        )


def subsample_evenly(images: Tensor, most: int) -> Tensor:
    """All images, or of more than `most` about so many, at equal distances: a view that stands for the set."""
    if not len(images):
        raise ValueError(f"images had shape {tuple(images.shape)}: there are none; expected at least one")
    return images[:: -(-len(images) // most)]


def quantise(images: AnyNumbers) -> Bytes:
    """What a file would hold: clamped to [-1, 1] and rounded to 0..255, uint8 of the same shape, on the CPU.

    What is uint8 is a file's already, and stays as it is.
    """
    if not images.is_floating_point():
        as_float(images[:0])  # refuses other whole numbers
        return images.detach().cpu()
    return ((images.detach().cpu().double() + 1) * 127.5).round().clamp(0, 255).byte()


def to_pixels(images: AnyImages) -> Pixels:
    """(N, C, H, W) in [-1, 1], or uint8, to uint8 (N, H, W, C); values beyond are clamped."""
    if images.ndim != 4:
        raise ValueError(
            f"images had shape {tuple(images.shape)}; expected pictures, (N, C, H, W): a file holds no others"
        )
    return quantise(images).permute(0, 2, 3, 1).numpy()


def grid(images: AnyImages, columns: int = 8, gap: int = 1) -> Picture:
    """Images (N, C, H, W) side by side, white between them: uint8 (rows, cols, C)."""
    pixels = to_pixels(images)
    count, height, width, channels = pixels.shape
    rows = -(-count // columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
    for index, image in enumerate(pixels):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = image
    return canvas


def png(images: AnyImages, columns: int = 8, enlarge: int = 4, gap: int = 1) -> bytes:
    """A grid of images as the bytes of a PNG, each pixel enlarge times enlarge; gap as in `grid`.

    The file says that it is of this library: `data` leaves it out of a folder of pictures.
    """
    canvas = grid(images, columns, gap).repeat(enlarge, 0).repeat(enlarge, 1)
    buffer = io.BytesIO()
    says = PngInfo()
    says.add_text("Software", SOFTWARE)
    Image.fromarray(canvas.squeeze()).save(buffer, "png", pnginfo=says)
    return buffer.getvalue()


def writable() -> dict[str, str]:
    """Suffix -> format, of the pictures that Pillow can write: ".jpg" -> "JPEG"."""
    Image.init()
    return {suffix: kind for suffix, kind in Image.registered_extensions().items() if kind in Image.SAVE}


def encoded(images: AnyImages, kind: str, columns: int = 8, enlarge: int = 4, gap: int = 1) -> bytes:
    """The same grid as `png`'s as the bytes of another format, by Pillow's name; of JPEG and WebP at high quality.

    Raises ValueError where the format has no place for it.
    """
    if kind == "PNG":
        return png(images, columns, enlarge, gap)
    canvas = grid(images, columns, gap).repeat(enlarge, 0).repeat(enlarge, 1)
    buffer = io.BytesIO()
    try:
        Image.fromarray(canvas.squeeze()).save(buffer, kind, quality=95)
    except (OSError, ValueError, KeyError, SystemError) as error:
        height, width, channels = canvas.shape
        kinds = {1: "grey", 3: "colour"}
        raise ValueError(
            f"{kind} cannot hold a grid of {width}x{height} pixels in {kinds.get(channels, channels)}: {error}; write "
            "a .png, or fewer images"
        ) from error
    return buffer.getvalue()


def read_png(path: Path) -> np.ndarray:
    """A stored picture, for a figure."""
    return np.asarray(Image.open(path))
