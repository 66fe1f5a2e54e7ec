"""Figure of the degradations of cold diffusion, one severity for all."""

import base64
import functools
import math

import torch
import traitlets

from bdbook.degradations import Snow
from bdbook.page.widgets.base import bundle, choice, number
from bdbook.page.widgets.photo import PhotoSlider, cat, encode_photo

DEGRADATIONS = ("blur", "inpainting", "super_resolution", "colourisation", "snow", "noise", "animorphosis")
SIZES = (8, 16, 32, 64)
SNOW_SEED = 4  # a flurry that falls, and leaves some of the flower


class SeveritySlider(PhotoSlider):
    """The degradations of cold diffusion (Bansal): D(x, t), what is left of x, and what one step back adds.

    Parameters
    ----------
    photo : array or tensor (3 or 1, H, W) in [-1, 1], or None for a flower. Centre-cropped and resized to `size`.
    degradation : "blur", "inpainting", "super_resolution", "colourisation", "snow", "noise" or "animorphosis".
    t : severity in [0, 1].
    sigma_max : blur at t = 1, px, at least 0 (used by "blur" only).
    other : what animorphosis turns the photo into, an image as `photo`, or None for a cat.
    size : side of the picture, 8, 16, 32 or 64 px; super-resolution halves it until 2 pixels are left.
    link : name of a group of figures that share t.

    Raises traitlets.TraitError, at construction and at any later assignment, for values outside these ranges.
    """

    _esm = bundle("severity.js")
    _heights = (793, 840)

    degradation, _check_degradation = choice("degradation", "blur", DEGRADATIONS)
    t, _check_t = number("t", 0.5, 0, 1, "a time in [0, 1] (divide a step i by T)")
    sigma_max, _check_sigma_max = number("sigma_max", 8.0, 0, math.inf, "a blur of 0 px or more", open_at="high")
    _other = traitlets.Unicode().tag(sync=True)  # as _photo
    _field = traitlets.Unicode().tag(sync=True)  # of snow: base64 of size x size float32
    _vertical = traitlets.Bool().tag(sync=True)  # whether it blows along columns

    def __init__(self, photo=None, *, other=None, **settings):
        size = settings.get("size", self.size)
        if size not in SIZES:
            raise traitlets.TraitError(f"size is {size}; expected 8 to 64 pixels, a power of 2")
        field, vertical = _flurry(size)
        super().__init__(photo, _other=encode_photo(other, size, cat), _field=field, _vertical=vertical, **settings)


@functools.cache
def _flurry(size: int) -> tuple[str, bool]:
    """The field of a flurry of snow, and whether it is vertical."""
    field, vertical = Snow(size).draw(1, torch.Generator().manual_seed(SNOW_SEED)).drawn()
    return base64.b64encode(field.numpy().astype("<f4").tobytes()).decode(), bool(vertical)
