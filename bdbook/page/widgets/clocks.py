"""The figure of the clocks: every system as one angle per frequency, and what its sampler leaves out."""

import traitlets

from bdbook.page.widgets.base import bundle, choice, number, whole
from bdbook.page.widgets.one_step import SpectralPhotoSlider

SYSTEMS = ("equal_snr", "ddpm", "cosine", "blurring_5", "blurring_20", "heat", "soft", "by_hand")


class ClocksSlider(SpectralPhotoSlider):
    """One clock per frequency: phi = arctan(sigma / (alpha sqrt(v))) over t, and the exact error of DDIM and posterior.

    Parameters
    ----------
    photo : array or tensor (3 or 1, H, W) in [-1, 1], or None for a flower. Centre-cropped and resized to `size`.
    system : "equal_snr", "ddpm", "cosine", "blurring_5", "blurring_20" (px), "heat", "soft", or "by_hand".
    low, middle, high : clocks by hand, phi = (pi / 2) t^p with p = 2^-low at the lowest frequency, -3 to 3; 0 for even
        clocks, more for one that runs ahead. Between the three it is linear in the logarithm of the frequency.
    t : time in [0, 1].
    steps : N, 2 to 200, of a uniform grid from t = 1 to 0.
    variance : (1, 1, size, size), of the data's DCT coefficients; None for `data.power_law_variance`.
    size : side of the picture, 8 to 64 px.
    link : name of a group of figures that share t and the number of steps.

    Raises traitlets.TraitError, at construction and at any later assignment, for values outside these ranges.
    """

    _esm = bundle("clocks.js")
    _heights = (979, 1381)

    system, _check_system = choice("system", "blurring_5", SYSTEMS)
    low, _check_low = number("low", 0.0, -3, 3, "a power from -3 (behind) to 3 (ahead)")
    middle, _check_middle = number("middle", 0.0, -3, 3, "a power from -3 (behind) to 3 (ahead)")
    high, _check_high = number("high", 0.0, -3, 3, "a power from -3 (behind) to 3 (ahead)")
    t, _check_t = number("t", 0.3, 0, 1, "a time in [0, 1]")
    steps, _check_steps = whole("steps", 10, 2, 200, "2 to 200 steps")
    size = traitlets.Int(32, read_only=True).tag(sync=True, once=True)
