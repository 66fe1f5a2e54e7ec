"""Figures: one style, one colour for each system, small functions that draw into given axes."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from bdbook.evaluation.coverage import Coverage
from bdbook.page import drawn
from bdbook.page.palette import PALETTE
from bdbook.pixels import to_pixels

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
    """Set the book's matplotlib style for this session; its figures carry their numbers (drawn.py)."""
    plt.style.use(STYLE)
    drawn.attach()


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


def calibration(
    ax: Axes, found: Mapping[str, Coverage], group: str = "pixels", styles: Mapping[str, tuple[str, str]] | None = None
) -> None:
    """Measured coverage of a group against nominal, a line for each name, with two standard errors; the diagonal is
    right.

    styles: colour and line style of some names.
    """
    ax.plot([0, 100], [0, 100], color="0.8", lw=1)
    for name, each in found.items():
        row = each.names.index(group)
        levels = 100 * np.array(each.levels)
        measured, errors = (100 * x[row].numpy() for x in (each.measured, each.errors))
        colour, style = (styles or {}).get(name, (None, "-"))
        ax.errorbar(levels, measured, yerr=2 * errors, color=colour, ls=style, marker="o", ms=4, label=name)
    ax.set(title=group, xlabel="nominal, %", ylabel="truths in the interval, %", xlim=(0, 100), ylim=(0, 100))
