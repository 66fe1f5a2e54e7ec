"""Figures of the one-line sampler on Gaussian data, where every error is exact."""

import math

import numpy as np
import traitlets

from bdbook.data import power_law_variance
from bdbook.page.widgets.base import Slider, bundle, choice, number, whole
from bdbook.page.widgets.photo import PhotoSlider

PROCESSES = ("cosine", "blurring_sin2", "blurring_sin")
RULES = ("ancestral", "ddim", "naive", "tacos", "momentum", "ihdm")  # of bdbook.samplers


class SamplerSetting(traitlets.HasTraits):
    """A process, a rule, and how many steps: what the laboratory asks for."""

    process, _check_process = choice("process", "blurring_sin2", PROCESSES)
    sigma_max, _check_sigma_max = number("sigma_max", 20.0, 0, math.inf, "a blur of 0 px or more", open_at="high")
    d_min, _check_d_min = number("d_min", 1e-3, 0, 1, "a value in (0, 1), such as 1e-3", open_at="low high")
    steps, _check_steps = whole("steps", 100, 5, 1000, "5 to 1000 steps")
    rule, _check_rule = choice("rule", "ancestral", RULES)
    order, _check_order = whole("order", 1, 1, 2, "order 1 or 2")


SETTING = ("process", "sigma_max", "d_min", "steps", "rule", "order")


class LaboratorySlider(SamplerSetting, Slider):
    """The exact Gaussian laboratory: variance by frequency and KL of every rule of "degrade, carry, refresh".

    Parameters
    ----------
    process : "cosine", "blurring_sin2" or "blurring_sin".
    sigma_max : sigma_B,max, the blur at t = 1, px, at least 0 (not used by "cosine").
    d_min : floor of the frequency scaling d_t, in (0, 1) (not used by "cosine").
    steps : of a uniform grid from t = 1 to 0, 5 to 1000.
    rule : a name from `bdbook.samplers.RULES`.
    order : 1, or 2 for a guess extrapolated from the last two.
    kept : a setting to compare with, a dict of all the six above, or an empty one.
    variance : (1, 1, size, size), of the data's DCT coefficients; None for `data.power_law_variance`.
    size : side of the images, 4 to 64 px.
    link : name of a group of figures that share the number of steps.

    Raises traitlets.TraitError, at construction and at any later assignment, for values outside these ranges.
    """

    _esm = bundle("laboratory.js")
    _heights = (636, 1084)

    kept = traitlets.Dict().tag(sync=True)
    size = traitlets.Int(32, read_only=True).tag(sync=True, once=True)
    _variance = traitlets.List(traitlets.Float()).tag(sync=True)

    def __init__(self, *, variance=None, **settings):
        super().__init__(_variance=encode_variance(variance, settings.get("size", self.size)), **settings)

    @traitlets.validate("kept")
    def _check_kept(self, proposal):
        kept = proposal.value
        if kept and set(kept) != set(SETTING):
            raise traitlets.TraitError(f"kept has {', '.join(kept)}; expected all of {', '.join(SETTING)}, or nothing")
        SamplerSetting(**kept)  # complains about the values
        return kept


def encode_variance(variance, size: int) -> list[float]:
    """(1, 1, size, size) positive numbers, or None for the power law -> a flat list."""
    if not 4 <= size <= 64:
        raise traitlets.TraitError(f"size is {size}; expected 4 to 64 pixels")
    plane = np.asarray(power_law_variance(size) if variance is None else variance, dtype=np.float64)
    if plane.shape != (1, 1, size, size):
        raise traitlets.TraitError(f"variance has shape {plane.shape}; expected (1, 1, {size}, {size}), as size says")
    if not (np.isfinite(plane).all() and plane.min() > 0):
        raise traitlets.TraitError(f"variance has a lowest value of {plane.min():g}; expected positive numbers")
    return plane.ravel().tolist()


class SpectralPhotoSlider(PhotoSlider):
    """Base of the figures that show a picture and know a spectrum of its size, 8 to 64 px."""

    _variance = traitlets.List(traitlets.Float()).tag(sync=True)

    def __init__(self, photo=None, *, variance=None, **settings):
        size = settings.get("size", self.size)
        if not 8 <= size <= 64:
            raise traitlets.TraitError(f"size is {size}; expected 8 to 64 pixels")
        super().__init__(photo, _variance=encode_variance(variance, size), **settings)


class CarrySlider(SpectralPhotoSlider):
    """One step t -> s = t - 1/N: the noise that was estimated is carried over in part, the rest is drawn afresh.

    Parameters
    ----------
    photo : array or tensor (3 or 1, H, W) in [-1, 1], or None for a flower. Centre-cropped and resized to `size`.
    rho : the carry as a part of DDIM's, c = rho sigma_s / sigma_t, in [0, 1].
    process : "cosine", "blurring_sin2" or "blurring_sin".
    sigma_max, d_min : of blurring diffusion, as in LaboratorySlider.
    t : time in (0, 1].
    steps : N, 10 to 1000.
    mode : k, the frequency of the bars is that of the DCT mode (k, k); 1 to size - 1.
    variance : (1, 1, size, size), of the data's DCT coefficients; None for `data.power_law_variance`.
    size : side of the picture, 8 to 64 px.
    link : name of a group of figures that share t and the number of steps.

    Raises traitlets.TraitError, at construction and at any later assignment, for values outside these ranges.
    """

    _esm = bundle("carry.js")
    _heights = (1128, 1562)

    rho, _check_rho = number("rho", 0.7, 0, 1, "a part in [0, 1]")
    process, _check_process = choice("process", "cosine", PROCESSES)
    sigma_max, _check_sigma_max = number("sigma_max", 20.0, 0, math.inf, "a blur of 0 px or more", open_at="high")
    d_min, _check_d_min = number("d_min", 1e-3, 0, 1, "a value in (0, 1), such as 1e-3", open_at="low high")
    t, _check_t = number("t", 0.5, 0, 1, "a time in (0, 1]", open_at="low")
    steps, _check_steps = whole("steps", 20, 10, 1000, "10 to 1000 steps")
    mode = traitlets.Int(12).tag(sync=True)

    def __init__(self, photo=None, *, variance=None, **settings):
        settings.setdefault("mode", min(self.mode, settings.get("size", self.size) - 1))
        super().__init__(photo, variance=variance, **settings)

    @traitlets.validate("mode")
    def _check_mode(self, proposal):
        if 1 <= proposal.value < self.size:
            return proposal.value
        raise traitlets.TraitError(f"mode is {proposal.value}; expected k from 1 to {self.size - 1}")
