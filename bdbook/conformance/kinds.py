"""The functions of the papers that can be checked: how each is called, what it should give, what goes wrong in it.

A kind calls a function (`see`), says what the library gives in its place (`right`), and what the paper's listing gives
with some lines written otherwise (`expected`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from bdbook import processes, samplers
from bdbook.conformance import slips
from bdbook.conformance.calling import Caller, Unreadable, per_frequency, told_at
from bdbook.conformance.slips import Listing, Slip
from bdbook.transforms import Basis, height_width

Array = np.ndarray
Quantities = dict[str, Array]

# What single precision may miss, as a share of the largest value; of `denoise`, which subtracts what is nearly equal.
ROUNDING, ROUNDING_OF_A_STEP = 2e-5, 2e-4
# Everything is linear in the image. One so large that the function's own noise is below rounding shows what it does to
# the image; none at all shows the noise.
LOUD = 1e6
# Images of a call; of one that shows nothing but noise, at most so many, of so many pixels; bands of frequencies over
# which noise is averaged, and how many standard errors it may miss.
IMAGES, NOISES, PIXELS, BANDS, ERRORS = (2, 3), 64, 2**16, 8, 6.0
# What the papers leave free, and what they take themselves.
NOTHING: dict[str, Any] = {}
SIZE_FREE: dict[str, Any] = {"size": 32}
HS_FREE: dict[str, Any] = {"size": 32, "sigma_max": 20.0, "d_min": 1e-3, "blur": "sin2"}
STEP_FREE: dict[str, Any] = {**HS_FREE, "steps": 1000}
LEE_FREE: dict[str, Any] = {
    "size": 64,
    "f_max": 0.14,
    "f_type": "quartic",
    "kernel_sigma": 0.4,
    "boundary": "zero",
    "steps": 1000,
}
IHDM_FREE: dict[str, Any] = {"size": 32, "sigma_max": 24.0, "sigma_min": 0.5, "steps": 200}
# What HS app. A.1 calls them.
LISTING_NAMES = {"d_min": "min_scale", "sigma_max": "sigma_blur_max", "steps": "T"}


@dataclass(frozen=True)
class Seen:
    """What a function did.

    times: those of its calls. given: what it returned, (times, ..., H, W) in coefficients. tolerance: of quantities
    that are averages of noise. eps: the noise that it said it drew, (times, B, C, H, W).
    """

    times: Array
    given: Quantities
    tolerance: dict[str, float]
    eps: Array | None = None


class Kind:
    """A function of a paper. names: as it is called there; takes, gives: in words; arguments: how many come first.

    free: the settings that it has, with the paper's values. known: the slips of the lines that it runs. first: what
    else to check where it cannot be. clock, place: what its time, and a place in its arrays, are called.
    """

    source: str
    names: tuple[str, ...] = ()
    takes: str
    gives: str
    arguments = 1
    free: Mapping[str, Any]
    known: tuple[Slip, ...]
    images = False
    timed = True
    rounding = ROUNDING
    first = ""
    clock = "t"
    place = "frequency"

    def process(self, settings: Mapping[str, Any]) -> Any:
        """The exact one; raises where the settings make no sense."""
        raise NotImplementedError

    def listing(self, process: Any, settings: Mapping[str, Any]) -> Any:
        """The paper's lines, with the same settings."""
        raise NotImplementedError

    def times(self, settings: Mapping[str, Any]) -> Array:
        """Those at which it is called."""
        return np.array([0.0, 0.02, 0.1, 0.25, 0.4, 0.6, 0.8, 1.0])

    def names_of(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What a function may take by name: HS app. A.1's own names, and those of the settings."""
        return dict(settings)

    def see(self, caller: Caller, process: Any, times: Array) -> Seen:
        """Call it at each time."""
        raise NotImplementedError

    def right(self, process: Any, settings: Mapping[str, Any], seen: Seen) -> list[tuple[Quantities, Any]]:
        """What it should have given, by the library; with the listing that slips are made of."""
        raise NotImplementedError

    def expected(self, lines: Any, seen: Seen) -> Quantities:
        """What these lines give."""
        raise NotImplementedError

    def several(self, caller: Caller, process: Any, t: Array) -> Quantities:
        """Called once with several times: the same quantities as `see` has them."""
        raise NotImplementedError


class OfHS(Kind):
    """HS app. A.1."""

    free = HS_FREE

    def process(self, settings: Mapping[str, Any]) -> Any:
        return processes.blurring_diffusion(**{"size": 1, **{n: v for n, v in settings.items() if n in HS_FREE}})

    def listing(self, process: Any, settings: Mapping[str, Any]) -> Any:
        return slips.Blurring(
            of=process,
            size=process.size,
            sigma_max=process.sigma_max,
            d_min=process.d_min,
            width=slips.WIDTHS[process.blur],
            total=settings.get("steps", 1000),
        )

    def names_of(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        height, width = height_width(settings.get("size", (1, 2)))
        known = {**settings, **{LISTING_NAMES[n]: v for n, v in settings.items() if n in LISTING_NAMES}}
        known |= {"logsnr_min": -10.0, "logsnr_max": 10.0}
        return known | ({"img_dim": height} if height == width else {})


class OfLee(Kind):
    """Lee Eq. 2 to 5."""

    free = LEE_FREE
    clock = "i"

    def process(self, settings: Mapping[str, Any]) -> Any:
        return processes.blur_diffusion(**settings)

    def listing(self, process: Any, settings: Mapping[str, Any]) -> Any:
        chosen = {name: value for name, value in settings.items() if name != "boundary"}
        return slips.Lee(**{**chosen, "of": process, "size": process.size, "eigen": slips.EIGEN[process.boundary]})

    def times(self, settings: Mapping[str, Any]) -> Array:
        return np.unique(np.linspace(1, settings["steps"], 8).round().astype(int))

    def names_of(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {**settings, "N": settings["steps"]}


class OfIHDM(Kind):
    """IHDM: HS sec. 2.2, Rissanen et al. 2022."""

    free = IHDM_FREE
    clock = "k"

    def process(self, settings: Mapping[str, Any]) -> Any:
        return processes.heat_dissipation(**settings, noise=0.0)

    def listing(self, process: Any, settings: Mapping[str, Any]) -> Any:
        return slips.Dissipation(**{**settings, "of": process, "size": process.size})

    def times(self, settings: Mapping[str, Any]) -> Array:
        return np.unique(np.linspace(0, settings["steps"], 8).round().astype(int))

    def names_of(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {**settings, "K": settings["steps"]}


class PerFrequency(Kind):
    """A function of time alone. parts: the names of what it returns."""

    parts: tuple[str, ...]

    def see(self, caller: Caller, process: Any, times: Array) -> Seen:
        each = [self._read(caller, np.array([t]), process.size) for t in times]
        return Seen(times, {name: np.concatenate([one[name] for one in each]) for name in self.parts}, {})

    def several(self, caller: Caller, process: Any, t: Array) -> Quantities:
        return self._read(caller, t, process.size)

    def right(self, process: Any, settings: Mapping[str, Any], seen: Seen) -> list[tuple[Quantities, Any]]:
        lines = self.listing(process, settings)
        shape = (len(seen.times), *process.size)
        arrays = dict(zip(self.parts, self.exact(process, torch.from_numpy(seen.times))))
        return [({name: np.broadcast_to(_numpy(a)[:, 0], shape) for name, a in arrays.items()}, lines)]

    def expected(self, lines: Any, seen: Seen) -> Quantities:
        shape = next(iter(seen.given.values())).shape
        arrays = self.by_lines(lines, seen.times.reshape(-1, 1, 1))
        return {name: np.broadcast_to(array, shape) for name, array in zip(self.parts, arrays)}

    def exact(self, process: Any, t: Any) -> tuple[Any, ...]:
        """By the library, each (N, 1, H|1, W|1)."""
        raise NotImplementedError

    def by_lines(self, lines: Any, t: Array) -> tuple[Array, ...]:
        """By the listing, each (N, H|1, W|1)."""
        raise NotImplementedError

    def _read(self, caller: Caller, t: Array, size: tuple[int, int]) -> Quantities:
        with told_at(t):
            return self._parts(caller.of_time(t), len(t), size)

    def _parts(self, result: Any, count: int, size: tuple[int, int]) -> Quantities:
        results = [result] if len(self.parts) == 1 else result
        if not isinstance(results, tuple | list) or len(results) != len(self.parts):
            length = f" of {len(results)}" if isinstance(results, tuple | list) else ""
            raise Unreadable(f"it returned {type(results).__name__}{length}; expected {self.gives}")
        return {name: per_frequency(each, name, size, count) for name, each in zip(self.parts, results)}


class FrequencyScaling(OfHS, PerFrequency):
    source = "HS app. A.1 get_frequency_scaling, Eq. 25 and 26"
    names = ("get_frequency_scaling",)
    takes, gives, parts = "(t)", "d, one number for each frequency", ("d",)
    known = (
        *slips.HEAT_SLIPS,
        *(s for s in slips.BLURRING_SLIPS if not {"both", "root", "angle"} & {name for f in s.forms for name in f}),
    )

    def exact(self, process: Any, t: Any) -> tuple[Any, ...]:
        return (process.alpha(t) / processes.cosine_diffusion().alpha(t),)

    def by_lines(self, lines: Any, t: Array) -> tuple[Array, ...]:
        return (lines.d(t),)


class NoiseScaling(OfHS, PerFrequency):
    source = "HS app. A.1 get_noise_scaling_cosine"
    names = ("get_noise_scaling_cosine", "get_noise_schaling_cosine")
    takes, gives, parts = "(t)", "(a, sigma)", ("a", "sigma")
    free = NOTHING
    known = tuple(s for s in slips.BLURRING_SLIPS if {"root", "angle"} & {name for f in s.forms for name in f})

    def exact(self, process: Any, t: Any) -> tuple[Any, ...]:
        cosine = processes.cosine_diffusion()
        return cosine.alpha(t), cosine.sigma(t)

    def by_lines(self, lines: Any, t: Array) -> tuple[Array, ...]:
        a, sigma = lines.a_sigma(t)
        return a, sigma


class AlphaSigma(OfHS, PerFrequency):
    source = "HS app. A.1 get_alpha_sigma, Eq. 25 to 27"
    names = ("get_alpha_sigma",)
    takes, gives, parts = "(t)", "(alpha, sigma)", ("alpha", "sigma")
    known = (*slips.HEAT_SLIPS, *slips.BLURRING_SLIPS)

    def exact(self, process: Any, t: Any) -> tuple[Any, ...]:
        return process.alpha(t), process.sigma(t)

    def by_lines(self, lines: Any, t: Array) -> tuple[Array, ...]:
        alpha, sigma = lines.alpha_sigma(t)
        return alpha, sigma


class LeeMarginal(OfLee, PerFrequency):
    source = "Lee Eq. 3, Prop. 1"
    place = "in the order of the means, place"
    takes = "(i)"
    gives, parts = "(mean, variance): A-bar_i^(1/2) and I - A-bar_i per eigenvector, in any order", ("mean", "variance")
    known = tuple(s for s in slips.LEE_SLIPS if s.name != "variance-for-deviation")

    def see(self, caller: Caller, process: Any, times: Array) -> Seen:
        seen = super().see(caller, process, times)
        return replace(seen, given=_ordered(seen.given))

    def right(self, process: Any, settings: Mapping[str, Any], seen: Seen) -> list[tuple[Quantities, Any]]:
        return [(_ordered(right), lines) for right, lines in super().right(process, settings, seen)]

    def several(self, caller: Caller, process: Any, t: Array) -> Quantities:
        return _ordered(super().several(caller, process, t))

    def expected(self, lines: Any, seen: Seen) -> Quantities:
        return _ordered(super().expected(lines, seen))

    def exact(self, process: Any, t: Any) -> tuple[Any, ...]:
        at = t / process.steps
        return process.alpha(at), process.sigma(at) ** 2

    def by_lines(self, lines: Any, t: Array) -> tuple[Array, ...]:
        mean, variance = lines.marginal(t)
        return mean, variance


def _ordered(quantities: Quantities) -> Quantities:
    """Frequencies in the order of their means, since eigenvectors come in any; equal ones by the variance."""
    mean, variance = (each.reshape(len(each), -1) for each in quantities.values())
    order = np.stack([np.lexsort((v, -m.round(9))) for m, v in zip(mean, variance)])
    return {
        name: np.take_along_axis(q.reshape(len(q), -1), order, 1).reshape(q.shape) for name, q in quantities.items()
    }


class OfImages(Kind):
    """A function of images. Quantities are coefficients, (times, B, C, H, W)."""

    images = True
    arguments = 2

    def basis(self, process: Any) -> Basis:
        basis: Basis = process.basis
        return basis

    def coefficients(self, process: Any, x: Array) -> Array:
        """V' x of the last two axes, of as many axes as there are."""
        flat = torch.from_numpy(np.ascontiguousarray(x.reshape(-1, 1, *x.shape[-2:])))
        return self.basis(process).forward(flat).numpy().reshape(x.shape)

    def picture(self, process: Any, salt: int = 0) -> Array:
        """Images whose coefficients are all 1 or -1, (B, C, H, W)."""
        signs = np.random.default_rng(salt).choice([-1.0, 1.0], (*IMAGES, *process.size))
        return self.basis(process).inverse(torch.from_numpy(signs)).numpy()

    def deviations(self, process: Any, noise: Array) -> Array:
        """The standard deviation of each coefficient of noise (times, B, C, H, W): (times, 1, 1, H, W)."""
        deviations: Array = np.sqrt(np.square(self.coefficients(process, noise)).mean(axis=(1, 2), keepdims=True))
        return deviations


class Diffuse(OfImages):
    takes, gives = "(x, t)", "(z_t, eps), or z_t alone"

    def see(self, caller: Caller, process: Any, times: Array) -> Seen:
        x, given, tolerance, eps = self.picture(process), {}, {}, None
        loud = [caller.of_images(LOUD * x, np.array([t])) for t in times]
        given["mean"] = self.coefficients(process, np.stack([arrays[0] for arrays in loud])) / LOUD
        silent = [caller.of_images(np.zeros((*noises(process.size), *process.size)), np.array([t])) for t in times]
        noise = self.coefficients(process, np.stack([arrays[0] for arrays in silent]))
        if len(silent[0]) > 1:
            eps = np.stack([arrays[1] for arrays in silent])
            given["spread of eps"], tolerance["spread of eps"] = spread(self.coefficients(process, eps))
            few = IMAGES[0]
            eps, given["noise"] = eps[:, :few], noise[:, :few]
        else:
            given["spread of the noise"], tolerance["spread of the noise"] = spread(noise)
        return Seen(times, given, tolerance, eps)

    def right(self, process: Any, settings: Mapping[str, Any], seen: Seen) -> list[tuple[Quantities, Any]]:
        t = torch.from_numpy(seen.times / (process.steps or 1))
        alpha, sigma = _numpy(process.alpha(t))[:, None], _numpy(process.sigma(t))[:, None]
        u = self.coefficients(process, self.picture(process))
        noise = None if seen.eps is None else sigma * self.coefficients(process, seen.eps)
        return [(self._quantities(alpha * u, sigma, noise, seen), self.listing(process, settings))]

    def expected(self, lines: Any, seen: Seen) -> Quantities:
        process = lines.of
        alpha, sigma = (c[:, None, None] for c in lines.alpha_sigma(seen.times.reshape(-1, 1, 1)))
        mean = lines.filtered(alpha, np.broadcast_to(self.picture(process), (len(alpha), *IMAGES, *lines.size)))
        mean = self.coefficients(process, mean)
        if seen.eps is not None:
            noise = self.coefficients(process, lines.noised(lines, sigma, seen.eps))
            return self._quantities(mean, sigma, noise, seen)
        if sigma.shape[-2:] != (1, 1) and not lines.orthonormal:
            sigma = self.deviations(process, lines.noised(lines, sigma, white(len(sigma), lines.size)))
        elif not lines.noised(lines, np.ones((1, 1)), np.ones((1, 1))).any():
            sigma = 0 * sigma
        return self._quantities(mean, sigma, None, seen)

    def several(self, caller: Caller, process: Any, t: Array) -> Quantities:
        x = np.repeat(self.picture(process)[:1], len(t), 0)
        return {"mean": self.coefficients(process, caller.of_images(LOUD * x, t)[0])[:, None] / LOUD}

    def _quantities(self, mean: Array, sigma: Array, noise: Array | None, seen: Seen) -> Quantities:
        if noise is None:
            return {
                "mean": mean,
                "spread of the noise": spread(np.broadcast_to(sigma, (*sigma.shape[:3], *mean.shape[-2:])))[0],
            }
        flat = np.zeros_like(seen.given["spread of eps"])  # white and of unit variance
        return {"mean": mean, "noise": noise, "spread of eps": flat}


class HSDiffuse(OfHS, Diffuse):
    source = "HS app. A.1 diffuse, Eq. 19 to 27"
    names = ("diffuse",)
    known = (*slips.BOTH, *slips.HEAT_SLIPS, *slips.BLURRING_SLIPS, *slips.NOISE_SLIPS)


class LeeDiffuse(OfLee, Diffuse):
    source = "Lee Eq. 4"
    takes, gives = "(x_0, i)", "(x_i, eps), or x_i alone"
    known = (
        *(s for s in slips.LEE_SLIPS if s.name not in ("variance-squared", "deviation-for-variance")),
        *(s for s in slips.NOISE_SLIPS if s.name == "no-noise"),
    )


class Blur(OfIHDM, OfImages):
    source = "IHDM, HS Eq. 9"
    takes, gives = "(x, k)", "the image blurred by step k of K"
    known = (*slips.BOTH, *slips.HEAT_SLIPS, *slips.DISSIPATION_SLIPS)

    def see(self, caller: Caller, process: Any, times: Array) -> Seen:
        x = self.picture(process)
        loud = [caller.of_images(LOUD * x, np.array([t]))[0] for t in times]
        return Seen(times, {"mean": self.coefficients(process, np.stack(loud)) / LOUD}, {})

    def right(self, process: Any, settings: Mapping[str, Any], seen: Seen) -> list[tuple[Quantities, Any]]:
        alpha = _numpy(process.alpha(torch.from_numpy(seen.times / process.steps)))[:, None]
        u = self.coefficients(process, self.picture(process))
        return [({"mean": alpha * u}, self.listing(process, settings))]

    def expected(self, lines: Any, seen: Seen) -> Quantities:
        alpha = lines.alpha_sigma(seen.times.reshape(-1, 1, 1))[0][:, None, None]
        x = np.broadcast_to(self.picture(lines.of), (len(alpha), *IMAGES, *lines.size))
        return {"mean": self.coefficients(lines.of, lines.filtered(alpha, x))}

    several = Diffuse.several


class Denoise(OfHS, OfImages):
    source = "HS app. A.1 denoise, Eq. 18, 22 and 23"
    names = ("denoise",)
    takes, gives = "(z_t, t)", "z_s, one step of 1 / T earlier"
    free = STEP_FREE
    first = "; check get_alpha_sigma first, by whose alpha it divides"
    known = (*slips.BOTH, *slips.HEAT_SLIPS, *slips.BLURRING_SLIPS, *slips.DENOISE_SLIPS)
    rounding = ROUNDING_OF_A_STEP

    def times(self, settings: Mapping[str, Any]) -> Array:
        total = settings["steps"]
        times: Array = np.unique(np.linspace(1, total, 7).round()) / total
        return times

    def see(self, caller: Caller, process: Any, times: Array) -> Seen:
        z, eps, none = self.picture(process), self.picture(process, 1), np.zeros((*IMAGES, *process.size))
        of_z = [caller.of_images(LOUD * z, np.array([t]), none)[0] for t in times]
        of_eps = [caller.of_images(none, np.array([t]), LOUD * eps)[0] for t in times]
        nothing = np.zeros((*noises(process.size), *process.size))
        fresh = [caller.of_images(nothing, np.array([t]), nothing)[0] for t in times]
        given = {
            "mean, of z_t": self.coefficients(process, np.stack(of_z)) / LOUD,
            "mean, of hat_eps": self.coefficients(process, np.stack(of_eps)) / LOUD,
        }
        given["spread of the fresh noise"], tolerance = spread(self.coefficients(process, np.stack(fresh)))
        return Seen(times, given, {"spread of the fresh noise": tolerance})

    def several(self, caller: Caller, process: Any, t: Array) -> Quantities:
        z = np.repeat(self.picture(process)[:1], len(t), 0)
        array = caller.of_images(LOUD * z, t, np.zeros_like(z))[0]
        return {"mean, of z_t": self.coefficients(process, array)[:, None] / LOUD}

    def right(self, process: Any, settings: Mapping[str, Any], seen: Seen) -> list[tuple[Quantities, Any]]:
        t = torch.from_numpy(seen.times)
        s = t - 1 / settings["steps"]
        carry, refresh = samplers.ancestral(process, t, s)
        alpha_t, sigma_t, alpha_s, _ = process.coefficients(t, s)
        of_guess = alpha_s / alpha_t - carry
        lines = self.listing(process, settings)
        exact = self._quantities(process, *(_numpy(c) for c in (of_guess + carry, of_guess * sigma_t, refresh)))
        clipping = replace(lines, delta=slips.DELTA)  # as in the listing: a right way too
        return [(exact, lines), (self.expected(clipping, seen), clipping)]

    def expected(self, lines: Any, seen: Seen) -> Quantities:
        of_z, of_eps, fresh = (c[:, None, None] for c in lines.denoise(seen.times.reshape(-1, 1, 1)))
        shape = (len(seen.times), *IMAGES, *lines.size)
        z, eps = (np.broadcast_to(self.picture(lines.of, salt), shape) for salt in (0, 1))
        there, back = lines.transform
        if not lines.orthonormal:
            fresh = self.deviations(lines.of, back(fresh * white(len(fresh), lines.size)))
        return {
            "mean, of z_t": self.coefficients(lines.of, back(of_z * there(z))),
            "mean, of hat_eps": self.coefficients(lines.of, -back(of_eps * lines.heard(lines, eps))),
            "spread of the fresh noise": spread(fresh + np.zeros(lines.size))[0],
        }

    def _quantities(self, process: Any, of_z: Array, of_eps: Array, fresh: Array) -> Quantities:
        z, eps = (self.coefficients(process, self.picture(process, salt)) for salt in (0, 1))
        return {
            "mean, of z_t": of_z[:, None] * z,
            "mean, of hat_eps": -of_eps[:, None] * eps,
            "spread of the fresh noise": spread(fresh[:, None])[0],
        }


class Transform(OfImages):
    """DCT or IDCT. The quantity is what comes out, which is compared place by place."""

    arguments = 1
    timed = False
    place = "place"
    takes, gives = "(x)", "an array of its shape"
    free = SIZE_FREE

    def process(self, settings: Mapping[str, Any]) -> Any:
        return processes.heat_dissipation(settings["size"])

    def listing(self, process: Any, settings: Mapping[str, Any]) -> Any:
        return Listing(of=process, size=process.size)

    def times(self, settings: Mapping[str, Any]) -> Array:
        return np.zeros(1)

    def see(self, caller: Caller, process: Any, times: Array) -> Seen:
        return Seen(times, {"output": caller.of_images(self._input(process), None)[0][None]}, {})

    def _input(self, process: Any) -> Array:
        return np.random.default_rng(0).standard_normal((*IMAGES, *process.size))


class Forward(Transform):
    source = "HS sec. 2.2, app. A.1 DCT"
    names = ("dct", "DCT", "dct2", "dct_2d", "dct2d")
    known = slips.FORWARD

    def right(self, process: Any, settings: Mapping[str, Any], seen: Seen) -> list[tuple[Quantities, Any]]:
        right = self.coefficients(process, self._input(process))
        return [({"output": right[None]}, self.listing(process, settings))]

    def expected(self, lines: Any, seen: Seen) -> Quantities:
        return {"output": lines.transform[0](self._input(lines.of))[None]}


class Inverse(Transform):
    source = "HS sec. 2.2, app. A.1 IDCT"
    names = ("idct", "IDCT", "idct2", "idct_2d", "idct2d")
    known = slips.INVERSE

    def right(self, process: Any, settings: Mapping[str, Any], seen: Seen) -> list[tuple[Quantities, Any]]:
        right = self.basis(process).inverse(torch.from_numpy(self._input(process))).numpy()
        return [({"output": right[None]}, self.listing(process, settings))]

    def expected(self, lines: Any, seen: Seen) -> Quantities:
        return {"output": lines.transform[1](self._input(lines.of))[None]}


KINDS: dict[str, Kind] = {
    "frequency-scaling": FrequencyScaling(),
    "noise-scaling": NoiseScaling(),
    "alpha-sigma": AlphaSigma(),
    "diffuse": HSDiffuse(),
    "denoise": Denoise(),
    "dct": Forward(),
    "idct": Inverse(),
    "lee-marginal": LeeMarginal(),
    "lee-diffuse": LeeDiffuse(),
    "ihdm-blur": Blur(),
}


def _numpy(x: torch.Tensor) -> Array:
    array: Array = x.numpy()
    return array


def noises(size: tuple[int, int]) -> tuple[int, int]:
    """Images and channels of a call that shows nothing but noise."""
    return min(NOISES, max(IMAGES[0], PIXELS // math.prod(size))), IMAGES[1]


def white(times: int, size: tuple[int, int]) -> Array:
    """White noise, always the same: (times, B, C, H, W)."""
    return np.random.default_rng(1).standard_normal((times, *noises(size), *size))


def spread(u: Array) -> tuple[Array, float]:
    """Of noise (times, B, C, H, W) the logarithm of its root mean square in bands of frequency, (times, BANDS).

    And what it may miss the noise's law by, by chance: for Gaussian noise the standard error is 1 / sqrt(2 n).
    """
    height, width = u.shape[-2:]
    place = np.add.outer(np.arange(height) / height, np.arange(width) / width).ravel()
    bands = np.array_split(np.argsort(place, kind="stable"), min(BANDS, height * width))
    flat = u.reshape(*u.shape[:-2], -1)
    mean = np.stack([np.square(flat[..., band]).mean(axis=(1, 2, 3)) for band in bands], axis=1)
    least = u.shape[1] * u.shape[2] * min(map(len, bands))
    return 0.5 * np.log(np.maximum(mean, 1e-24)), ERRORS / math.sqrt(2 * least)
