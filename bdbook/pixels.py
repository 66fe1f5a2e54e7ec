"""Pixels as files hold them, 0 to 255, and as networks do, [-1, 1]; grids of pictures as PNG."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bdbook.shapes import Bytes, Images, Numbers, Picture, Pixels

# Variance that rounding to 8 bits adds to a pixel, or to a coefficient, of images in [-1, 1].
ROUNDING = (2 / 255) ** 2 / 12


def as_float(images: Tensor) -> Tensor:
    """8-bit pixels, 0 to 255, as float32 in [-1, 1]; floating-point images are returned as they are."""
    if images.is_floating_point():
        return images
    if images.dtype != torch.uint8:
        raise ValueError(f"expected images of uint8 or of a floating-point type, got {images.dtype}")
    return images.to(torch.float32).div_(127.5).sub_(1)  # in place: large sets are copied once


def subsample_evenly(images: Tensor, most: int) -> Tensor:
    """All images, or of more than `most` about so many, at equal distances: a view that stands for the set."""
    return images[:: -(-len(images) // most)]


def quantise(images: Numbers) -> Bytes:
    """What a file would hold: clamped to [-1, 1] and rounded to 0..255, uint8 (N, C, H, W), on the CPU."""
    return ((images.detach().cpu().double() + 1) * 127.5).round().clamp(0, 255).byte()


def to_pixels(images: Images) -> Pixels:
    """(N, C, H, W) in [-1, 1] to uint8 (N, H, W, C); values beyond are clamped."""
    return quantise(images).permute(0, 2, 3, 1).numpy()


def grid(images: Images, columns: int = 8, gap: int = 1) -> Picture:
    """Images (N, C, H, W) side by side, white between them: uint8 (rows, cols, C)."""
    pixels = to_pixels(images)
    count, height, width, channels = pixels.shape
    rows = -(-count // columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
    for index, image in enumerate(pixels):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = image
    return canvas


def png(images: Images, columns: int = 8, enlarge: int = 4, gap: int = 1) -> bytes:
    """A grid of images as the bytes of a PNG, each pixel enlarge times enlarge; gap as in `grid`."""
    canvas = grid(images, columns, gap).repeat(enlarge, 0).repeat(enlarge, 1)
    buffer = io.BytesIO()
    Image.fromarray(canvas.squeeze()).save(buffer, "png")
    return buffer.getvalue()


def read_png(path: Path) -> np.ndarray:
    """A stored picture, for a figure."""
    return np.asarray(Image.open(path))
