"""Figure of cold diffusion: a restorer that errs, and what the algorithms make of its errors."""

import math

from bdbook.page.widgets.base import bundle, number, whole
from bdbook.page.widgets.photo import PhotoSlider


class RestorationSlider(PhotoSlider):
    """Direct restoration, Algorithm 1 and TACoS (Bansal) with a linear restorer whose errors the reader sets.

    The degradation is exact blur, `cold.dct_blur(size, sigma_max)`; the restorer, per frequency,
    x0_hat = alpha_t u_t / (alpha_t^2 + epsilon) + bias e, where e is one pattern of white noise of unit variance.
    Images are in [-1, 1]; the RMSE shown is that of images in [0, 1], before clipping.

    Parameters
    ----------
    photo : array or tensor (3 or 1, H, W) in [-1, 1], or None for a flower. Centre-cropped and resized to `size`.
    sigma_max : sigma_B,max, the blur at t = 1, px, at least 0 (the slider: 0.5 to 16).
    epsilon : where alpha_t^2 is below it the restorer gives up, in (0, 1] (the slider: 1e-6 to 0.1).
    bias : b, standard deviation of the bias, in [0, 1] (the slider: to 0.3).
    steps : N, of a uniform grid from t = 1 to 0, 1 to 200.
    size : side of the picture, px.
    link : name of a group of figures that share the number of steps.

    Raises traitlets.TraitError, at construction and at any later assignment, for values outside these ranges.
    """

    _esm = bundle("restoration.js")
    _heights = (874, 1587)

    sigma_max, _check_sigma_max = number("sigma_max", 4.0, 0, math.inf, "a blur of 0 px or more", open_at="high")
    epsilon, _check_epsilon = number("epsilon", 1e-3, 0, 1, "a value in (0, 1], such as 1e-3", open_at="low")
    bias, _check_bias = number("bias", 0.0, 0, 1, "a standard deviation in [0, 1]")
    steps, _check_steps = whole("steps", 40, 1, 200, "1 to 200 steps")
