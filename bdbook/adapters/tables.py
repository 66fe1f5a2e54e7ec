"""A process as the tables and walks of diffusers' own schedulers, which have one alpha and one sigma for all."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bdbook.processes import Degradation, Process
from bdbook.samplers import pairs
from bdbook.times import check_steps, check_times, show

# Schedulers that are given sigmas interpolate timesteps from them in float32: this near to a whole number is one.
INTERPOLATED = 0.01
# Times whose alpha and sigma are computed at once.
BLOCK = 64


def betas(process: Degradation, steps: int | None = None) -> list[float]:
    """beta_1 .. beta_N of an isotropic process, the `trained_betas` of DDPMScheduler and others.

    So that alphas_cumprod[i - 1] = alpha_t^2 / (alpha_t^2 + sigma_t^2) at t = i / N: alpha_t^2 where the variance is
    preserved. steps: N, to be said where the process is continuous in t; num_train_timesteps is N too.
    """
    count = table(process, steps)
    times = torch.arange(1, count + 1, dtype=torch.float64) / count
    alpha, sigma = _isotropic(process, times)
    kept = alpha**2 / (alpha**2 + sigma**2)
    beta = 1 - kept / torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    if (beta < -1e-12).any():
        raise ValueError(
            f"{process.name}'s signal-to-noise ratio grows up to t = {show(times[beta < -1e-12])}; diffusers needs one "
            "that falls from t = 0 to 1"
        )
    return beta.clamp_min(0).tolist()


def timesteps(process: Degradation, times: Tensor, steps: int | None = None) -> list[int]:
    """The timesteps of a walk along `times`, for `scheduler.set_timesteps(timesteps=...)`: N t - 1, the end left out.

    times: decreasing, on the table, 0 at the end, e.g. process.times(50): there diffusers' walks end. steps: N, to be
    said where the process is continuous in t.
    """
    count, walk = table(process, steps), _walk(times)
    _isotropic(process, walk)
    if walk[-1] != 0:
        raise ValueError(f"times ended at {walk[-1]:g}; expected 0, where diffusers' walks end, as process.times(50)")
    on_table = check_times(walk[:-1], count, f"{process.name}, for diffusers,").flatten()
    return (torch.round(on_table * count).long() - 1).tolist()


def sigmas(process: Degradation, times: Tensor) -> list[float]:
    """sigma_t / alpha_t along `times`, for `scheduler.set_timesteps(sigmas=...)` of EulerDiscreteScheduler and others.

    times: decreasing, e.g. process.times(50). x_t / alpha_t is the sample of such a scheduler.
    """
    alpha, sigma = _isotropic(process, _walk(times))
    return (sigma / alpha).tolist()


def _walk(times: Tensor) -> Tensor:
    """The times of a walk, (n,) float64, checked."""
    grid = list(pairs(times))
    return torch.tensor([grid[0][0], *(s for _, s in grid)], dtype=torch.float64)


def table(process: Degradation, steps: int | None) -> int:
    """N, the process's own or the one asked for."""
    count = steps if process.steps is None else process.steps
    if count is None:
        raise ValueError(
            f"{process.name} is continuous in t, and diffusers counts timesteps; say of how many, e.g. steps=1000"
        )
    if steps not in (None, count):
        raise ValueError(f"steps was {steps}, but {process.name} is tabulated at N = {count}; leave it out")
    check_steps(steps)
    return count


def time_of(process: Degradation, timestep: float | Tensor, steps: int) -> Tensor:
    """t = (k + 1) / N of diffusers' timestep k, a number or (B,), float64. steps: N."""
    k = torch.as_tensor(timestep, dtype=torch.float64)
    if process.steps is not None:
        k = torch.where((k - k.round()).abs() < INTERPOLATED, k.round(), k)
    if not ((k > -1) & (k <= steps - 1)).all():
        raise ValueError(f"timestep was {show(k)}; expected 0..{steps - 1}: k is t = (k + 1) / {steps}")
    return (k + 1) / steps


def _isotropic(process: Degradation, times: Tensor) -> tuple[Tensor, Tensor]:
    """alpha_t and sigma_t at each time, (n,) float64; raises where diffusers could not have them."""
    process = require_process(process)
    alpha, sigma = _numbers(process.alpha, times), _numbers(process.sigma, times)
    for name, values in (("alpha", alpha), ("sigma", sigma)):
        if values.isnan().any():
            raise ValueError(
                f"{process.name} has one {name} per frequency at t = {show(times[values.isnan()])}, and diffusers one "
                "for all; use an isotropic process, e.g. ddpm() or cosine_diffusion()"
            )
    lost = (alpha == 0) | (sigma == 0) & (times > 0)
    if lost.any():
        raise ValueError(
            f"{process.name} has no signal or no noise at t = {show(times[lost])}; diffusers divides by alpha and sigma"
        )
    return alpha, sigma


def require_process(process: Degradation) -> Process:
    """The process; raises for a degradation without alpha and sigma."""
    if not isinstance(process, Process):
        raise ValueError(f"{process.name} has no alpha and sigma, which diffusers needs; use a Process, e.g. ddpm()")
    return process


def _numbers(schedule: Callable[[Tensor], Tensor], times: Tensor) -> Tensor:
    """A schedule's one number for all frequencies at each time, (n,) float64; NaN where there are several."""
    numbers = []
    for block in times.split(BLOCK):
        low, high = schedule(block).flatten(1).aminmax(dim=1)
        numbers.append(torch.where(high - low <= 1e-9 * high, high, torch.nan).expand(len(block)))
    return torch.cat(numbers)
