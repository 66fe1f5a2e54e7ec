"""Interactive figures of the book, each in a page with a kernel and in one without (see :mod:`.base`)."""

from bdbook.widgets.base import JS, Slider, bundle, new_page
from bdbook.widgets.blur import BlurDiffusionSlider, BlurringSlider
from bdbook.widgets.film import SystemsFilm
from bdbook.widgets.one_step import CarrySlider, LaboratorySlider
from bdbook.widgets.resampler import Resampler
from bdbook.widgets.restoration import RestorationSlider
from bdbook.widgets.sampler import LiveSampler
from bdbook.widgets.severity import SeveritySlider

__all__ = [
    "JS",
    "BlurDiffusionSlider",
    "BlurringSlider",
    "CarrySlider",
    "LaboratorySlider",
    "LiveSampler",
    "Resampler",
    "RestorationSlider",
    "SeveritySlider",
    "Slider",
    "SystemsFilm",
    "bundle",
    "new_page",
]
