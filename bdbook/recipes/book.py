"""The systems at book scale: the same small network, 16-pixel images, minutes on two cores.

Named data-method: photos-blurring, leaves-ddpm. They predict spectrally preconditioned (this book's default for
small budgets); a name that ends in -plain predicts what the method's paper predicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bdbook.cold import Setting
from bdbook.recipes.recipe import BOOK_UNET, Recipe
from bdbook.unet import UNetConfig


@dataclass(frozen=True)
class Method:
    """A system at book scale: its process and what its paper predicts."""

    process: str
    settings: Mapping[str, Setting]
    plain: str
    rule: str = "ancestral"
    plain_rule: str = "ancestral"
    plain_loss: str = "plain"
    sample_steps: int | None = 250


METHODS = {
    "ddpm": Method("ddpm", {}, "eps"),
    "cosine": Method("cosine_diffusion", {}, "eps"),
    "blurring": Method("blurring_diffusion", {"sigma_max": 5.0}, "eps"),
    "blur": Method("blur_diffusion", {}, "eps"),
    "soft": Method("soft_diffusion", {"sigma_max": 5.0}, "residual", "momentum", "momentum", "soft"),
    "heat": Method(
        "heat_dissipation", {"sigma_max": 8.0, "steps": 100}, "less_blurred", plain_rule="ihdm", sample_steps=None
    ),
    "equal-snr": Method("equal_snr", {}, "eps"),
}
BOOK_DATA = ("digits", "photos", "leaves", "gaussian", "fashion")


def _book_recipe(data: str, name: str, method: Method, plain: bool) -> Recipe:
    common: dict[str, Any] = {
        "data": data,
        "process": method.process,
        "settings": method.settings,
        "unet": BOOK_UNET,
        "sample_steps": method.sample_steps,
    }
    if not plain:
        return Recipe(f"{data}-{name}", predicts="spectral", rule=method.rule, **common)
    rule, loss = method.plain_rule, method.plain_loss
    return Recipe(f"{data}-{name}-plain", predicts=method.plain, rule=rule, loss=loss, **common)


BOOK = {
    recipe.name: recipe
    for data in BOOK_DATA
    for name, method in METHODS.items()
    for recipe in (_book_recipe(data, name, method, plain) for plain in (False, True))
}


@dataclass(frozen=True)
class Restoration:
    """A degradation of cold diffusion at book scale, for 16 pixels: fewer steps than the paper's, as strong an end."""

    process: str
    settings: Mapping[str, Setting]
    channels: int = 1


RESTORATIONS = {
    "deblur": Restoration("blur", {"steps": 20, "std": 1.4, "growth": "constant", "width": 9}),
    "inpaint": Restoration("inpainting", {"steps": 20, "first": 1.0, "increment": 0.1, "where": "random"}),
    "superres": Restoration("super_resolution", {"steps": 3}),
    "recolour": Restoration("colourisation", {"steps": 20}, channels=3),
    "desnow": Restoration("snow", {"steps": 20, "threshold": (1.15, 0.7), "wind": (0.05, 4.0), "zoom": 1.5}),
    "fixed-noise": Restoration("noise", {"steps": 50}),
    "from-colour": Restoration("inpainting", {"steps": 20, "first": 1.0, "increment": 0.4, "colour": True}),
    "from-leaves": Restoration("animorphosis", {"steps": 50, "other": "leaves"}),
    "from-mean": Restoration(
        "blur", {"steps": 40, "std": 1.0, "growth": "constant", "width": 9, "boundary": "symmetric", "to_mean": True}
    ),
}


def _cold_recipe(data: str, name: str, restoration: Restoration, plain: bool) -> Recipe:
    channels = restoration.channels
    return Recipe(
        f"{data}-{name}" + ("-plain" if plain else ""),
        data=data,
        process=restoration.process,
        settings=restoration.settings,
        # The paper's network says the clean image; this book's what is missing, so that no severity needs no learning.
        predicts="x0" if plain else "residual",
        unet=replace(BOOK_UNET, in_channels=channels, out_channels=channels),
        rule="tacos",
        sample_steps=None,
        loss="l1",
    )


BOOK |= {
    recipe.name: recipe
    for data in BOOK_DATA
    for name, restoration in RESTORATIONS.items()
    for recipe in (_cold_recipe(data, name, restoration, plain) for plain in (False, True))
}


# For pictures of any size: no attention, since that knows one size only, and a blur that is small against a patch.
BOOK["photos-sharpen"] = replace(
    _cold_recipe("photos", "sharpen", Restoration("blur", {"steps": 20, "std": 0.5, "growth": "constant"}), False),
    unet=UNetConfig(size=32, channels=16, multipliers=(1, 2, 4), attention=()),
    batch=32,
)
