"""Recipes: everything a training needs, by name, as frozen data.

Book-scale recipes are named data-method: photos-blurring, leaves-ddpm. They predict spectrally preconditioned
(this book's default for small budgets); a name that ends in -plain predicts what the method's paper predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType

from torch import Tensor

from bdbook import cold, denoiser, oracle, priors, processes
from bdbook.degradations import Degradation
from bdbook.denoiser import Prediction
from bdbook.errors import unknown
from bdbook.priors import Prior
from bdbook.samplers import IHDM_DELTA
from bdbook.transforms import DCT, pair
from bdbook.unet import UNet, UNetConfig

STEPS = MappingProxyType({"smoke": 20, "cpu": 1500, "gpu": 20000})
SMOKE_SAMPLE_STEPS = 5
# Noise that tells the pixels of a flat start apart. Source: Bansal sec. 5.2
SYMMETRY_BREAKING = 0.002


@dataclass(frozen=True)
class Recipe:
    """One training, without its seed and its device.

    process, settings: a factory of bdbook.processes, or of bdbook.cold, and its arguments besides the size (and, for
    a process of white noise, the basis, which is the DCT). predicts: eps, x0, v, residual, less_blurred or spectral.
    steps: optimisation steps per profile. rule, sample_steps: how it is sampled by default.
    """

    name: str
    data: str
    process: str
    settings: Mapping[str, float | int | str]
    predicts: str
    unet: UNetConfig
    rule: str = "ancestral"
    sample_steps: int | None = 250
    loss: str = "plain"
    learning_rate: float = 1e-3
    warmup: int = 100
    batch: int = 64
    clip: float = 1.0
    ema: float = 0.999
    steps: Mapping[str, int] = field(default_factory=lambda: STEPS)

    @property
    def size(self) -> int | tuple[int, int]:
        return self.unet.size

    @property
    def channels(self) -> int:
        return self.unet.in_channels

    def build_net(self) -> UNet:
        """The network, freshly initialised from the global generator."""
        return UNet(self.unet)

    @property
    def is_cold(self) -> bool:
        """Whether it restores a degradation without noise."""
        return self.process in cold.FACTORIES

    def build_process(self) -> Degradation:
        """The degradation."""
        if self.is_cold:
            return cold.degradation(self.process, self.size, self.channels, **self.settings)
        if self.process in ("ddpm", "cosine_diffusion"):
            return processes.process(self.process, basis=DCT(self.size), **self.settings)
        return processes.process(self.process, self.size, **self.settings)

    def build_prediction(self, spectrum: oracle.Gaussian) -> Prediction:
        """What the network predicts; the data's spectrum serves spectral preconditioning."""
        return spectrum.prediction() if self.predicts == "spectral" else denoiser.prediction(self.predicts)

    def build_prior(self, process: Degradation, spectrum: oracle.Gaussian, images: Callable[[], Tensor]) -> Prior:
        """Where x_T comes from: white noise where the process ends there, else what the data become at t = 1.

        process: as `build_process` builds it, drawn. images: called for training images where the prior is made of
        them: a mixture fitted to the flat images that blur to the mean leaves, else degraded images themselves.
        """
        height, width = pair(self.size)
        if self.process == "heat_dissipation":
            return priors.blurred_data(process, images(), delta=IHDM_DELTA)
        if self.process == "soft_diffusion":
            return priors.marginal(spectrum, process, self.channels)
        if self.is_cold and self.settings.get("to_mean"):
            return priors.fitted(process, images(), symmetry_breaking=SYMMETRY_BREAKING)
        if self.is_cold:
            return priors.blurred_data(process, images(), delta=0.0)
        return priors.normal((self.channels, height, width))

    def check_images(self, images: Tensor) -> None:
        """Raise unless images are finite and (N, C, H, W) of this recipe's channels and size."""
        expected = (self.channels, *pair(self.size))
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(f"recipe {self.name} expects images (N, {expected}), but got {tuple(images.shape)}")
        bad = (~images.isfinite()).flatten(1).any(1).nonzero().flatten()
        if len(bad):
            raise ValueError(f"image {bad[0].item()} has NaN or infinite pixels ({len(bad)} such images); remove them")

    def as_dict(self) -> dict:
        """Plain data, for a run's record; from_dict reads it back, after JSON too."""
        return {**asdict(replace(self, settings={}, steps={})), "settings": dict(self.settings)}

    @classmethod
    def from_dict(cls, stored: dict) -> Recipe:
        """The recipe that as_dict wrote."""

        def tuples(part: str) -> dict:
            return {k: tuple(v) if isinstance(v, list) else v for k, v in stored[part].items()}

        return cls(**{**stored, "settings": tuples("settings"), "unet": UNetConfig(**tuples("unet"))})


@dataclass(frozen=True)
class Method:
    """A system at book scale: its process and what its paper predicts."""

    process: str
    settings: Mapping[str, float | int | str]
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
}
BOOK_DATA = ("digits", "photos", "leaves", "gaussian")
BOOK_UNET = UNetConfig(size=16, channels=16, multipliers=(1, 2, 4), blocks=1, attention=(4,), head_dim=16)


def _book_recipe(data: str, name: str, method: Method, plain: bool) -> Recipe:
    common = {
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


RECIPES = {
    recipe.name: recipe
    for data in BOOK_DATA
    for name, method in METHODS.items()
    for recipe in (_book_recipe(data, name, method, plain) for plain in (False, True))
}


@dataclass(frozen=True)
class Restoration:
    """A degradation of cold diffusion at book scale, for 16 pixels: fewer steps than the paper's, as strong an end."""

    process: str
    settings: Mapping[str, float | int | str | bool]
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


RECIPES |= {
    recipe.name: recipe
    for data in BOOK_DATA
    for name, restoration in RESTORATIONS.items()
    for recipe in (_cold_recipe(data, name, restoration, plain) for plain in (False, True))
}


# For pictures of any size: no attention, since that knows one size only, and a blur that is small against a patch.
RECIPES["photos-sharpen"] = replace(
    _cold_recipe("photos", "sharpen", Restoration("blur", {"steps": 20, "std": 0.5, "growth": "constant"}), False),
    unet=UNetConfig(size=32, channels=16, multipliers=(1, 2, 4), attention=()),
    batch=32,
)


def get(name: str) -> Recipe:
    """A recipe by name."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]
