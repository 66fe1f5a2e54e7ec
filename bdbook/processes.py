"""What destroys a picture: degradations, and the linear processes of the sources, one small dataclass a system.

    u_t = alpha_t u_x + sigma_t u_eps,    u = V' z,

elementwise, with one alpha and one sigma per coefficient of the basis V. A process is a value: its fields are its
settings; it is equal to another with the same ones, can be pickled, changed by `dataclasses.replace`, and pasted from
its repr.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from bdbook import schedules
from bdbook.errors import unknown
from bdbook.shapes import AnyImages, Coefficients, Expanded, Grid, Images, PerFrequency, Scale
from bdbook.times import Time, check_earlier, check_times, uniform
from bdbook.transforms import DCT, Basis, Pixel, Separable, Size, axes_of, gaussian_kernel, shape_in_words

# An alpha or a sigma as one writes it: of float64 times (B, 1, ...), with a 1 for each axis.
Schedule = Callable[[Tensor], Tensor]
# Times of one process whose alpha and sigma are remembered: a step of a sampler asks for its two a dozen times over.
REMEMBERED = 16
# The mark of a function that `schedule` has wrapped.
IS_SCHEDULE = "is_schedule"
# Noise that IHDM starts from and refreshes, of data in [-1, 1]. The authors' 0.0125, 1.25 times their sigma, is for
# data in [0, 1].
IHDM_DELTA = 0.025


@dataclass(frozen=True)
class Start:
    """Where a walk begins at t = 1; `priors.of_process` draws from it.

    kind: "noise", white and of unit variance; "marginal", the Gaussian that the data become; "images", training images
    at t = 1; "mixture", a Gaussian mixture over the few numbers that t = 1 leaves of an image. noise: standard
    deviation of white noise added to the last two.
    """

    kind: Literal["noise", "marginal", "images", "mixture"]
    noise: float = 0.0


class Degradation:
    """D(x, t) for images (B, C, *axes) in [-1, 1] and t in [0, 1]; `degrade` is what a subclass has to say.

    basis: where `degrade` works. steps: N of one that exists only at t = i / N, else None. name: in messages.
    start: where a walk from t = 1 begins. noisy: whether it adds noise, so that images are generated; without, they are
    restored. local: whether it looks the same everywhere in a picture, so that a large one can be restored in tiles;
    then `resized` gives it for another size, whose sides are multiples of `multiple`. to_mean: whether t = 1 leaves
    nothing of an image but its mean colour.
    """

    if TYPE_CHECKING:  # fields, properties or plain values in subclasses

        @property
        def basis(self) -> Basis: ...
        @property
        def steps(self) -> int | None: ...
        @property
        def name(self) -> str: ...
        @property
        def start(self) -> Start: ...
        @property
        def noisy(self) -> bool: ...
        @property
        def local(self) -> bool: ...
        @property
        def multiple(self) -> int: ...
        @property
        def to_mean(self) -> bool: ...
    else:  # without the first three: they would be taken for the defaults of fields
        start = Start("images")
        noisy = False
        local = False
        multiple = 1
        to_mean = False

    def degrade(self, u: Coefficients, t: Time) -> Coefficients:
        """V' D(V u, t): from and to coefficients, (B, C, *axes)."""
        raise NotImplementedError

    def draw(self, count: int, generator: torch.Generator) -> Degradation:
        """This degradation with all that is random in it drawn for `count` images; itself where nothing is."""
        return self

    def rows(self, chosen: slice) -> Degradation:
        """What was drawn for some images of the batch; itself where nothing was."""
        return self

    def resized(self, size: Size) -> Degradation:
        """The same for images of another size."""
        raise ValueError(f"{self.name} was made for one size of images; make it anew for {size}")

    def mean(self, x0: AnyImages, t: Time) -> Images:
        """D(x0, t), in pixels, x0's dtype (at least float32)."""
        return self.basis.inverse(self.degrade(self.basis.forward(x0), t))

    def sample(self, x0: AnyImages, t: Time, noise: AnyImages) -> Images:
        """D(x0, t); a `Process` adds its share of the noise."""
        return self.mean(x0, t)

    def check(self, t: Time) -> Expanded:
        """t as float64 (B, 1, ...), a 1 for each axis; raises where it lies outside [0, 1] or off the table."""
        return check_times(t, self.steps, self.name, self.basis.dims)

    def times(self, steps: int | None = None) -> Grid:
        """A uniform grid 1 = t_0 > ... > t_steps = 0, float64; for a tabulated one a subset of its table."""
        return uniform(steps, self.steps, self.name)

    def coefficients(self, t: Time, s: Time) -> tuple[PerFrequency, PerFrequency, PerFrequency, PerFrequency]:
        """(alpha_t, sigma_t, alpha_s, sigma_s): a `Process` has them, others raise."""
        check_earlier(t, s)
        raise ValueError(f"{self.name} has no alpha and sigma per frequency; use the rules tacos or naive with it")


class Timed(Protocol):
    """What checks its times."""

    def check(self, t: Time) -> Expanded: ...


P = TypeVar("P", bound=Timed)


def schedule(function: Callable[[P, Tensor], Tensor]) -> Callable[[P, Time], Tensor]:
    """A method of float64 times (B, 1, ...), made one of a number or (B,), which checks them and remembers the last.

    `Process` does this to every alpha and sigma of its subclasses.
    """

    @wraps(function)
    def checked(self: P, t: Time) -> PerFrequency:
        if not isinstance(t, float):
            return function(self, self.check(t))
        memory: dict[tuple[str, float], Tensor] = self.__dict__.setdefault("_remembered", {})
        key = function.__name__, t
        if key not in memory:
            if len(memory) >= REMEMBERED:
                memory.clear()
            with torch.inference_mode(False):
                memory[key] = function(self, self.check(t))
        return memory[key]

    setattr(checked, IS_SCHEDULE, True)
    return checked


class Process(Degradation):
    """A degradation that multiplies: a basis and two schedules.

    Process(basis, alpha, sigma, steps=None, name="process") is one by its functions: of t as float64 (B, 1, ...), a 1
    for each axis of the basis, they return float64 of shape (B|1, 1|C, *axes|1). steps: N of a tabulated process, which
    exists only at t = i / N; None for one that is continuous in t. sigma = 0 is a deterministic degradation.

    A system of one's own is a frozen dataclass: its fields are its settings, it has a basis, steps and a name, and
    methods alpha and sigma of t as above. Everything else follows from these, for callers with t a number or (B,).
    """

    def __new__(cls, *settings: Any, **named: Any) -> Process:
        return super().__new__(ByFunctions if cls is Process else cls)

    if TYPE_CHECKING:

        def __init__(
            self, basis: Basis, alpha: Schedule, sigma: Schedule, steps: int | None = None, name: str = "process"
        ): ...
        def draw(self, count: int, generator: torch.Generator) -> Process: ...
        def rows(self, chosen: slice) -> Process: ...

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        for each in ("alpha", "sigma"):
            method = cls.__dict__.get(each)
            if callable(method) and not hasattr(method, IS_SCHEDULE):
                setattr(cls, each, schedule(method))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_remembered", "_table")}

    def alpha(self, t: Time) -> PerFrequency:
        """What is left of each coefficient of the image, float64 (B|1, 1|C, *axes|1)."""
        raise NotImplementedError

    def sigma(self, t: Time) -> PerFrequency:
        """Standard deviation of each coefficient of the noise, float64 (B|1, 1|C, *axes|1)."""
        raise NotImplementedError

    @property
    def noisy(self) -> bool:
        """Whether there is noise at t = 1."""
        return bool((self.sigma(1.0) > 0).any())

    @property
    def start(self) -> Start:
        """The exact end of Gaussian data where there is noise, else degraded images."""
        return Start("marginal" if self.noisy else "images")

    def degrade(self, u: Coefficients, t: Time) -> Coefficients:
        """alpha_t u: the mean of u_t."""
        return self.alpha(t).to(u) * u

    def sample(self, x0: AnyImages, t: Time, noise: AnyImages) -> Images:
        """z_t = V (alpha_t V' x0 + sigma_t V' noise); noise is white, in pixels, shaped as x0. HS Eq. 24."""
        u, sigma = self.basis.forward(x0), self.sigma(t)
        signal = self.alpha(t).to(u) * u
        if _is_scalar(sigma):  # a scalar commutes with V: one transform less (HS app. A.1)
            return self.basis.inverse(signal) + sigma.to(u) * noise.to(u)
        return self.basis.inverse(signal + sigma.to(u) * self.basis.forward(noise.to(u)))

    def snr(self, t: Time) -> PerFrequency:
        """SNR_t = alpha_t^2 / sigma_t^2, per frequency, float64."""
        return self.alpha(t) ** 2 / self.sigma(t) ** 2

    def coefficients(self, t: Time, s: Time) -> tuple[PerFrequency, PerFrequency, PerFrequency, PerFrequency]:
        """(alpha_t, sigma_t, alpha_s, sigma_s) for s < t; raises where s >= t."""
        check_earlier(t, s)
        return self.alpha(t), self.sigma(t), self.alpha(s), self.sigma(s)

    def transition(self, t: Time, s: Time) -> tuple[PerFrequency, PerFrequency]:
        """(alpha_{t|s}, sigma^2_{t|s}) of the Markov step s -> t. HS Eq. 15; Lee Eq. 2."""
        alpha_t, sigma_t, alpha_s, sigma_s = self.coefficients(t, s)
        a = ratio(alpha_t, alpha_s)
        return a, sigma_t**2 - a**2 * sigma_s**2


def ratio(alpha_t: Tensor, alpha_s: Tensor) -> Tensor:
    """alpha_{t|s} = alpha_t / alpha_s, elementwise.

    Where alpha_s has underflowed (strong blur), alpha_t <= alpha_s has too; what is left of the frequency at
    s is below 1e-300, and its step is taken as 0 rather than as 0 / 0.
    """
    return torch.where(alpha_s == 0, 0.0, alpha_t / torch.where(alpha_s == 0, 1.0, alpha_s))


def require_noise(process: Degradation, sigma_t: Tensor, rule: str) -> None:
    """Raise where a rule divides by a sigma_t that is 0."""
    if (sigma_t == 0).any():
        raise ValueError(
            f"{rule} divides by sigma_t, but {process.name} has no noise at t; use tacos or naive for cold diffusion"
        )


def require_basis(process: Degradation, basis: Basis) -> None:
    """Raise unless a process is diagonal in the basis in which the data's spectrum is given."""
    if process.basis != basis and not isinstance(process.basis, Pixel):
        raise ValueError(
            f"the data's variance is given in {basis} but {process.name} is diagonal in {process.basis}; "
            "measure the spectrum in the process's basis"
        )
    if process.basis != basis:
        raise ValueError(
            f"{process.name} is defined in pixels; make it with basis={basis} (white noise is the same in "
            "every orthonormal basis)"
        )


class Spectrum(Protocol):
    """What is known of data: mean and variance of each coefficient of a basis, as an `oracle.Gaussian` has them."""

    @property
    def basis(self) -> Basis: ...
    @property
    def variance(self) -> Scale: ...
    @property
    def mean(self) -> Scale: ...


@dataclass(frozen=True, repr=False)
class ByFunctions(Process):
    """What Process(basis, alpha, sigma) makes: equal where its functions are the same."""

    basis: Basis
    alpha: OnCheckedTimes = field()
    sigma: OnCheckedTimes = field()
    steps: int | None = None
    name: str = field(default="process", compare=False)

    if TYPE_CHECKING:

        def __init__(
            self, basis: Basis, alpha: Schedule, sigma: Schedule, steps: int | None = None, name: str = "process"
        ): ...

    def __post_init__(self) -> None:
        for each in ("alpha", "sigma"):
            function = getattr(self, each)
            function = function.function if isinstance(function, OnCheckedTimes) else function
            object.__setattr__(self, each, OnCheckedTimes(function, self.steps, self.name, self.basis.dims))

    def __repr__(self) -> str:
        shown = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self))
        return f"Process({shown})"


@dataclass(frozen=True)
class OnCheckedTimes:
    """A function of float64 times (B, 1, ...), as one of a number or (B,)."""

    function: Schedule
    steps: int | None
    name: str = field(compare=False)
    dims: int = 2

    def check(self, t: Time) -> Expanded:
        return check_times(t, self.steps, self.name, self.dims)

    @schedule
    def __call__(self, t: Tensor) -> Tensor:
        return self.function(t)

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def __repr__(self) -> str:
        return getattr(self.function, "__qualname__", repr(self.function))


def label(name: str) -> Any:
    """A process's name in messages, which `replace` can change: no setting, and no part of what it is equal to."""
    return field(default=name, compare=False, repr=False, kw_only=True)


# --- the six systems ------------------------------------------------------------------------------------------


PIXEL = Pixel()


@dataclass(frozen=True)
class DDPM(Process):
    """DDPM: variance preserving, linear beta from 1e-4 to 0.02. Source: Ho et al. 2020; Lee Eq. 13.

    The betas are those of N = 1000 whatever `steps` is: with fewer the process ends before the signal is gone.
    """

    steps: int = 1000
    basis: Basis = PIXEL
    name: str = label("ddpm")

    start = Start("noise")

    def __post_init__(self) -> None:
        check_count(self.steps)
        if self.basis is None:
            object.__setattr__(self, "basis", Pixel())

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        return torch.exp(lookup(_log_a(self.steps), t))

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return torch.sqrt(-torch.expm1(2 * lookup(_log_a(self.steps), t)))


@dataclass(frozen=True)
class CosineDiffusion(Process):
    """Variance-preserving cosine diffusion, HS's baseline (their sigma_B,max = 0). Source: HS sec. 4, app. A.1."""

    basis: Basis = PIXEL
    logsnr_min: float = -10.0
    logsnr_max: float = 10.0
    name: str = label("cosine_diffusion")

    steps = None
    start = Start("noise")

    def __post_init__(self) -> None:
        if self.basis is None:
            object.__setattr__(self, "basis", Pixel())
        self._noise(torch.zeros(1))  # complains now, not at the first use

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        return self._noise(t)[0]

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return self._noise(t)[1]

    def _noise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return schedules.cosine(t, self.logsnr_min, self.logsnr_max)


class _OfOneSize(Process):
    """A process with a field `size`, in the DCT of that size: of one to three axes, and around a `Circle` it wraps."""

    size: Size

    @property
    def basis(self) -> Basis:
        return DCT(self.size)

    def _keep_size(self) -> None:
        object.__setattr__(self, "size", axes_of(self.size))  # 8 and (8, 8) are the same


@dataclass(frozen=True)
class HeatDissipation(_OfOneSize):
    """IHDM: blur of log-spaced width and a constant whiff of noise. Source: Rissanen et al. 2022; HS Eq. 10.

    sigma_max, sigma_min in px. noise is in units of data in [-1, 1]; the authors' 0.01 is for data in [0, 1].
    """

    size: Size
    sigma_max: float = 20.0
    sigma_min: float = 0.5
    steps: int = 200
    noise: float = 0.02
    name: str = label("heat_dissipation")

    start = Start("images", IHDM_DELTA)
    noisy = True  # whatever `noise` is: its sampler adds its own

    def __post_init__(self) -> None:
        self._keep_size()
        check_sigma_max(self.sigma_max)
        if not 0 < self.sigma_min <= self.sigma_max:
            raise ValueError(f"sigma_min was {self.sigma_min}; expected 0 < sigma_min <= sigma_max = {self.sigma_max}")
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"noise was {self.noise}; expected a standard deviation of 0 or more")
        check_count(self.steps)

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        tau = schedules.dissipation_time(schedules.log_spaced_blur(self.steps, self.sigma_min, self.sigma_max))
        return schedules.frequency_scaling(self.basis.freq2.to(t.device), lookup(tau, t))

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return torch.full_like(t, self.noise)


@dataclass(frozen=True)
class BlurringDiffusion(_OfOneSize):
    """Blurring diffusion: alpha_t = a_t d_t, scalar sigma_t. Source: HS Eq. 25-27, app. A.1.

    sigma_max is sigma_B,max in px (0 gives cosine diffusion); blur is "sin2" (HS's choice) or "sin".
    """

    size: Size
    sigma_max: float = 20.0
    d_min: float = 1e-3
    blur: str = "sin2"
    logsnr_min: float = -10.0
    logsnr_max: float = 10.0
    name: str = label("blurring_diffusion")

    steps = None
    start = Start("noise")

    def __post_init__(self) -> None:
        self._keep_size()
        check_sigma_max(self.sigma_max)
        if not 0 < self.d_min < 1:
            raise ValueError(f"d_min was {self.d_min}; expected a number in (0, 1): HS use 0.001")
        if self.blur not in schedules.BLURS:
            raise unknown("blur schedule", self.blur, schedules.BLURS)
        self._noise(torch.zeros(1))

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        tau = schedules.dissipation_time(schedules.BLURS[self.blur](t, self.sigma_max))
        return self._noise(t)[0] * schedules.frequency_scaling(self.basis.freq2.to(t.device), tau, self.d_min)

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return self._noise(t)[1]

    def _noise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return schedules.cosine(t, self.logsnr_min, self.logsnr_max)


ORDERS = ("coarse_to_fine", "fine_to_coarse")


@dataclass(frozen=True)
class BlurDiffusion(Process):
    """Blur diffusion: step i blurs by W^f(i) and keeps unit variance. Source: Lee Eq. 2-5, Prop. 1.

    A_i = (1 - beta_i) D^{2 f(i)}; alpha_i^2 = product of A_1 .. A_i, so the total blur is the sum of f. W is a
    Gaussian of kernel_sigma px, or the taps given as kernel. order "fine_to_coarse" has I - D for D (Lee app. B),
    which takes the coarse structure away first and makes it last.
    """

    size: Size
    f_max: float = 0.14
    f_type: str = "quartic"
    kernel_sigma: float = 0.4
    steps: int = 1000
    boundary: str = "zero"
    kernel: tuple[float, ...] | None = None
    order: str = "coarse_to_fine"
    name: str = label("blur_diffusion")

    start = Start("noise")

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", axes_of(self.size))
        if self.kernel is not None:
            object.__setattr__(self, "kernel", tuple(map(float, self.kernel)))
        if self.order not in ORDERS:
            raise unknown("order", self.order, ORDERS)
        check_count(self.steps)
        eigenvalues = self.basis.eigenvalues
        if eigenvalues.min() <= 0:
            raise ValueError(
                f"the kernel has an eigenvalue {eigenvalues.min():.3g} on images of size {self.size}: a fractional "
                "power of it is not real. Use a narrower kernel (all eigenvalues positive), e.g. kernel_sigma=0.4"
            )
        if eigenvalues.max() > 1 + 1e-9:
            raise ValueError(
                f"the kernel has an eigenvalue {eigenvalues.max():.3g} > 1 on images of size {self.size}: it "
                "amplifies, and noise of negative variance would have to be added. Use taps that blur (not negative, "
                "with sum 1)"
            )
        if not 0 <= self.f_max < math.inf:
            raise ValueError(f"f_max was {self.f_max}; expected f(N) >= 0 (0 gives DDPM)")
        self._exponent()  # complains now of f_type

    @property
    def basis(self) -> Separable:
        """The eigenbasis of W."""
        kernel = gaussian_kernel(self.kernel_sigma) if self.kernel is None else self.kernel
        return Separable(self.size, kernel, self.boundary)

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        return torch.exp(self._log_alpha(t))

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        # log alpha can exceed 0 only by rounding: rows of W sum to at most 1.
        return torch.sqrt(-torch.expm1(2 * self._log_alpha(t).clamp_max(0)))

    def _log_alpha(self, t: Tensor) -> Tensor:
        eigenvalues = self.basis.eigenvalues.to(t.device)
        if self.order == "coarse_to_fine":
            log_d = torch.log(eigenvalues)
        else:  # a frequency that W leaves as it is has I - D = 0, and would be gone after one step
            log_d = torch.log1p(-eigenvalues.clamp_max(1 - 1e-12))
        return lookup(_log_a(self.steps), t) + lookup(self._exponent(), t) * log_d

    def _exponent(self) -> Tensor:
        return _sum_of_f(self.steps, self.f_max, self.f_type)


@dataclass(frozen=True)
class SoftDiffusion(_OfOneSize):
    """Soft diffusion: x_t = C_t x_0 + s_t eta, a Gaussian blur and growing noise. Source: Daras et al. 2022.

    The blur's width grows as sigma_max sin^2(pi t / 2) px and the noise geometrically from noise_min to
    noise_max. These two schedules are this book's: the authors released no code.
    """

    size: Size
    sigma_max: float = 20.0
    noise_min: float = 0.01
    noise_max: float = 1.0
    name: str = label("soft_diffusion")

    steps = None

    def __post_init__(self) -> None:
        self._keep_size()
        check_sigma_max(self.sigma_max)
        if not 0 < self.noise_min <= self.noise_max:
            raise ValueError(f"noise was {self.noise_min}..{self.noise_max}; expected 0 < noise_min <= noise_max")

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        tau = schedules.dissipation_time(schedules.sin2_blur(t, self.sigma_max))
        return schedules.frequency_scaling(self.basis.freq2.to(t.device), tau)

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return self.noise_min * (self.noise_max / self.noise_min) ** t


# --- since 2022 ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RectifiedFlow(Process):
    """Flow matching on straight paths: alpha = 1 - t, sigma = t. Source: Liu et al. 2023; Lipman et al. 2023.

    The path from an image to its noise has the velocity eps - x, so that DDIM's step is Euler's. At t = 0 there is no
    noise and SNR is infinite: grids by log-SNR (`timegrids`) and likelihoods need some, and do not take it.
    """

    basis: Basis = PIXEL
    name: str = label("rectified_flow")

    steps = None
    start = Start("noise")

    def __post_init__(self) -> None:
        if self.basis is None:
            object.__setattr__(self, "basis", Pixel())

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        return 1 - t

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return t.clone()


@dataclass(frozen=True)
class HeatFlow(_OfOneSize):
    """Flow matching along the heat equation: alpha = (1 - t) d_t, sigma = noise t. Source: Ma et al. 2026 (HDFM).

    d_t = (1 - t)^(rate lambda): the dissipation time is -rate ln(1 - t), in px^2 like rate, and the blur has a width of
    sqrt(-2 rate ln(1 - t)) px. This is their released code with its time turned round and without its cut of t;
    rate = 0 is `RectifiedFlow`, whose remark on t = 0 holds here too.
    """

    size: Size
    rate: float = 0.5
    noise: float = 1.0
    name: str = label("heat_flow")

    steps = None

    def __post_init__(self) -> None:
        self._keep_size()
        if not 0 <= self.rate < math.inf:
            raise ValueError(f"rate was {self.rate}; expected a dissipation time of 0 px^2 or more (0 does not blur)")
        if not 0 < self.noise < math.inf:
            raise ValueError(f"noise was {self.noise}; expected a standard deviation above 0")

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        return (1 - t) ** (1 + self.rate * self.basis.freq2.to(t.device))

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return self.noise * t


# Variances as a process keeps them: [channel][row][column] of pictures, an index for each axis.
Nested = tuple[Any, ...]


@dataclass(frozen=True)
class EqualSNR(Process):
    """Equal SNR: noise of the data's own colour, so that one clock serves all frequencies.

        alpha = cos phi,     sigma = sqrt(v) sin phi,     phi linear in t,     phi_f = phi(t^p), p = 2^(-kappa rank)

    v is the data's variance per coefficient of the basis, (C|1, *axes): a tensor, or nested tuples, as it is kept. So
    sigma / (alpha sqrt(v)) = tan phi for every frequency, alpha is a scalar that starts near 1, and the variance of
    each coefficient is v at every t (variance preserving, in the data's own units). A walk starts from
    N(alpha_1 m, v), nearly the Gaussian with the data's spectrum.

    logsnr_min, logsnr_max: ends of log(alpha^2 v / sigma^2) = -2 log tan phi, as in `CosineDiffusion`, which this
    process is for v = 1. Uniform times are equal angles. At t = 0 the noise is e^-5 sqrt(v): where v < 0.1 that is
    less than rounding to 8 bits, so that `likelihood.bound`, which counts what lies below it, is loose. kappa bends
    the clocks by the rank of a frequency, from -1 for the lowest to 1 for the highest: kappa > 0 makes the high
    ones run ahead, so that images are drawn coarse first, 0 lets all run together. Source: Falck et al. 2025
    (EqualSNR), in a basis; kappa: this book.
    """

    basis: Basis
    variance: Nested
    logsnr_min: float = -10.0
    logsnr_max: float = 10.0
    kappa: float = 0.0
    name: str = label("equal_snr")

    steps = None
    start = Start("marginal")

    if TYPE_CHECKING:

        def __init__(
            self,
            basis: Basis,
            variance: Tensor | Nested,
            logsnr_min: float = -10.0,
            logsnr_max: float = 10.0,
            kappa: float = 0.0,
            *,
            name: str = "equal_snr",
        ): ...

    def __post_init__(self) -> None:
        v, dims = torch.as_tensor(self.variance, dtype=torch.float64), self.basis.dims
        if v.ndim not in (dims + 1, dims + 2) or (v.ndim == dims + 2 and len(v) != 1):
            whole = shape_in_words(dims, "1")
            raise ValueError(f"variance had shape {tuple(v.shape)}; expected ({whole[4:]} or {whole}")
        v = v.reshape(v.shape[-dims - 1 :])
        sides = self.basis.freq2.shape[2:]
        if not isinstance(self.basis, Pixel) and sides.numel() != 1 and v.shape[1:] != sides:
            raise ValueError(
                f"variance was given for {tuple(v.shape[1:])} coefficients; {self.basis} has {tuple(sides)}"
            )
        if not ((v > 0) & torch.isfinite(v)).all():
            raise ValueError(
                f"variance was {v.min():.3g} somewhere; noise of the data's colour needs v > 0 everywhere. Give "
                "equal_snr a floor, such as pixels.ROUNDING, the variance that 8 bits add"
            )
        if not math.isfinite(self.kappa):
            raise ValueError(f"kappa was {self.kappa}; expected a number, 0 for clocks that run together")
        object.__setattr__(self, "variance", _nested(v))
        schedules.cosine(torch.zeros(1), self.logsnr_min, self.logsnr_max)  # complains now, not at the first use

    @schedule
    def alpha(self, t: Expanded) -> PerFrequency:
        return self._noise(t)[0]

    @schedule
    def sigma(self, t: Expanded) -> PerFrequency:
        return self._noise(t)[1] * _root(self.variance).to(t.device)

    def _noise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        power = torch.exp2(-self.kappa * rank(self.basis.freq2).to(t.device))
        return schedules.cosine(torch.pow(t, power) if self.kappa else t, self.logsnr_min, self.logsnr_max)


def equal_snr(spectrum: Spectrum, floor: float = 0.0, **settings: Any) -> EqualSNR:
    """`EqualSNR` for data of this spectrum, an `oracle.Gaussian`; settings: logsnr_min, logsnr_max, kappa, name.

        process = processes.equal_snr(oracle.Gaussian.fit(DCT(32), images), kappa=0.5)

    floor: least variance of a coefficient's noise, for data with coefficients that never vary; the clock of one that
    varies less runs ahead.
    """
    return EqualSNR(spectrum.basis, spectrum.variance.clamp_min(floor), **settings)


def rank(freq2: Tensor) -> Tensor:
    """The place of each frequency among all, from -1 (lowest) to 1 (highest), equal ones alike; freq2's shape."""
    # 3^2 + 4^2 is 5^2, but not after rounding.
    _, place, counts = torch.unique(freq2.round(decimals=9), return_inverse=True, return_counts=True)
    counts = counts.double()
    below = counts.cumsum(0) - counts  # lower ones
    above = freq2.numel() - below - counts
    order: Tensor = (below - above) / max(freq2.numel() - 1, 1)
    return order[place]


def _nested(v: Tensor) -> Nested:
    return tuple(map(_nested, v)) if v.ndim > 1 else tuple(v.tolist())


@lru_cache(maxsize=64)
def _root(variance: Nested) -> Tensor:
    """sqrt(v), (1, C, *axes)."""
    with torch.inference_mode(False):
        return torch.tensor(variance, dtype=torch.float64).sqrt()[None]


# The systems by the names that the book, its recipes and its ledgers use.
ddpm = DDPM
cosine_diffusion = CosineDiffusion
heat_dissipation = HeatDissipation
blurring_diffusion = BlurringDiffusion
blur_diffusion = BlurDiffusion
soft_diffusion = SoftDiffusion
rectified_flow = RectifiedFlow
heat_flow = HeatFlow

PROCESSES: dict[str, type[Process]] = {
    "ddpm": DDPM,
    "cosine_diffusion": CosineDiffusion,
    "heat_dissipation": HeatDissipation,
    "blurring_diffusion": BlurringDiffusion,
    "blur_diffusion": BlurDiffusion,
    "soft_diffusion": SoftDiffusion,
    "rectified_flow": RectifiedFlow,
    "heat_flow": HeatFlow,
}


# The one that only data make, by `equal_snr`.
OF_DATA = "equal_snr"


def process(name: str, *args: Any, **settings: Any) -> Process:
    """A process by the name of its factory."""
    if name not in PROCESSES:
        raise unknown("process", name, PROCESSES)
    return PROCESSES[name](*args, **settings)


def has_size(name: str) -> bool:
    """Whether the process of this name is made for one size of images; the others take a basis."""
    made = PROCESSES[name]
    return is_dataclass(made) and any(each.name == "size" for each in fields(made))


def process_of(given: Degradation | str) -> Degradation:
    """A process itself, or one by name that needs no size."""
    if isinstance(given, Degradation):
        return given
    if not isinstance(given, str):
        raise ValueError(f"the process was {given!r}; expected a Degradation, such as processes.ddpm(), or its name")
    if given in PROCESSES and has_size(given):
        raise ValueError(f"{given} is made for one size of images; give processes.{given}(size) instead of its name")
    return process(given)


def lookup(table: Tensor, t: Tensor) -> Tensor:
    """The entries of a table of N + 1 steps at the times i / N, of t's shape."""
    index = torch.round(t * (len(table) - 1)).long()
    return table.to(t.device)[index]


@lru_cache(maxsize=64)
def _log_a(steps: int) -> Tensor:
    """log a_i, i = 0 .. N, with a_i^2 the product of 1 - beta_1 .. 1 - beta_i."""
    with torch.inference_mode(False):
        log_steps = 0.5 * torch.log1p(-schedules.linear_beta(steps))
        return torch.cat([torch.zeros(1, dtype=torch.float64), log_steps]).cumsum(0)


@lru_cache(maxsize=64)
def _sum_of_f(steps: int, f_max: float, f_type: str) -> Tensor:
    """f(1) + ... + f(i), i = 0 .. N."""
    with torch.inference_mode(False):
        f = schedules.blur_exponent(torch.arange(1, steps + 1), steps, f_max, f_type)
        return torch.cat([torch.zeros(1, dtype=torch.float64), f]).cumsum(0)


def _is_scalar(coefficient: Tensor) -> bool:
    return math.prod(coefficient.shape[1:]) == 1


def check_count(steps: int) -> None:
    """Raise unless a table has at least one step."""
    if steps < 1:
        raise ValueError(f"steps was {steps}; expected at least 1")


def check_sigma_max(sigma_max: float) -> None:
    """Raise unless sigma_B,max is a width in px."""
    if not 0 <= sigma_max < math.inf:
        raise ValueError(f"sigma_max was {sigma_max}; expected a blur of 0 px or more")
