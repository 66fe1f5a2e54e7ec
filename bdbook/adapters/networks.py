"""Networks of diffusers as the book's, and the book's denoisers as networks of diffusers."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bdbook.adapters.tables import betas, require_process, table, time_of
from bdbook.denoiser import Denoiser
from bdbook.shapes import Images
from bdbook.times import check_times, show
from bdbook.transforms import at_least_float32


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


class _Model(nn.Module):
    """A denoiser with the attributes that diffusers' pipelines read of a network."""

    def __init__(self, denoiser: Denoiser, shape: tuple[int, int, int] | None, steps: int | None):
        super().__init__()
        self.denoiser, self.steps, self.shape = denoiser, table(denoiser.process, steps), shape
        self.net = denoiser.net  # a module's parameters are this one's too, and move with it

    @property
    def config(self) -> SimpleNamespace:
        """The images that a pipeline is to make."""
        if self.shape is None:
            raise ValueError(
                "a pipeline asked for the shape of the images, which a denoiser does not know; give "
                "shape=(channels, height, width), as to_diffusers(denoiser, shape=(1, 16, 16))"
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


def to_diffusers(denoiser: Denoiser, shape: tuple[int, int, int] | None = None, steps: int | None = None) -> nn.Module:
    """A denoiser as a model of diffusers that predicts epsilon, whatever the denoiser predicts.

    (sample (B, C, H, W), timestep) -> an object with .sample, eps_hat in pixels; timestep k, a number or (B,), is t =
    (k + 1) / N. shape: (C, H, W) of the images, which pipelines ask for. steps: N, to be said where the process is
    continuous in t. The process must be isotropic and its SNR must not grow with t; its scheduler's betas are
    `betas(process, steps)`.
    """
    return ToDiffusers(denoiser, shape, steps)


class ToDiffusers(_Model):
    """What `to_diffusers` makes."""

    def __init__(self, denoiser: Denoiser, shape: tuple[int, int, int] | None, steps: int | None):
        betas(denoiser.process, steps)  # complains now of a process that diffusers cannot have
        super().__init__(denoiser, shape, steps)

    def forward(self, sample: Images, timestep: float | Tensor, return_dict: bool = True) -> Epsilon:
        """eps_hat = (u_t - mean_t) / sigma_t, in pixels. return_dict makes no difference: see `Epsilon`."""
        process, t = require_process(self.denoiser.process), time_of(self.denoiser.process, timestep, self.steps)
        x_t = at_least_float32(sample)
        estimate = self.denoiser.estimate(torch.hypot(process.alpha(t), process.sigma(t)).to(x_t) * x_t, t)
        seen = estimate.seen
        return Epsilon(process.basis.inverse((seen.u_t - estimate.mean(t)) / seen.sigma).to(sample.dtype))


def predictor(denoiser: Denoiser, shape: tuple[int, int, int] | None = None, steps: int | None = None) -> nn.Module:
    """A denoiser's network as a model of diffusers that says what the network says, for a `BlurringScheduler`.

    (sample (B, C, *axes), timestep) -> an object with .sample, the network's output in pixels; timestep k, a number or
    (B,), is t = (k + 1) / N. shape: (C, H, W) of the images, which pipelines ask for. steps: N, the scheduler's
    num_train_timesteps, to be said where the process is continuous in t. Any process will do.
    """
    return Predictor(denoiser, shape, steps)


class Predictor(_Model):
    """What `predictor` makes."""

    def forward(self, sample: Images, timestep: float | Tensor, return_dict: bool = True) -> Epsilon:
        """What the network says. return_dict makes no difference: see `Epsilon`."""
        t = time_of(self.denoiser.process, timestep, self.steps)
        return Epsilon(self.denoiser.estimate(sample, t).pixels.to(sample.dtype))
