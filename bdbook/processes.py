"""Every linear degradation process of the sources, as one class and one factory a system.

    u_t = alpha_t u_x + sigma_t u_eps,    u = V' z,

elementwise, with one alpha and one sigma per coefficient of the basis V.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from bdbook import schedules
from bdbook.degradations import Degradation
from bdbook.errors import unknown
from bdbook.times import Time, check_earlier, check_times
from bdbook.transforms import DCT, Basis, Pixel, Separable, gaussian_kernel

Schedule = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Process(Degradation):
    """A degradation that multiplies: a basis and two schedules.

    basis: V. alpha, sigma: functions of t that return float64 of shape (B|1, 1, H|1, W|1); t is a float or a
    tensor (B,) in [0, 1] (they see it as (B, 1, 1, 1) float64). steps: N of a tabulated process, which exists
    only at t = i / N; None for one that is continuous in t. sigma = 0 is a deterministic degradation.
    """

    basis: Basis
    alpha: Schedule
    sigma: Schedule
    steps: int | None = None
    name: str = "process"

    def __post_init__(self):
        for schedule in ("alpha", "sigma"):
            object.__setattr__(self, schedule, _on_checked_times(getattr(self, schedule), self.steps, self.name))

    def degrade(self, u: Tensor, t: Time) -> Tensor:
        """alpha_t u: the mean of u_t."""
        return self.alpha(t).to(u) * u

    def sample(self, x0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """z_t = V (alpha_t V' x0 + sigma_t V' noise); noise is white, in pixels, shaped as x0. HS Eq. 24."""
        u, sigma = self.basis.forward(x0), self.sigma(t)
        signal = self.alpha(t).to(u) * u
        if _is_scalar(sigma):  # a scalar commutes with V: one transform less (HS app. A.1)
            return self.basis.inverse(signal) + sigma.to(u) * noise.to(u)
        return self.basis.inverse(signal + sigma.to(u) * self.basis.forward(noise.to(u)))

    def snr(self, t: Time) -> Tensor:
        """SNR_t = alpha_t^2 / sigma_t^2, per frequency, float64."""
        return self.alpha(t) ** 2 / self.sigma(t) ** 2

    def coefficients(self, t: Time, s: Time) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(alpha_t, sigma_t, alpha_s, sigma_s) for s < t; raises where s >= t."""
        check_earlier(t, s)
        return self.alpha(t), self.sigma(t), self.alpha(s), self.sigma(s)

    def transition(self, t: Time, s: Time) -> tuple[Tensor, Tensor]:
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


def ddpm(steps: int = 1000, basis: Basis | None = None) -> Process:
    """DDPM: variance preserving, linear beta from 1e-4 to 0.02. Source: Ho et al. 2020; Lee Eq. 13.

    The betas are those of N = 1000 whatever `steps` is: with fewer the process ends before the signal is gone.
    """
    _check_steps(steps)
    log_a = torch.cat([torch.zeros(1, dtype=torch.float64), _half_log_one_minus(schedules.linear_beta(steps))])
    log_a = log_a.cumsum(0)

    def alpha(t: Tensor) -> Tensor:
        return torch.exp(lookup(log_a, t))

    def sigma(t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(2 * lookup(log_a, t)))

    return Process(basis or Pixel(), alpha, sigma, steps, "ddpm")


def cosine_diffusion(basis: Basis | None = None, logsnr_min: float = -10.0, logsnr_max: float = 10.0) -> Process:
    """Variance-preserving cosine diffusion, HS's baseline (their sigma_B,max = 0). Source: HS sec. 4, app. A.1."""
    noise = partial(schedules.cosine, logsnr_min=logsnr_min, logsnr_max=logsnr_max)
    noise(torch.zeros(1))  # complains now, not at the first use
    return Process(basis or Pixel(), lambda t: noise(t)[0], lambda t: noise(t)[1], name="cosine_diffusion")


def heat_dissipation(
    size: int | tuple[int, int],
    sigma_max: float = 20.0,
    sigma_min: float = 0.5,
    steps: int = 200,
    noise: float = 0.02,
) -> Process:
    """IHDM: blur of log-spaced width and a constant whiff of noise. Source: Rissanen et al. 2022; HS Eq. 10.

    sigma_max, sigma_min in px. noise is in units of data in [-1, 1]; the authors' 0.01 is for data in [0, 1].
    """
    check_sigma_max(sigma_max)
    if not 0 < sigma_min <= sigma_max:
        raise ValueError(f"sigma_min was {sigma_min}; expected 0 < sigma_min <= sigma_max = {sigma_max}")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise was {noise}; expected a standard deviation of 0 or more")
    _check_steps(steps)
    basis = DCT(size)
    tau = schedules.dissipation_time(schedules.log_spaced_blur(steps, sigma_min, sigma_max))

    def alpha(t: Tensor) -> Tensor:
        return schedules.frequency_scaling(basis.freq2.to(t.device), lookup(tau, t))

    return Process(basis, alpha, lambda t: torch.full_like(t, noise), steps, "heat_dissipation")


def blurring_diffusion(
    size: int | tuple[int, int],
    sigma_max: float = 20.0,
    d_min: float = 1e-3,
    blur: str = "sin2",
    logsnr_min: float = -10.0,
    logsnr_max: float = 10.0,
) -> Process:
    """Blurring diffusion: alpha_t = a_t d_t, scalar sigma_t. Source: HS Eq. 25-27, app. A.1.

    sigma_max is sigma_B,max in px (0 gives cosine diffusion); blur is "sin2" (HS's choice) or "sin".
    """
    check_sigma_max(sigma_max)
    if not 0 < d_min < 1:
        raise ValueError(f"d_min was {d_min}; expected a number in (0, 1): HS use 0.001")
    if blur not in schedules.BLURS:
        raise unknown("blur schedule", blur, schedules.BLURS)
    basis = DCT(size)
    noise = partial(schedules.cosine, logsnr_min=logsnr_min, logsnr_max=logsnr_max)

    def alpha(t: Tensor) -> Tensor:
        tau = schedules.dissipation_time(schedules.BLURS[blur](t, sigma_max))
        return noise(t)[0] * schedules.frequency_scaling(basis.freq2.to(t.device), tau, d_min)

    return Process(basis, alpha, lambda t: noise(t)[1], name="blurring_diffusion")


ORDERS = ("coarse_to_fine", "fine_to_coarse")


def blur_diffusion(
    size: int | tuple[int, int],
    f_max: float = 0.14,
    f_type: str = "quartic",
    kernel_sigma: float = 0.4,
    steps: int = 1000,
    boundary: str = "zero",
    kernel: tuple[float, ...] | None = None,
    order: str = "coarse_to_fine",
) -> Process:
    """Blur diffusion: step i blurs by W^f(i) and keeps unit variance. Source: Lee Eq. 2-5, Prop. 1.

    A_i = (1 - beta_i) D^{2 f(i)}; alpha_i^2 = product of A_1 .. A_i, so the total blur is the sum of f. W is a
    Gaussian of kernel_sigma px, or the taps given as kernel. order "fine_to_coarse" has I - D for D (Lee app. B),
    which takes the coarse structure away first and makes it last.
    """
    if order not in ORDERS:
        raise unknown("order", order, ORDERS)
    _check_steps(steps)
    basis = Separable(size, gaussian_kernel(kernel_sigma) if kernel is None else kernel, boundary)
    eigenvalues = basis.eigenvalues
    if eigenvalues.min() <= 0:
        raise ValueError(
            f"the kernel has an eigenvalue {eigenvalues.min():.3g} on images of size {size}: a fractional power "
            "of it is not real. Use a narrower kernel (all eigenvalues positive), e.g. kernel_sigma=0.4"
        )
    if eigenvalues.max() > 1 + 1e-9:
        raise ValueError(
            f"the kernel has an eigenvalue {eigenvalues.max():.3g} > 1 on images of size {size}: it amplifies, and "
            "noise of negative variance would have to be added. Use taps that blur (not negative, with sum 1)"
        )
    if not 0 <= f_max < math.inf:
        raise ValueError(f"f_max was {f_max}; expected f(N) >= 0 (0 gives DDPM)")
    i = torch.arange(1, steps + 1)
    zero = torch.zeros(1, dtype=torch.float64)
    exponent = torch.cat([zero, schedules.blur_exponent(i, steps, f_max, f_type)]).cumsum(0)
    log_a = torch.cat([zero, _half_log_one_minus(schedules.linear_beta(steps))]).cumsum(0)
    log_d = torch.log(eigenvalues)
    if order == "fine_to_coarse":
        # A frequency that W leaves as it is has I - D = 0, and would be gone after one step.
        log_d = torch.log1p(-eigenvalues.clamp_max(1 - 1e-12))

    def log_alpha(t: Tensor) -> Tensor:
        return lookup(log_a, t) + lookup(exponent, t) * log_d.to(t.device)

    def sigma(t: Tensor) -> Tensor:
        # log alpha can exceed 0 only by rounding: rows of W sum to at most 1.
        return torch.sqrt(-torch.expm1(2 * log_alpha(t).clamp_max(0)))

    return Process(basis, lambda t: torch.exp(log_alpha(t)), sigma, steps, "blur_diffusion")


def soft_diffusion(
    size: int | tuple[int, int],
    sigma_max: float = 20.0,
    noise_min: float = 0.01,
    noise_max: float = 1.0,
) -> Process:
    """Soft diffusion: x_t = C_t x_0 + s_t eta, a Gaussian blur and growing noise. Source: Daras et al. 2022.

    The blur's width grows as sigma_max sin^2(pi t / 2) px and the noise geometrically from noise_min to
    noise_max. These two schedules are this book's: the authors released no code.
    """
    check_sigma_max(sigma_max)
    if not 0 < noise_min <= noise_max:
        raise ValueError(f"noise was {noise_min}..{noise_max}; expected 0 < noise_min <= noise_max")
    basis = DCT(size)

    def alpha(t: Tensor) -> Tensor:
        tau = schedules.dissipation_time(schedules.sin2_blur(t, sigma_max))
        return schedules.frequency_scaling(basis.freq2.to(t.device), tau)

    def sigma(t: Tensor) -> Tensor:
        return noise_min * (noise_max / noise_min) ** t

    return Process(basis, alpha, sigma, name="soft_diffusion")


PROCESSES = {
    "ddpm": ddpm,
    "cosine_diffusion": cosine_diffusion,
    "heat_dissipation": heat_dissipation,
    "blurring_diffusion": blurring_diffusion,
    "blur_diffusion": blur_diffusion,
    "soft_diffusion": soft_diffusion,
}


def process(name: str, *args, **settings) -> Process:
    """A process by the name of its factory."""
    if name not in PROCESSES:
        raise unknown("process", name, PROCESSES)
    return PROCESSES[name](*args, **settings)


def _on_checked_times(schedule: Schedule, steps: int | None, name: str) -> Schedule:
    @lru_cache(maxsize=8)
    def at(t: float) -> Tensor:
        with torch.inference_mode(False):
            return schedule(check_times(t, steps, name))

    def checked(t: Time) -> Tensor:
        # One step of a sampler asks for its two times a dozen times over.
        return at(t) if isinstance(t, float) else schedule(check_times(t, steps, name))

    return checked


def lookup(table: Tensor, t: Tensor) -> Tensor:
    """The entries of a table of N + 1 steps at the times i / N, of t's shape."""
    index = torch.round(t * (len(table) - 1)).long()
    return table.to(t.device)[index]


def _half_log_one_minus(beta: Tensor) -> Tensor:
    return 0.5 * torch.log1p(-beta)


def _is_scalar(coefficient: Tensor) -> bool:
    return math.prod(coefficient.shape[1:]) == 1


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps was {steps}; expected at least 1")


def check_sigma_max(sigma_max: float) -> None:
    """Raise unless sigma_B,max is a width in px."""
    if not 0 <= sigma_max < math.inf:
        raise ValueError(f"sigma_max was {sigma_max}; expected a blur of 0 px or more")
