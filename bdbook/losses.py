"""What training makes small: functions of a denoiser, images, times and noise -> (B,), one number an image."""

from __future__ import annotations

import math

import torch

from bdbook.denoiser import Denoiser
from bdbook.processes import Process
from bdbook.shapes import AnyImages, Images, PerFrequency, PerImage
from bdbook.times import Time, expand
from bdbook.transforms import at_least_float32


def loss(denoiser: Denoiser, x0: AnyImages, t: Time, noise: AnyImages) -> PerImage:
    """Mean squared error of what the network predicts, per image: (B,). x0, noise: (B, C, *axes); t: (B,).

    EPS: HS Eq. 24, Lee Eq. 10. X0: HS app. B. LESS_BLURRED: Rissanen et al. 2022. SPECTRAL: the eps loss
    weighted, per frequency, by (alpha^2 v + sigma^2) / (alpha^2 v).
    """
    return (_error(denoiser, x0, t, noise) ** 2).flatten(1).mean(1)


def l1_loss(denoiser: Denoiser, x0: AnyImages, t: Time, noise: AnyImages) -> PerImage:
    """Mean absolute error of what the network predicts, per image: (B,). For X0 and RESIDUAL that of x0_hat.

    Source: Bansal sec. 3.1.
    """
    return _error(denoiser, x0, t, noise).abs().flatten(1).mean(1)


def soft_loss(denoiser: Denoiser, x0: AnyImages, t: Time, noise: AnyImages) -> PerImage:
    """Soft score matching: |C_t (x0_hat - x0)|^2, mean per image (B,). Source: Daras et al. 2022."""
    x_t = denoiser.process.sample(x0, t, noise)
    answer = denoiser.estimate(x_t, t)
    seen, process = answer.seen, answer.seen.require_process()
    error = answer.mean(t) - seen.alpha * process.basis.forward(at_least_float32(x0))
    return (error**2).flatten(1).mean(1)


def bound_loss(denoiser: Denoiser, x0: AnyImages, t: Time, noise: AnyImages) -> PerImage:
    """The bound's weight on each frequency's error: -1/2 dlogSNR/dt (eps_hat - eps)^2, mean per image (B,).

    Divided by half the fall of log SNR from t = 0 to 1, so that the weight is 1 on average; for any prediction, since
    sigma_t (eps_hat - eps) = alpha_t (x0 - x0_hat). Source: Kingma et al. 2021, here per frequency; HS Eq. 7.
    """
    x_t = denoiser.process.sample(x0, t, noise)
    answer = denoiser.estimate(x_t, t)
    seen, process = answer.seen, answer.seen.require_process()
    error = (answer.mean(t) - seen.alpha * process.basis.forward(at_least_float32(x0))) / seen.sigma
    ends = torch.log(process.snr(0.0)), torch.log(process.snr(1.0))
    fall = (ends[0] - ends[1]).mean().item()
    if not math.isfinite(fall):
        raise ValueError(
            f"the bound of {process.name} weighs some frequencies without limit: log SNR falls by {fall:g} on "
            "average; use the plain loss"
        )
    return (slope_of_log_snr(process, t).to(error) / -fall * error**2).flatten(1).mean(1)


def slope_of_log_snr(process: Process, t: Time) -> PerFrequency:
    """d log SNR / dt per frequency, float64: the difference over the interval of 1/1000 that t lies in."""
    n = process.steps or 1000
    upper = torch.ceil(expand(t) * n - 1e-9).clamp_min(1) / n
    lower = torch.round(upper * n - 1) / n
    rise = torch.log(process.snr(upper.flatten())) - torch.log(process.snr(lower.flatten()))
    return rise * n


def _error(denoiser: Denoiser, x0: AnyImages, t: Time, noise: AnyImages) -> Images:
    """What the network says less what it should have said, in pixels."""
    answer = denoiser.estimate(denoiser.process.sample(x0, t, noise), t)
    return answer.pixels - answer.predicts.target(answer.seen, at_least_float32(x0), at_least_float32(noise))


LOSSES = {"plain": loss, "l1": l1_loss, "soft": soft_loss, "bound": bound_loss}
