"""Interactive figures of the book, each in a page with a kernel and in one without (see :mod:`.base`)."""

from bdbook.page.widgets.base import JS, Slider, bundle, new_page
from bdbook.page.widgets.blur import BlurDiffusionSlider, BlurringSlider
from bdbook.page.widgets.clocks import ClocksSlider
from bdbook.page.widgets.compose import Playground
from bdbook.page.widgets.film import SystemsFilm
from bdbook.page.widgets.one_step import CarrySlider, LaboratorySlider
from bdbook.page.widgets.playground import PointsPlayground
from bdbook.page.widgets.resampler import Resampler
from bdbook.page.widgets.restoration import RestorationSlider
from bdbook.page.widgets.sampler import LiveSampler
from bdbook.page.widgets.severity import SeveritySlider
from bdbook.page.widgets.spectrum import SpectrumSlider
from bdbook.page.widgets.there_and_back import ThereAndBack

__all__ = [
    "JS",
    "BlurDiffusionSlider",
    "BlurringSlider",
    "CarrySlider",
    "ClocksSlider",
    "LaboratorySlider",
    "LiveSampler",
    "Playground",
    "PointsPlayground",
    "Resampler",
    "RestorationSlider",
    "SeveritySlider",
    "Slider",
    "SpectrumSlider",
    "SystemsFilm",
    "ThereAndBack",
    "bundle",
    "new_page",
]
