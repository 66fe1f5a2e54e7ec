"""One thing changed at a time, at book scale: what the papers' tables ask, on digits, photos and fashion.

Each name is its parent's with the change in it; a -plain one predicts as the paper does, like its parent.

    blurring-0.5px, -2.5px, -10px, -sin-5px, ...               sigma_B,max and its schedule    HS Tables 3, 4
    cosine-x0, blurring-x0                                     predict the image               HS app. B
    cosine-v, blurring-v                                       predict v                       Salimans and Ho 2022
    cosine-step-mean, blurring-step-mean                       predict the mean of a step      HS sec. 3
    cosine-bound, blurring-bound                               weigh the loss as the bound     HS sec. 2.1, 4
    cosine-frequencies, blurring-frequencies                   the network sees coefficients   HS app. B
    blurring-dmin-0.0001, -0.01, -0.1                          the floor of the blur           HS sec. 4
    blur-log, blur-fine                                        Lee's f, and his order reversed Lee Table 1, Fig. 3
    equal-snr-coarse, equal-snr-fine                           bent clocks, coarse or fine first  this book

HS's sigma_B,max of 1, 5, 10 and 20 px on 32 pixels are 0.5, 2.5, 5 and 10 px on 16.
"""

from __future__ import annotations

from dataclasses import replace

from bdbook.recipes.book import BOOK
from bdbook.recipes.recipe import Recipe

DATA = ("digits", "photos", "fashion")
# Steps of the process whose step means are predicted: as many as the book samples with.
STEP_MEANS = 100
# kappa of the bent clocks: high frequencies run ahead, or low ones.
BENT = {"coarse": 0.5, "fine": -0.5}


def _with(parent: str, change: str, **fields) -> Recipe:
    """The parent with some fields replaced; `settings` are added to the parent's."""
    recipe = BOOK[parent]
    if "settings" in fields:
        fields["settings"] = {**recipe.settings, **fields["settings"]}
    stem, plain = parent.removesuffix("-plain"), "-plain" if parent.endswith("-plain") else ""
    return replace(recipe, name=f"{stem}-{change}{plain}", **fields)


def _both(parent: str, change: str, **settings) -> list[Recipe]:
    return [_with(parent + end, change, settings=settings) for end in ("", "-plain")]


def _of(data: str) -> list[Recipe]:
    blurring, found = f"{data}-blurring", []
    for width in (0.5, 2.5, 10.0):
        found += _both(blurring, f"{width:g}px", sigma_max=width)
    for width in (0.5, 2.5, 5.0, 10.0):
        found += _both(blurring, f"sin-{width:g}px", sigma_max=width, blur="sin")
    for floor in ("0.0001", "0.01", "0.1"):
        found += _both(blurring, f"dmin-{floor}", d_min=float(floor))
    for parent in (f"{data}-cosine-plain", f"{blurring}-plain"):
        bare = replace(BOOK[parent], name=parent.removesuffix("-plain"))
        found += [
            replace(bare, name=f"{bare.name}-x0", predicts="x0"),
            replace(bare, name=f"{bare.name}-v", predicts="v"),
            replace(bare, name=f"{bare.name}-step-mean", predicts="step_mean", sample_steps=STEP_MEANS),
            replace(bare, name=f"{bare.name}-bound", loss="bound"),
            replace(bare, name=f"{bare.name}-frequencies", domain="frequencies"),
        ]
    # Not -plain: alpha falls below 1e-38 at some frequencies, and a noise then gives no image in float32.
    strong = {"log": {"f_type": "log", "f_max": 0.6}, "fine": {"order": "fine_to_coarse"}}
    found += [_with(f"{data}-blur", change, settings=settings) for change, settings in strong.items()]
    return found + [_with(f"{data}-equal-snr", end, settings={"kappa": kappa}) for end, kappa in BENT.items()]


ABLATIONS = {recipe.name: recipe for data in DATA for recipe in _of(data)}
