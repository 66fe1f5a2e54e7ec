"""The landing page's figure of few calls: clothes from equal noise in five steps, and where the same walks lead.

Drawn by the build from recorded weights, the first pictures of seed 0 as they come. All numbers in its words are
computed here.
"""

import base64
import html
import io

import numpy as np
import torch
from PIL import Image

from bdbook import pixels
from bdbook.page import live
from bdbook.training.runs import Run

RECIPE, SEED, COUNT, CALLS, MANY = "fashion-blurring", 0, 8, 5, 100
# A row's name -> rule and order.
RULES = {
    "DDIM": ("ddim", 1),
    "DDIM, second order": ("ddim", 2),
    "flow rule": ("flow", 1),
    "flow rule, second order": ("flow", 2),
}
GAP = 1  # px between pictures


def walked(run: Run, name: str, calls: int) -> torch.Tensor:
    """The first pictures of the seed by a rule of RULES, (COUNT, 1, 16, 16)."""
    rule, order = RULES[name]
    return run.draw(COUNT, SEED, run.flow() if rule == "flow" else rule, calls, order=order)


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """Root mean square difference of pixels as they are shown, in [-1, 1]; its mean over the pictures."""
    return (a.clamp(-1, 1) - b.clamp(-1, 1)).square().mean((1, 2, 3)).sqrt().mean().item()


def strip(pictures: torch.Tensor) -> str:
    """Pictures side by side as the address of a PNG; between them the page is seen, light or dark."""
    shown = pixels.to_pixels(pictures)[..., 0]
    count, height, width = shown.shape
    canvas = np.zeros((height, count * (width + GAP) - GAP, 2), np.uint8)  # grey and opacity
    for place, picture in enumerate(shown):
        left = place * (width + GAP)
        canvas[:, left : left + width] = np.stack([picture, np.full_like(picture, 255)], -1)
    file = io.BytesIO()
    Image.fromarray(canvas, "LA").save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _row(name: str, off: str, alt: str, pictures: torch.Tensor) -> str:
    wide = COUNT * (pictures.shape[-1] + GAP) - GAP
    # The theme's dark mode puts a white ground behind pictures, but for those of this class.
    image = f'<img class="dark-light" src="{strip(pictures)}" alt="{html.escape(alt)}" width="{wide}" height="16">'
    return f'<div class="bd-walk"><span>{name}</span><span class="bd-walk-off">{off}</span>{image}</div>'


def figure() -> str:
    """The figure as HTML."""
    run = live.run_of(RECIPE)
    end = walked(run, "flow rule, second order", MANY)
    rows = []
    for name in RULES:
        pictures = walked(run, name, CALLS)
        off = f"{apart(pictures, end):.2f}"
        alt = f"{COUNT} pictures of clothes by {name} in {CALLS} calls"
        rows.append(_row(name, off, alt, pictures))
    rows.append(_row(f"the same in {MANY} calls", "", f"The {COUNT} pictures of the last rule in {MANY} calls", end))
    caption = (
        f"Clothes that one network draws in {CALLS} calls, from the same noise in each row: blurring diffusion with "
        f"{run.recipe.settings['sigma_max']:g} px of blur, trained for {run.record['step']:,} steps on "
        f"{run.record['identity']['count']:,} pictures of 16 × 16 pixels. The first {COUNT} of seed {SEED}, none left "
        "out. The last row shows where all these walks lead with many calls. A number says how far the pictures of a "
        "row are from it: the root mean square difference of pixels in [−1, 1]. Nearer is not always better to look at."
    )
    return f'<figure class="bd-walks">{"".join(rows)}<figcaption><p>{caption}</p></figcaption></figure>\n'
