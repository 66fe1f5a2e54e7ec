"""Figures of the two diffusion processes that blur: HS's and Lee's."""

import math

import traitlets

from bdbook.page.widgets.base import bundle, choice, number
from bdbook.page.widgets.photo import PhotoSlider
from bdbook.schedules import F_TYPES

SCHEDULES = ("sin2", "sin")
STEPS = (100, 250, 500, 1000)


class BlurringSlider(PhotoSlider):
    """Blurring diffusion (HS sec. 4) under the reader's hand: SNR of every frequency, and the picture.

    Parameters
    ----------
    photo : array or tensor (3 or 1, H, W) in [-1, 1], or None for a flower. Centre-cropped and resized to `size`.
    sigma_max : sigma_B,max, the blur at t = 1, px, at least 0.
    t : time in [0, 1].
    d_min : floor of the frequency scaling d_t, in (0, 1).
    schedule : "sin2" or "sin", the blur sigma_B,t over t.
    size : side of the picture and of the frequency plane, px.
    link : name of a group of figures that share t.

    Raises traitlets.TraitError, at construction and at any later assignment, for values outside these ranges.
    """

    _esm = bundle("blurring.js")
    _heights = (882, 1226)

    sigma_max, _check_sigma_max = number("sigma_max", 20.0, 0, math.inf, "a blur of 0 px or more", open_at="high")
    t, _check_t = number("t", 0.5, 0, 1, "a time in [0, 1] (divide a step i by N)")
    d_min, _check_d_min = number("d_min", 1e-3, 0, 1, "a value in (0, 1), such as 1e-3", open_at="low high")
    schedule, _check_schedule = choice("schedule", "sin2", SCHEDULES)


class BlurDiffusionSlider(PhotoSlider):
    """Blur diffusion (Lee) under the reader's hand: SNR of six frequencies, blur in pixels, and the picture.

    Parameters
    ----------
    photo : array or tensor (3 or 1, H, W) in [-1, 1], or None for a flower. Centre-cropped and resized to `size`.
    f_type : "log", "linear", "quadratic", "cubic" or "quartic", the form of f(i).
    f_max : f(N), the power of the kernel in the last step, at least 0 (0 is DDPM).
    steps : N, one of 100, 250, 500, 1000; beta runs from 1e-4 to 0.02 whatever it is.
    kernel_sigma : width of the kernel W, px, in (0, 8]. A kernel that has no fractional power is shown as words.
    boundary : "zero" or "symmetric" (mirrored) at the borders of the picture.
    t : time i / N in [0, 1].
    overlay : whether HS's blurring diffusion (sin^2, d_min = 1e-3) is laid over it.
    sigma_max : sigma_B,max of the overlay, px, at least 0.
    size : side of the picture and of the frequency plane, px.
    link : name of a group of figures that share t.

    Raises traitlets.TraitError, at construction and at any later assignment, for values outside these ranges.
    """

    _esm = bundle("blur_diffusion.js")
    _heights = (933, 1690)

    f_type, _check_f_type = choice("f_type", "quartic", F_TYPES)
    f_max, _check_f_max = number("f_max", 0.14, 0, math.inf, "f(N) of 0 or more (0 is DDPM)", open_at="high")
    steps = traitlets.Int(1000).tag(sync=True)
    kernel_sigma, _check_kernel_sigma = number("kernel_sigma", 0.4, 0, 8, "a width in (0, 8] px", open_at="low")
    boundary, _check_boundary = choice("boundary", "zero", ("zero", "symmetric"))
    t, _check_t = number("t", 0.5, 0, 1, "a time in [0, 1] (divide a step i by N)")
    overlay = traitlets.Bool(False).tag(sync=True)
    sigma_max, _check_sigma_max = number("sigma_max", 20.0, 0, math.inf, "a blur of 0 px or more", open_at="high")

    @traitlets.validate("steps")
    def _check_steps(self, proposal):
        if proposal.value in STEPS:
            return proposal.value
        raise traitlets.TraitError(f"steps is {proposal.value}; expected N = {', '.join(map(str, STEPS))}")
