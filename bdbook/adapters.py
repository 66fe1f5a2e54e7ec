"""Networks of diffusers as the book's, and the book's denoisers, tables and times as diffusers'.

    net = from_diffusers(UNet2DModel.from_pretrained(name), steps=1000)
    walk = samplers.sample(Denoiser(net, ddpm(1000)), x_T, times, "ddim")

    scheduler = DDPMScheduler(num_train_timesteps=1000, trained_betas=betas(process), clip_sample=False)
    pipeline = DDPMPipeline(to_diffusers(denoiser, shape=(1, 16, 16)), scheduler)

Step i of N, at t = i / N, is diffusers' timestep i - 1, i = 1..N; t = 0 has none. diffusers has one alpha and one
sigma for all frequencies, alpha^2 + sigma^2 = 1, and ends at alpha = 1. So a process that blurs has no counterpart
there; one that does not preserve the variance has, its x_t divided by sqrt(alpha_t^2 + sigma_t^2); and where there is
noise at t = 0, diffusers' last step goes on to x0_hat. This module imports nothing of diffusers.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bdbook.denoiser import Denoiser
from bdbook.processes import Degradation, Process
from bdbook.samplers import pairs
from bdbook.shapes import Images
from bdbook.times import check_steps, check_times, show
from bdbook.transforms import at_least_float32

# Schedulers that are given sigmas interpolate timesteps from them in float32: this near to a whole number is one.
INTERPOLATED = 0.01
# Times whose alpha and sigma are computed at once.
BLOCK = 64


def from_diffusers(net: Callable[[Tensor, Tensor], Any], steps: int = 1000) -> nn.Module:
    """A network of diffusers, which takes integer timesteps, as the `net` of a `Denoiser`.

    net: (x_t (B, C, H, W), timesteps (B,) int64 in 0..N-1) -> an object with .sample (B, C, H, W), as a `UNet2DModel`
    gives it, a tuple that begins with it, or itself. steps: N, the number of its timesteps. The result takes t = i / N,
    i = 1..N, and raises at other times. Its parameters are the network's: it can be trained.
    """
    return FromDiffusers(net, steps)


class FromDiffusers(nn.Module):
    """What `from_diffusers` makes: (x_t, t (B,)) -> (B, C, H, W)."""

    def __init__(self, net: Callable[[Tensor, Tensor], Any], steps: int):
        super().__init__()
        if steps is None or steps < 1:
            raise ValueError(f"steps was {steps}; expected the network's number of timesteps, e.g. 1000")
        self.net, self.steps = net, steps

    def forward(self, x_t: Images, t: Tensor) -> Images:
        i = torch.round(check_times(t, self.steps, "a network of diffusers").flatten() * self.steps).long()
        if (i < 1).any():
            raise ValueError(
                f"t was {show(t)}; a network of diffusers has no timestep for t = 0, the data: expected t = i / "
                f"{self.steps}, i = 1..{self.steps}"
            )
        match self.net(x_t, i - 1):
            case Tensor() as out:
                return out
            case (Tensor() as out, *_):
                return out
            case object(sample=Tensor() as out):
                return out
            case other:
                raise ValueError(
                    f"the network gave {type(other).__name__}; expected a tensor (B, C, H, W), a tuple that "
                    "begins with one, or an object with one as .sample"
                )


class Epsilon(NamedTuple):
    """An answer in either form that diffusers asks for: an object with .sample, or (return_dict=False) a tuple."""

    sample: Images


def to_diffusers(denoiser: Denoiser, shape: tuple[int, int, int] | None = None, steps: int | None = None) -> nn.Module:
    """A denoiser as a model of diffusers that predicts epsilon, whatever the denoiser predicts.

    (sample (B, C, H, W), timestep) -> an object with .sample, eps_hat in pixels; timestep k, a number or (B,), is t =
    (k + 1) / N. shape: (C, H, W) of the images, which pipelines ask for. steps: N, to be said where the process is
    continuous in t. The process must be isotropic and its SNR must not grow with t; its scheduler's betas are
    `betas(process, steps)`.
    """
    return ToDiffusers(denoiser, shape, steps)


class ToDiffusers(nn.Module):
    """What `to_diffusers` makes, with the attributes that diffusers' pipelines read."""

    def __init__(self, denoiser: Denoiser, shape: tuple[int, int, int] | None, steps: int | None):
        super().__init__()
        betas(denoiser.process, steps)  # complains now of a process that diffusers cannot have
        self.denoiser, self.steps, self.shape = denoiser, _table(denoiser.process, steps), shape
        self.net = denoiser.net  # a module's parameters are this one's too, and move with it

    @property
    def config(self) -> SimpleNamespace:
        """The images that a pipeline is to make."""
        if self.shape is None:
            raise ValueError(
                "a pipeline asked for the shape of the images, which a denoiser does not know; give "
                "to_diffusers(denoiser, shape=(channels, height, width))"
            )
        channels, height, width = self.shape
        return SimpleNamespace(in_channels=channels, out_channels=channels, sample_size=(height, width))

    @property
    def dtype(self) -> torch.dtype:
        return self._parameter.dtype

    @property
    def device(self) -> torch.device:
        return self._parameter.device

    @property
    def _parameter(self) -> Tensor:
        return next(self.parameters(), torch.empty(0))

    def forward(self, sample: Images, timestep: float | Tensor, return_dict: bool = True) -> Epsilon:
        """eps_hat = (u_t - mean_t) / sigma_t, in pixels. return_dict makes no difference: see `Epsilon`."""
        process, t = _require_process(self.denoiser.process), self._time(timestep)
        x_t = at_least_float32(sample)
        estimate = self.denoiser.estimate(torch.hypot(process.alpha(t), process.sigma(t)).to(x_t) * x_t, t)
        seen = estimate.seen
        return Epsilon(process.basis.inverse((seen.u_t - estimate.mean(t)) / seen.sigma).to(sample.dtype))

    def _time(self, timestep: float | Tensor) -> Tensor:
        k = torch.as_tensor(timestep, dtype=torch.float64)
        if self.denoiser.process.steps is not None:
            k = torch.where((k - k.round()).abs() < INTERPOLATED, k.round(), k)
        if not ((k >= 0) & (k <= self.steps - 1)).all():
            raise ValueError(f"timestep was {show(k)}; expected 0..{self.steps - 1}: k is t = (k + 1) / {self.steps}")
        return (k + 1) / self.steps


def betas(process: Degradation, steps: int | None = None) -> list[float]:
    """beta_1 .. beta_N of an isotropic process, the `trained_betas` of DDPMScheduler and others.

    So that alphas_cumprod[i - 1] = alpha_t^2 / (alpha_t^2 + sigma_t^2) at t = i / N: alpha_t^2 where the variance is
    preserved. steps: N, to be said where the process is continuous in t; num_train_timesteps is N too.
    """
    count = _table(process, steps)
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
    count, walk = _table(process, steps), _walk(times)
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


def _table(process: Degradation, steps: int | None) -> int:
    """N, the process's own or the one asked for."""
    table = steps if process.steps is None else process.steps
    if table is None:
        raise ValueError(
            f"{process.name} is continuous in t, and diffusers counts timesteps; say of how many, e.g. steps=1000"
        )
    if steps not in (None, table):
        raise ValueError(f"steps was {steps}, but {process.name} is tabulated at N = {table}; leave it out")
    check_steps(steps)
    return table


def _isotropic(process: Degradation, times: Tensor) -> tuple[Tensor, Tensor]:
    """alpha_t and sigma_t at each time, (n,) float64; raises where diffusers could not have them."""
    process = _require_process(process)
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


def _require_process(process: Degradation) -> Process:
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
