"""Where x_T comes from: functions (count, generator) -> x_T, (count, C, H, W) float32."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bdbook.oracle import Gaussian
from bdbook.processes import Process, Time

Prior = Callable[[int, torch.Generator], Tensor]


def normal(shape: tuple[int, int, int], std: float = 1.0) -> Prior:
    """White noise of shape (C, H, W): DDPM, HS and Lee at t = 1."""

    def draw(count: int, generator: torch.Generator) -> Tensor:
        return std * torch.randn(count, *shape, generator=generator, device=generator.device)

    return draw


def blurred_data(process: Process, images: Tensor, delta: float, t: Time = 1.0) -> Prior:
    """D(x, t) of images drawn from `images` (N, C, H, W) plus white noise delta. Source: Rissanen et al. 2022.

    Training images, blurred away: what remains of them at t = 1 is close to their mean grey.
    """

    if len(images) == 0:
        raise ValueError("images were empty; expected at least one, (N, C, H, W)")

    def draw(count: int, generator: torch.Generator) -> Tensor:
        device = generator.device
        chosen = torch.randint(len(images), (count,), generator=generator, device=device)
        x = images.to(device)[chosen].float()
        return process.mean(x, t) + delta * torch.randn(x.shape, generator=generator, device=device)

    return draw


def marginal(gaussian: Gaussian, process: Process, channels: int = 1, t: Time = 1.0) -> Prior:
    """The exact distribution of z_t when data are `gaussian`: for white-noise processes nearly `normal`."""
    mean, variance = (m.float() for m in gaussian.marginal(process, t))

    def draw(count: int, generator: torch.Generator) -> Tensor:
        device = generator.device
        shape = torch.broadcast_shapes((count, channels, 1, 1), variance.shape)
        noise = torch.randn(shape, generator=generator, device=device)
        return process.basis.inverse(mean.to(device) + variance.sqrt().to(device) * noise)

    return draw
