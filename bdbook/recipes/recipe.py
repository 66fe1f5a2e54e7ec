"""What a recipe is: everything a training needs, as frozen data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType

from torch import Tensor, nn

from bdbook import cold, data, denoiser, oracle, priors, processes
from bdbook.degradations import Degradation
from bdbook.denoiser import Prediction
from bdbook.errors import unknown
from bdbook.priors import Prior
from bdbook.samplers import IHDM_DELTA
from bdbook.transforms import DCT, pair
from bdbook.unet import InFrequencies, UNet, UNetConfig

DOMAINS = ("pixels", "frequencies")
STEPS = MappingProxyType({"smoke": 20, "cpu": 1500, "gpu": 20000})
# Noise that tells the pixels of a flat start apart. Source: Bansal sec. 5.2
SYMMETRY_BREAKING = 0.002


@dataclass(frozen=True)
class Recipe:
    """One training, without its seed and its device.

    process, settings: a factory of bdbook.processes, or of bdbook.cold, and its arguments besides the size (and, for
    a process of white noise, the basis, which is the DCT). predicts: eps, x0, v, residual, less_blurred, step_mean or
    spectral. domain: what the network sees and says, "pixels" or "frequencies" (coefficients in the process's basis).
    batch: images an optimisation step, over all processes, in `accumulate` parts that fit in memory. flip: mirror
    half of the images. steps: optimisation steps per profile. rule, sample_steps: how it is sampled by default.
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
    accumulate: int = 1
    flip: bool = False
    domain: str = "pixels"
    clip: float = 1.0
    ema: float = 0.999
    steps: Mapping[str, int] = field(default_factory=lambda: STEPS)

    def __post_init__(self) -> None:
        if self.domain not in DOMAINS:
            raise unknown("domain", self.domain, DOMAINS)
        if self.batch < 1 or self.accumulate < 1 or self.batch % self.accumulate:
            raise ValueError(
                f"batch was {self.batch}, in {self.accumulate} parts; expected both at least 1 and equal parts"
            )

    @property
    def size(self) -> int | tuple[int, int]:
        return self.unet.size

    @property
    def channels(self) -> int:
        return self.unet.in_channels

    def build_net(self) -> nn.Module:
        """The network, freshly initialised from the global generator."""
        net = UNet(self.unet)
        return net if self.domain == "pixels" else InFrequencies(net, self.build_process().basis)

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
        if self.predicts != "spectral":
            return denoiser.prediction(self.predicts)
        # Below that there is nothing to learn: scaled up, errors of rounding would be the target.
        return replace(spectrum, variance=spectrum.variance.clamp_min(data.ROUNDING)).prediction()

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
        """Raise unless images are (N, C, H, W) of this recipe's channels and size, and finite."""
        expected = (self.channels, *pair(self.size))
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(f"recipe {self.name} expects images (N, {expected}), but got {tuple(images.shape)}")
        if not images.is_floating_point():
            return
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
