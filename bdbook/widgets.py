"""Interactive figures: one ES module, two mounts.

Under a kernel a figure is an anywidget: the module bundled from ``js/`` is its ``_esm`` and its traits are
shared with Python. In a built page there is no kernel, so the same module travels in ``text/html`` and runs on a
plain object in place of the model; no network is needed, and ``file://`` will do.

The program is some 25 kB, so a page holds it once. The first figure of a session carries it; later figures hold
only their state and find it by a digest of its text. Re-running a cell replaces its output, so the cell that
carried the program carries it again whenever it runs. Front ends name their cells in each request; where none
does (a whole notebook executed from the top) every cell runs once and the rule is simply "the first". Only
deleting that cell and then saving leaves the other figures without a program, and they say so. Call
:func:`new_page` where one session writes several pages.
"""

import base64
import difflib
import functools
import hashlib
import html
import json
import math
import re
from pathlib import Path

import anywidget
import numpy as np
import traitlets
from IPython import get_ipython
from PIL import Image

JS = Path(__file__).parent / "js"
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w-]+\.js)";\n', re.MULTILINE)

_carriers: dict[str, tuple[str | None, str | None]] = {}  # digest -> (cell, run) that carries the program


def bundle(name: str) -> str:
    """One module's text: the file ``js/<name>`` after everything it imports, each file once.

    Imports must be relative and without renaming, as ``import { a, b } from "./core.js";``; the files then share
    one scope, so their top-level names must differ. All named exports stay exported.
    """
    texts: dict[str, str] = {}

    def visit(file: str) -> None:
        text = (JS / file).read_text(encoding="utf-8")
        for imported in _IMPORT.findall(text):
            if imported not in texts:
                visit(imported)
        texts[file] = _IMPORT.sub("", text)

    visit(name)
    return "\n".join(texts.values())


def new_page() -> None:
    """Forget what was shown: the next figure carries its program again."""
    _carriers.clear()


def _current_run() -> tuple[str | None, str | None]:
    """Names of the executing cell and of this run of it; None for what is not known."""
    try:
        parent = get_ipython().get_parent()
    except AttributeError:  # no IPython, or one without a kernel
        return None, None
    return parent.get("metadata", {}).get("cellId"), parent.get("header", {}).get("msg_id")


def _is_carrier(digest: str) -> bool:
    """Whether the output being made must carry the program; remembers that it does."""
    cell, run = _current_run()
    if digest in _carriers:
        carrier, carrier_run = _carriers[digest]
        if cell is None or cell != carrier or run == carrier_run:
            return False
    _carriers[digest] = cell, run
    return True


class Slider(anywidget.AnyWidget):
    """Base of the figures. A subclass sets ``_esm = bundle("<file>.js")`` and declares its state as synced traits.

    ``link`` names a group: figures of a page with the same group name share what their module puts in common.
    """

    _css = (JS / "bdbook.css").read_text(encoding="utf-8")
    link = traitlets.Unicode("").tag(sync=True)

    def state(self) -> dict:
        """The synced traits that are the figure's own, for a page without a kernel."""
        inherited = {*anywidget.AnyWidget.class_trait_names(), "_esm", "_css", "_anywidget_id"}
        return {name: getattr(self, name) for name in self.trait_names(sync=True) if name not in inherited}

    def static_html(self) -> str:
        """Self-contained HTML; includes the program if no earlier figure of the page does."""
        digest = hashlib.sha256((self._esm + self._css).encode()).hexdigest()[:12]
        state = html.escape(json.dumps(self.state()))
        figure = (
            f'<div class="bdbook-figure" data-source="bdbook-{digest}" data-state="{state}">'
            "An interactive figure. It needs JavaScript, and the program that came with the first figure of this "
            "notebook: if that was deleted, run all cells again.</div>"
        )
        if not _is_carrier(digest):
            return figure
        return (
            f"<style>{self._css}</style>{figure}"
            f'<script type="text/plain" id="bdbook-{digest}">\n{self._esm}</script>'
            f'<script type="module">\n{(JS / "mount.js").read_text(encoding="utf-8")}</script>'
        )

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict] | None:
        bundled = super()._repr_mimebundle_(**kwargs)
        if bundled is None:
            return None
        data, metadata = bundled
        return data | {"text/html": self.static_html()}, metadata


class BlurringSlider(Slider):
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

    sigma_max = traitlets.Float(20.0).tag(sync=True)
    t = traitlets.Float(0.5).tag(sync=True)
    d_min = traitlets.Float(1e-3).tag(sync=True)
    schedule = traitlets.Unicode("sin2").tag(sync=True)
    size = traitlets.Int(64, read_only=True).tag(sync=True)
    _photo = traitlets.Unicode().tag(sync=True)  # base64 of size x size x 3 bytes

    def __init__(self, photo=None, sigma_max=20.0, t=0.5, d_min=1e-3, schedule="sin2", size=64, link=""):
        if not 8 <= size <= 256:
            raise traitlets.TraitError(f"size is {size}; expected 8 to 256 pixels")
        pixels = _default_photo() if photo is None else _to_pixels(photo)
        super().__init__(
            sigma_max=sigma_max,
            t=t,
            d_min=d_min,
            schedule=schedule,
            link=link,
            _photo=base64.b64encode(_fit(pixels, size).tobytes()).decode(),
        )
        self.set_trait("size", size)

    @traitlets.validate("sigma_max")
    def _check_sigma_max(self, proposal):
        if 0 <= proposal.value < math.inf:
            return proposal.value
        raise traitlets.TraitError(f"sigma_max is {proposal.value}; expected a blur of 0 px or more")

    @traitlets.validate("t")
    def _check_t(self, proposal):
        if 0 <= proposal.value <= 1:
            return proposal.value
        raise traitlets.TraitError(f"t is {proposal.value}; expected a time in [0, 1] (divide a step i by N)")

    @traitlets.validate("d_min")
    def _check_d_min(self, proposal):
        if 0 < proposal.value < 1:
            return proposal.value
        raise traitlets.TraitError(f"d_min is {proposal.value}; expected a value in (0, 1), such as 1e-3")

    @traitlets.validate("schedule")
    def _check_schedule(self, proposal):
        if proposal.value in ("sin2", "sin"):
            return proposal.value
        nearest = difflib.get_close_matches(proposal.value, ["sin2", "sin"], n=1, cutoff=0)[0]
        raise traitlets.TraitError(
            f'schedule is "{proposal.value}"; expected "sin2" or "sin". Did you mean "{nearest}"?'
        )


@functools.cache
def _default_photo() -> np.ndarray:
    """A dahlia from scikit-learn's sample photographs, (330, 330, 3) uint8: round, bright, with fine petals."""
    from sklearn.datasets import load_sample_image  # slow to import, and not needed for a reader's own photograph

    return load_sample_image("flower.jpg")[50:380, 146:476]


def _to_pixels(photo) -> np.ndarray:
    """(3 or 1, H, W) in [-1, 1] -> (H, W, 3) uint8."""
    image = np.asarray(photo, dtype=np.float64)
    if image.ndim != 3 or image.shape[0] not in (1, 3) or 0 in image.shape:
        raise traitlets.TraitError(f"photo has shape {image.shape}; expected (3, H, W) or (1, H, W)")
    if not (np.isfinite(image).all() and np.abs(image).max() <= 1):
        raise traitlets.TraitError(
            f"photo has values from {image.min():g} to {image.max():g}; expected [-1, 1] (x / 127.5 - 1 for bytes)"
        )
    image = np.broadcast_to(image, (3, *image.shape[1:]))
    return np.round((image.transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)


def _fit(pixels: np.ndarray, size: int) -> np.ndarray:
    """The central square of (H, W, 3) uint8, resized to (size, size, 3)."""
    height, width, _ = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(np.ascontiguousarray(pixels[top : top + side, left : left + side]))
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))
