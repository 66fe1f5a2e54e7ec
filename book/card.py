"""The picture that a shared link shows, 1200 x 630: a photograph that blurs until it is grey.

    python book/card.py FILE      such as book/assets/card.jpg

The row is heat dissipation, the book's simplest process, at five times. The same library gives the same pixels.
"""

import sys
from pathlib import Path

import torch
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont

from bdbook import data, pixels, processes

SIZE = (1200, 630)
SIDE, PICTURES, MARGIN, TOP = 208, 5, 32, 56  # px
PAPER, INK, FADED, RUST = "#ffffff", "#1f2328", "#57606a", "#9a4a1c"  # as in bdbook.css


def words(size: int, weight: str = "normal") -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib."""
    return ImageFont.truetype(findfont(FontProperties(family="DejaVu Sans", weight=weight)), size)


def card() -> Image.Image:
    """The whole picture."""
    photo = data.photograph("china", 104)[None]
    process = processes.heat_dissipation(104, sigma_max=24.0, steps=PICTURES - 1)
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    whole = Image.new("RGB", SIZE, PAPER)
    gap = (SIZE[0] - 2 * MARGIN - PICTURES * SIDE) // (PICTURES - 1)
    for index in range(PICTURES):
        shown = process.sample(photo, index / (PICTURES - 1), noise)
        picture = Image.fromarray(pixels.to_pixels(shown)[0]).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        whole.paste(picture, (MARGIN + index * (SIDE + gap), TOP))
    draw = ImageDraw.Draw(whole)
    draw.text((MARGIN, 320), "Diffusion models that blur", INK, words(70, "bold"))
    draw.text((MARGIN, 432), "An executable book and a small library", FADED, words(38))
    draw.text((MARGIN, 488), "Derived, run and tested; drag it in your browser", FADED, words(38))
    draw.rectangle((0, SIZE[1] - 14, SIZE[0], SIZE[1]), RUST)
    return whole


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    card().save(Path(sys.argv[1]), quality=85, optimize=True)
