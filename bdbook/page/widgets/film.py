"""The film of the six systems: a photograph destroyed in the page, clothes drawn by recorded networks."""

import base64
import io

import traitlets
from PIL import Image

from bdbook.page import palette, recorded
from bdbook.page.widgets.base import bundle, choice, number
from bdbook.page.widgets.photo import PhotoSlider

WAYS = ("forward", "backward")
SHOWN, SIDE = 4, 16  # how many of the recorded pictures are shown, and their side, px: noise does not compress
GREYS = 0xFC  # six bits of each grey
SIZE = 64  # of the photograph, px: the processes' settings in film.js are for it
RUNS = {  # system -> the recorded run whose film is shown
    "ddpm": "fashion-ddpm",
    "heat": "fashion-heat",
    "blurring": "fashion-blurring",
    "blur": "fashion-blur",
    "soft": "fashion-soft",
    "cold": "fashion-from-mean",
}


class SystemsFilm(PhotoSlider):
    """Six systems at once: how each destroys a photograph, and how its trained network walks back to clothes.

    It plays by itself while it is in view, forward and then backward, but not for readers who asked for less motion.
    While it plays, Python does not see t and way move; it does when the reader pauses.

    Parameters
    ----------
    photo : array or tensor (3 or 1, H, W) in [-1, 1], or None for a flower. Centre-cropped and resized to 64 px.
    t : time in [0, 1].
    way : "forward", the photograph, computed in the page; or "backward", recorded walks to four pictures of clothes.
    playing : whether it plays.
    link : name of a group of figures that share t.

    Raises traitlets.TraitError, at construction and at any later assignment, for values outside these ranges.
    """

    _esm = bundle("film.js")
    _css = PhotoSlider._css + palette.css()
    _heights = (240, 460)

    size = traitlets.Int(SIZE, read_only=True).tag(sync=True)
    t, _check_t = number("t", 0.0, 0, 1, "a time in [0, 1] (divide a step i by N)")
    way, _check_way = choice("way", "forward", WAYS)
    playing = traitlets.Bool(True).tag(sync=True)
    _films = traitlets.Dict().tag(sync=True)  # system -> base64 of its film.png

    def __init__(self, photo=None, **settings):
        films = {system: base64.b64encode(_film(run)).decode() for system, run in RUNS.items()}
        super().__init__(photo, _films=films, **settings)


def _film(run: str) -> bytes:
    """The first pictures of a run's recorded film, a PNG; results/record.py says what is where in it."""
    path = recorded.folder_of(run) / "film.png"
    if not path.is_file():
        raise ValueError(
            f"{path} is not there; to draw it, in a checkout: python results/record.py --films --profile cpu"
        )
    film = Image.open(path)
    shown = io.BytesIO()
    few = film.crop((0, 0, film.width, SHOWN * SIDE)).point(lambda grey: grey & GREYS)
    few.save(shown, "png", optimize=True)
    return shown.getvalue()
