"""Recipes: everything a training needs, by name, as frozen data.

Book-scale recipes are named data-method: photos-blurring, leaves-ddpm. They predict spectrally preconditioned
(this book's default for small budgets); a name that ends in -plain predicts what the method's paper predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType

from torch import Tensor

from bdbook import denoiser, oracle, priors, processes
from bdbook.denoiser import Prediction
from bdbook.errors import unknown
from bdbook.priors import Prior
from bdbook.processes import Process
from bdbook.samplers import IHDM_DELTA
from bdbook.transforms import DCT, pair
from bdbook.unet import UNet, UNetConfig

STEPS = MappingProxyType({"smoke": 20, "cpu": 1500, "gpu": 20000})
SMOKE_SAMPLE_STEPS = 5


@dataclass(frozen=True)
class Recipe:
    """One training, without its seed and its device.

    process, settings: a factory of bdbook.processes and its arguments besides the size (and, for a process of
    white noise, the basis, which is the DCT). predicts: eps, x0, v, residual, less_blurred or spectral.
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

    def build_process(self) -> Process:
        """The degradation process."""
        if self.process in ("ddpm", "cosine_diffusion"):
            return processes.process(self.process, basis=DCT(self.size), **self.settings)
        return processes.process(self.process, self.size, **self.settings)

    def build_prediction(self, spectrum: oracle.Gaussian) -> Prediction:
        """What the network predicts; the data's spectrum serves spectral preconditioning."""
        return spectrum.prediction() if self.predicts == "spectral" else denoiser.prediction(self.predicts)

    def build_prior(self, spectrum: oracle.Gaussian, images: Callable[[], Tensor]) -> Prior:
        """Where x_T comes from: white noise where the process ends there, else what the data become at t = 1.

        images: called for training images where the prior is made of them (heat dissipation).
        """
        process, (height, width) = self.build_process(), pair(self.size)
        if self.process == "heat_dissipation":
            return priors.blurred_data(process, images(), delta=IHDM_DELTA)
        if self.process == "soft_diffusion":
            return priors.marginal(spectrum, process, self.channels)
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
        unet = {k: tuple(v) if isinstance(v, list) else v for k, v in stored["unet"].items()}
        return cls(**{**stored, "unet": UNetConfig(**unet)})


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


def get(name: str) -> Recipe:
    """A recipe by name."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]
