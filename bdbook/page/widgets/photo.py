"""The picture that a figure shows, as bytes in its state: the book's, the author's or the reader's."""

import base64
import functools
from collections.abc import Callable

import numpy as np
import torch
import traitlets
from PIL import Image

from bdbook.data import package_file
from bdbook.page.widgets.base import Slider


class PhotoSlider(Slider):
    """Base of the figures that show a picture; in most the reader may put one of their own in its place."""

    size = traitlets.Int(64, read_only=True).tag(sync=True, once=True)
    _photo = traitlets.Unicode().tag(sync=True)  # base64 of size x size x 3 bytes

    def __init__(self, photo=None, **settings):
        super().__init__(_photo=encode_photo(photo, settings.get("size", self.size)), **settings)

    @property
    def photo(self) -> torch.Tensor:
        """The picture that is shown, the reader's own if they chose one: (3, size, size) in [-1, 1]."""
        pixels = torch.frombuffer(bytearray(base64.b64decode(self._photo)), dtype=torch.uint8)
        return pixels.reshape(self.size, self.size, 3).permute(2, 0, 1) / 127.5 - 1


def encode_photo(photo, size: int, default: Callable[[], np.ndarray] | None = None) -> str:
    """(3 or 1, H, W) in [-1, 1], or None for the default, a flower -> base64 of size x size x 3 bytes."""
    if not 8 <= size <= 256:
        raise traitlets.TraitError(f"size is {size}; expected 8 to 256 pixels")
    pixels = (default or flower)() if photo is None else _to_pixels(photo)
    return base64.b64encode(_fit(pixels, size).tobytes()).decode()


@functools.cache
def flower() -> np.ndarray:
    """A dahlia from scikit-learn's sample photographs, (330, 330, 3) uint8: round, bright, with fine petals."""
    with Image.open(package_file("sklearn.datasets.images", "flower.jpg")) as image:
        return np.asarray(image)[50:380, 146:476]


@functools.cache
def cat() -> np.ndarray:
    """Chelsea, from scikit-image's sample photographs, (300, 451, 3) uint8."""
    with Image.open(package_file("skimage.data", "chelsea.png")) as image:
        return np.asarray(image)


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
