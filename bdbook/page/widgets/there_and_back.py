"""The first page's figure: one picture destroyed by six systems and walked back from its ends, and new ones drawn."""

import base64
import io

import traitlets
from PIL import Image

from bdbook.page import live, palette, recorded
from bdbook.page.opening import BOTH_WAYS
from bdbook.page.widgets.base import Slider, bundle, number, whole
from bdbook.page.widgets.film import GREYS, RUNS


class ThereAndBack(Slider):
    """Six systems destroy one picture of the test set, and each network walks back from the very end that it came to.

    The walks were recorded. On a press of Draw a network comes and draws new pictures in the reader's browser. It plays
    by itself while it is in view, but not for readers who asked for less motion.

    Parameters
    ----------
    place : where on the way it is, 0 the picture, 1 its end, 2 what the networks made of that.
    playing : whether it plays.
    seed : of the noise that new pictures are drawn from, 0 to 99.
    link : name of a group of figures that share the place.

    Raises traitlets.TraitError, at construction and at any later assignment, for values outside these ranges.
    """

    _esm = bundle("there_and_back.js")
    _css = Slider._css + palette.css()
    _heights = (294, 446)

    place, _check_place = number("place", 0.0, 0, 2, "a place in [0, 2]: the way there, then the way back")
    playing = traitlets.Bool(True).tag(sync=True)
    seed, _check_seed = whole("seed", 0, 0, 99, "a whole number from 0 to 99")
    _walks = traitlets.Dict().tag(sync=True)  # system -> base64 of its there_and_back.png

    def __init__(self, **settings):
        walks = {system: base64.b64encode(_walk(run)).decode() for system, run in RUNS.items()}
        super().__init__(_walks=walks, **settings)
        self.on_msg(lambda figure, content, _: live.answer(figure, content))


def _walk(run: str) -> bytes:
    """A run's recorded ways there and back as a PNG, of fewer greys: noise does not compress."""
    path = recorded.folder_of(run) / BOTH_WAYS
    if not path.is_file():
        raise ValueError(
            f"{path} is not there; to draw it, in a checkout: python results/record.py --films --profile cpu"
        )
    shown = io.BytesIO()
    Image.open(path).point(lambda grey: grey & GREYS).save(shown, "png", optimize=True)
    return shown.getvalue()
