"""One colour for each system through the whole book: a mark in figures, and text in the page.

Marks are Okabe and Ito's palette and one of Tol's, distinct to colour-blind readers, two of them darker than there: a
mark stands out from white 3 to 1. Some are too pale to be read as letters: the text is the same hue, dark enough on a
light page and light enough on a dark one, where marks have its colour too.
"""

from typing import NamedTuple


class Colour(NamedTuple):
    """Of marks on white; of text on a light page; of text and marks on a dark one."""

    mark: str
    light: str
    dark: str


PALETTE = {
    "data": Colour("#444444", "#444444", "#8E8E8E"),
    "ddpm": Colour("#0072B2", "#0072B2", "#0094E7"),
    "cosine": Colour("#1F9CE2", "#177AB2", "#56B4E9"),
    "blurring": Colour("#D55E00", "#BD5300", "#E96700"),
    "blur": Colour("#C48800", "#986900", "#E69F00"),
    "heat": Colour("#CC79A7", "#BA4A88", "#CC79A7"),
    "soft": Colour("#009E73", "#008360", "#00A276"),
    "equal-snr": Colour("#332288", "#332288", "#8D7FE0"),
    "cold": Colour("#999933", "#777728", "#999933"),
}


def css() -> str:
    """Rules that give a figure of the page the variables --ddpm, --heat, ..."""
    colours = "".join(f" --{name}: light-dark({c.light}, {c.dark});" for name, c in PALETTE.items())
    return f".bdbook-widget {{{colours} }}\n"
