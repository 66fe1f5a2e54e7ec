"""Figures: one style, one colour for each system, small functions that draw into given axes."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from bdbook.metrics import quantise
from bdbook.palette import PALETTE

# A system keeps its colour through the whole book.
COLOURS = {name: colour.mark for name, colour in PALETTE.items()}

STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "savefig.bbox": "tight",
    "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
}


def use_style() -> None:
    """Set the book's matplotlib style for this session."""
    plt.rcParams.update(STYLE)


def to_pixels(images: Tensor) -> np.ndarray:
    """(N, C, H, W) in [-1, 1] to uint8 (N, H, W, C); values beyond are clamped."""
    return quantise(images).permute(0, 2, 3, 1).numpy()


def grid(images: Tensor, columns: int = 8, gap: int = 1) -> np.ndarray:
    """Images (N, C, H, W) side by side, white between them: uint8 (rows, cols, C)."""
    pixels = to_pixels(images)
    count, height, width, channels = pixels.shape
    rows = -(-count // columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
    for index, image in enumerate(pixels):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = image
    return canvas


def png(images: Tensor, columns: int = 8, enlarge: int = 4, gap: int = 1) -> bytes:
    """A grid of images as the bytes of a PNG, each pixel enlarge times enlarge; gap as in `grid`."""
    canvas = grid(images, columns, gap).repeat(enlarge, 0).repeat(enlarge, 1)
    buffer = io.BytesIO()
    Image.fromarray(canvas.squeeze()).save(buffer, "png")
    return buffer.getvalue()


def read_png(path: Path) -> np.ndarray:
    """A stored picture, for a figure."""
    return np.asarray(Image.open(path))


def show(ax: Axes, picture: Tensor | np.ndarray, title: str | None = None) -> None:
    """One picture without axes: a tensor (C, H, W) in [-1, 1], or an array for imshow."""
    array = to_pixels(picture[None])[0] if isinstance(picture, Tensor) else picture
    ax.imshow(array.squeeze(), vmin=0, vmax=255)
    ax.set_axis_off()
    if title is not None:
        ax.set_title(title)


def row(pictures: list[Tensor | np.ndarray], titles: list[str], height: float = 2.1) -> Figure:
    """Pictures in a row, a title above each."""
    figure, axes = plt.subplots(1, len(pictures), figsize=(height * len(pictures), height + 0.3), squeeze=False)
    for ax, picture, title in zip(axes[0], pictures, titles):
        show(ax, picture, title)
    figure.tight_layout(pad=0.4)
    return figure


def named_rows(picture: np.ndarray, names: list[str], width: float = 6.4) -> Figure:
    """A stored grid of images, (H, W) or (H, W, 3) uint8, with a name at the left of each of its rows."""
    figure, ax = plt.subplots(figsize=(width, width * picture.shape[0] / picture.shape[1]))
    show(ax, picture)
    for index, name in enumerate(names):
        y = (index + 0.5) / len(names) * picture.shape[0]
        ax.text(-0.015 * picture.shape[1], y, name, ha="right", va="center", fontsize=10)
    return figure
