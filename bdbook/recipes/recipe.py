"""What a recipe is: everything a training needs, as frozen data."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from bdbook import cold, data, denoiser, oracle, pixels, priors, processes
from bdbook.denoiser import Prediction
from bdbook.errors import unknown
from bdbook.priors import Prior
from bdbook.processes import Degradation, Process
from bdbook.recipes import pasted
from bdbook.transforms import DCT, Circle, Rotation, Size, height_width, lengths, shape_in_words, unwrapped
from bdbook.unet import InFrequencies, UNet, UNetConfig, older

DOMAINS = ("pixels", "frequencies")
COLOURS = {1: "grey", 3: "colour"}
STEPS: Mapping[str, int] = MappingProxyType({"smoke": 20, "cpu": 1500, "gpu": 20000})
# The network of the book's recipes, and of a process of one's own where none is given.
BOOK_UNET = UNetConfig(size=16, channels=16, multipliers=(1, 2, 4), blocks=1, attention=(4,), head_dim=16)


@dataclass(frozen=True)
class Recipe:
    """One training, without its seed and its device.

    process, settings: a factory of bdbook.processes, or of bdbook.cold, and its arguments besides the size (and, for
    a process of white noise, the basis, which is the DCT); or equal_snr, whose noise has the spectrum of the images
    that it is trained on; or a process itself, and no settings. predicts: eps, x0, v,
    residual, less_blurred, step_mean or spectral. unet: the network's settings; or None, and `net` is a network of
    one's own, for images of `shape`, (C, *axes). domain: what the network sees and says, "pixels" or "frequencies"
    (coefficients in the process's basis). batch: images an optimisation step, over all processes, in `accumulate` parts
    that fit in memory. flip: mirror half of the images, along their last axis. steps: optimisation steps per profile.
    rule, sample_steps: how it is sampled by default.

    How many axes the images have, the size of the unet says, or else `shape`: a field of its own could contradict them.
    """

    name: str
    data: str
    process: str | Degradation
    settings: Mapping[str, Any]
    predicts: str
    unet: UNetConfig | None
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
    net: nn.Module | None = None
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.domain not in DOMAINS:
            raise unknown("domain", self.domain, DOMAINS)
        if self.batch < 1 or self.accumulate < 1 or self.batch % self.accumulate:
            raise ValueError(
                f"batch was {self.batch}, in {self.accumulate} parts; expected both at least 1 and equal parts"
            )
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate was {self.learning_rate}; expected a number above 0")
        if not (self.clip > 0 and 0 <= self.ema < 1 and self.warmup >= 0):
            raise ValueError(
                f"clip was {self.clip}, ema {self.ema} and warmup {self.warmup}; expected a norm above 0, a part in "
                "[0, 1) and a number of steps"
            )
        if self.unet is None and (self.net is None or self.shape is None):
            raise ValueError("a recipe without a unet needs net, a network, and shape, its images' (C, *axes)")

    @property
    def size(self) -> Size:
        """Of the images: that of the unet says how many axes they have too, and which of them wrap around."""
        return self.unet.size if self.unet is not None else self._own_shape[1:]

    @property
    def channels(self) -> int:
        return self.unet.in_channels if self.unet is not None else self._own_shape[0]

    @property
    def _own_shape(self) -> tuple[int, ...]:
        assert self.shape is not None  # by __post_init__
        return self.shape

    @property
    def has_dropout(self) -> bool:
        """Whether the network draws random numbers while it is trained; one's own may."""
        return self.unet is None or self.unet.dropout > 0

    def resized(self, size: Size | None = None, channels: int | None = None) -> Recipe:
        """The recipe for pictures of another size, (height, width) or a side, in grey (1 channel) or colour (3).

        The network follows, and the name: photos-ddpm-32px, photos-ddpm-48x64px-colour. All else stays; widths of a
        blur are in pixels, so it is weaker for larger images. Raises ValueError where the sides do not halve as often
        as the network halves them, and where the network or the process is one's own, for one size.
        """
        if size is None and channels is None:
            return self
        size, channels = (self.size if size is None else size), (self.channels if channels is None else channels)
        (height, width), before = height_width(size), height_width(self.size)
        if channels not in COLOURS:
            raise ValueError(f"channels must be 1 (grey) or 3 (colour), got {channels}")
        asked = (channels, height, width)
        if asked == (self.channels, *before):
            return self
        told = f"recipe {self.name} cannot be made for images {asked}, (channels, height, width)"
        if self.unet is None:
            raise ValueError(f"{told}: its network is one's own, for {self.shape}; give another network for these")
        if isinstance(self.process, Degradation) and (height, width) != before:
            raise ValueError(f"{told}: its process is one's own, for {before}; give the process at that size instead")
        if self.process == "colourisation" and channels == 1:
            raise ValueError(f"{told}: it brings back colours, which grey images have none of; leave it at 3 channels")
        shape = f"-{height}px" if height == width else f"-{height}x{width}px"
        name = self.name + (shape if (height, width) != before else "")
        name += f"-{COLOURS[channels]}" if channels != self.channels else ""
        side = self.unet.size if (height, width) == before else height if height == width else (height, width)
        unet = replace(self.unet, size=side, in_channels=channels, out_channels=channels)
        return replace(self, name=name, unet=unet)

    def build_net(self) -> nn.Module:
        """The network, freshly initialised from the global generator; one's own as it was given."""
        net = copy.deepcopy(self.net) if self.unet is None else UNet(self.unet)
        assert net is not None  # by __post_init__
        return net if self.domain == "pixels" else InFrequencies(net, self.outline().basis)

    @property
    def is_cold(self) -> bool:
        """Whether it restores a degradation without noise."""
        return not self.outline().noisy

    def outline(self) -> Degradation:
        """The degradation as far as it is known without data: its kind, basis and times; equal_snr's noise is white."""
        if self.process != processes.OF_DATA:
            return self.build_process()
        white = torch.ones(1, 1, *lengths(self.size), dtype=torch.float64)
        return self.build_process(oracle.Gaussian(DCT(self.size), white, torch.zeros_like(white)))

    def build_process(self, spectrum: oracle.Gaussian | None = None) -> Degradation:
        """The degradation. spectrum: of the data, of which equal_snr alone makes use; it raises ValueError without."""
        if isinstance(self.process, Degradation):
            return self.process
        settings = dict(self.settings)
        if self.process == processes.OF_DATA:
            if spectrum is None:
                raise ValueError(
                    f"the process of {self.name} has noise of its data's spectrum; give it, "
                    "oracle.Gaussian.fit(DCT(size), images), or take run.denoiser.process of a trained model"
                )
            return processes.equal_snr(spectrum, floor=pixels.ROUNDING, **settings)
        if self.process in cold.FACTORIES:
            if isinstance(settings.get("other"), str):
                settings["other"] = data.Pictures(settings["other"], self.size, self.channels)
            return cold.degradation(self.process, self.size, self.channels, **settings)
        if self.process not in processes.PROCESSES:
            raise unknown("process", self.process, [*processes.PROCESSES, processes.OF_DATA, *cold.FACTORIES])
        place = {"size": self.size} if processes.has_size(self.process) else {"basis": DCT(self.size)}
        return processes.process(self.process, **place, **settings)

    def build_prediction(self, spectrum: oracle.Gaussian) -> Prediction:
        """What the network predicts; the data's spectrum serves spectral preconditioning."""
        if self.predicts != "spectral":
            return denoiser.prediction(self.predicts)
        # A frequency with less variance than rounding has would make rounding, scaled up, what is learnt.
        return replace(spectrum, variance=spectrum.variance.clamp_min(pixels.ROUNDING)).prediction()

    def build_prior(self, process: Degradation, spectrum: oracle.Gaussian, images: Callable[[], Tensor]) -> Prior:
        """Where x_T comes from: `priors.of_process`. process: as `build_process` builds it, drawn."""
        return priors.of_process(process, (self.channels, *lengths(self.size)), spectrum, images)

    def check_images(self, images: Tensor) -> None:
        """Raise unless images are (N, C, *axes) of this recipe's channels and size, and finite."""
        expected = (self.channels, *lengths(self.size))
        if tuple(images.shape[1:]) != expected:
            pictures = len(expected) == 3 and images.ndim == 4
            raise ValueError(
                f"recipe {self.name} expects images (N, {expected}), but got {tuple(images.shape)}; for these, ask for "
                + (
                    "recipe.resized(size, channels), or bdbook.fit(..., size=, channels=)"
                    if pictures
                    else "a process of their size, bdbook.fit(processes.blurring_diffusion(size), images)"
                )
            )
        if not images.is_floating_point():
            return
        bad = (~images.isfinite()).flatten(1).any(1).nonzero().flatten()
        if len(bad):
            raise ValueError(f"image {bad[0].item()} has NaN or infinite pixels ({len(bad)} such images); remove them")

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for a run's record; from_dict reads it back, after JSON too."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return plain | {
            "process": self.process if isinstance(self.process, str) else pasted.written(self.process),
            "settings": dict(self.settings),
            "unet": None if self.unet is None else asdict(self.unet),
            "net": None if self.net is None else _description(self.net),
            "steps": {},
        }

    @classmethod
    def from_dict(
        cls, stored: Mapping[str, Any], process: Degradation | None = None, net: nn.Module | None = None
    ) -> Recipe:
        """The recipe that as_dict wrote. process, net: one's own, where the recipe had them; they are compared."""
        plain = {"net": None, "shape": None, **stored, "steps": STEPS}
        if plain["net"] is not None:
            if net is None:
                raise ValueError(
                    f"the run has a network of its own, {plain['net']}; give it: load_run(folder, net=net)"
                )
            if _description(net) != plain["net"]:
                raise ValueError(f"the run's network is {plain['net']}, but {_description(net)} was given")
            plain["net"] = net
        return cls(
            **plain
            | {
                "process": pasted.restored(plain["process"], process),
                "settings": _tuples(plain["settings"]),
                "unet": None if plain["unet"] is None else UNetConfig(**older(plain["unet"]) | _tuples(plain["unet"])),
                "shape": None if plain["shape"] is None else tuple(plain["shape"]),
            }
        )


def of_process(
    process: Degradation, shape: tuple[int, ...], net: nn.Module | None = None, data: str = "given", **changes: Any
) -> Recipe:
    """A recipe for a process of one's own and images of shape (C, *axes).

    net: a network (x_t, t) -> (B, C, *axes); None: the book's. A unet goes around the axes that are circles to the
    process, unless its settings say wraps=False. changes: fields of the recipe that shall differ from
    what is usual: spectral prediction and the ancestral rule where there is noise, else the residual, the mean absolute
    error and TACoS.
    """
    channels, *sides = shape
    if len(sides) != process.basis.dims:
        raise ValueError(
            f"images of shape {tuple(shape)} were given to {process.name}, which is for those of "
            f"({shape_in_words(process.basis.dims)[4:]}; make it for their axes, e.g. with basis=DCT({tuple(sides)})"
        )
    steps = None if process.steps is not None and process.steps <= 250 else 250
    usual: dict[str, Any] = {
        "predicts": "spectral" if process.noisy and isinstance(process, Process) else "residual",
        "rule": "ancestral" if process.noisy else "tacos",
        "sample_steps": steps if process.noisy else None,
        "loss": "plain" if process.noisy else "l1",
        "unet": replace(BOOK_UNET, size=tuple(sides), in_channels=channels, out_channels=channels)
        if net is None and "unet" not in changes  # one that is given may fit where the book's does not
        else None,
    }
    common: dict[str, Any] = {"name": process.name, "data": data, "process": process, "settings": {}, "net": net}
    found = Recipe(**common | {"shape": None if net is None else shape} | usual | changes)
    basis = process.basis
    if found.unet is None or not isinstance(basis, Rotation) or lengths(found.unet.size) != lengths(basis.size):
        return found
    if unwrapped(basis.size) == basis.size:
        return found
    return replace(found, unet=replace(found.unet, size=basis.size))


def _tuples(stored: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists for tuples, and what a `Circle` holds for a Circle."""
    return {
        key: tuple(Circle(**each) if isinstance(each, dict) else each for each in value)
        if isinstance(value, list | tuple)
        else value
        for key, value in stored.items()
    }


def _description(net: nn.Module) -> str:
    """A network in words, by which another is told from it."""
    return f"{type(net).__name__} of {sum(p.numel() for p in net.parameters()):,} parameters"
