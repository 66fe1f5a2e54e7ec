"""Pictures of one's own, read and written whole: their transparency, their colour profile, their format."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from bdbook.data.reading import UNREADABLE, eight_bits
from bdbook.pixels import as_float

# Pillow's formats that hold 24-bit colour, how they are written, and their longest side in pixels.
WRITTEN: dict[str, tuple[dict[str, object], int]] = {
    "JPEG": ({"quality": 95, "subsampling": 0}, 65535),
    "PNG": ({}, 2**31 - 1),
    "WEBP": ({"quality": 95}, 16383),
    "AVIF": ({"quality": 95, "subsampling": "4:4:4"}, 65535),
    "TIFF": ({"compression": "tiff_adobe_deflate"}, 2**31 - 1),
    "BMP": ({}, 2**31 - 1),
    "PPM": ({}, 2**31 - 1),
}
WITH_ALPHA = ("PNG", "WEBP", "AVIF", "TIFF")
# An ICC profile says at this place what colours it is for.
COLOUR_SPACE = slice(16, 20)
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True)
class Picture:
    """A picture file: pixels (1 or 3, H, W) in [-1, 1], alpha (H, W) uint8 where it has one, its ICC profile."""

    pixels: Tensor
    alpha: np.ndarray | None = None
    icc_profile: bytes | None = None


def read_picture(path: Path) -> Tensor:
    """The pixels of `read`, (1 or 3, H, W) in [-1, 1]."""
    return read(path).pixels


def read(path: Path) -> Picture:
    """A file in its own size, upright; of 16 bits with 8, of a film or of several pages the first, with a warning.

    Under transparent parts the colour is as it is stored. A profile for other colours than those that are read (of
    CMYK) is left out, with a warning. Raises ValueError with the file's name.
    """
    with _named(path), Image.open(path) as opened:
        frames = getattr(opened, "n_frames", 1)
        if frames > 1:
            warnings.warn(f"{path} has {frames} frames or pages; only the first is restored", stacklevel=2)
        profile = opened.info.get("icc_profile")
        grey, alpha = opened.mode in GREY_MODES, None
        # Transparency that is one colour of 16-bit grey is lost with its bits.
        image = eight_bits(ImageOps.exif_transpose(opened), str(path))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            alpha = np.asarray(image.getchannel("A"))
        image = image.convert("RGB").convert("L" if grey else "RGB")
        pixels = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
    expected = b"GRAY" if grey else b"RGB "
    if profile and profile[COLOUR_SPACE] != expected:
        warnings.warn(f"{path} has a profile for other colours than those that are restored; left out", stacklevel=2)
        profile = None
    return Picture(as_float(torch.from_numpy(pixels.copy())), alpha, profile or None)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def format_of(suffix: str) -> str | None:
    """Pillow's name of the format that a suffix such as ".jpg" stands for; None where it cannot hold what is written.

    That is so of formats that Pillow reads only, or that have a palette.
    """
    Image.init()
    name = Image.registered_extensions().get(suffix.lower(), "")
    return name if name in WRITTEN and name in Image.SAVE else None


def name_of(source: Path, way: str) -> str:
    """photo.jpg, "tacos" -> photo-tacos.jpg; where a format cannot be written, .png is added: film-tacos.gif.png."""
    return f"{source.stem}-{way}{source.suffix}" + ("" if format_of(source.suffix) else ".png")


def encoded(pixels: Tensor, like: Picture, name: str) -> bytes:
    """The file `name` of pixels (1 or 3, H, W) in [-1, 1] with 8 bits; alpha and profile as of the picture `like`."""
    kind = format_of(Path(name).suffix)
    assert kind is not None, name
    image = _image([pixels])
    if like.alpha is not None and kind in WITH_ALPHA:
        alpha = Image.fromarray(like.alpha)
        image.putalpha(alpha if alpha.size == image.size else alpha.resize(image.size, Image.Resampling.BOX))
    elif like.alpha is not None:
        warnings.warn(f"{name}: a {kind} file holds no transparency, which is left out", stacklevel=2)
    return _file(image, kind, like.icc_profile)


def compared(ways: list[Tensor], like: Picture, name: str) -> bytes:
    """Pictures (1 or 3, H, W) in [-1, 1] side by side, white between them; reduced where the format ends before."""
    kind = format_of(Path(name).suffix)
    assert kind is not None, name
    image, longest = _image(ways), WRITTEN[kind][1]
    if max(image.size) > longest:
        image = image.reduce(-(-max(image.size) // longest))
    return _file(image, kind, like.icc_profile)


GAP = 6  # pixels between pictures that are compared


def _image(pictures: list[Tensor]) -> Image.Image:
    """Rounded as `pixels.quantise` does, a channel at a time: a large picture in float64 is eight times its file."""
    channels, height, width = pictures[0].shape
    canvas = np.full((height, len(pictures) * (width + GAP) - GAP, channels), 255, np.uint8)
    for number, picture in enumerate(pictures):
        left = number * (width + GAP)
        for channel in range(channels):
            scaled = picture[channel].cpu().double().add_(1).mul_(127.5).round_().clamp_(0, 255)
            canvas[:, left : left + width, channel] = scaled.byte().numpy()
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def _file(image: Image.Image, kind: str, icc_profile: bytes | None) -> bytes:
    buffer = io.BytesIO()
    profile = {"icc_profile": icc_profile} if icc_profile else {}
    image.save(buffer, kind, **WRITTEN[kind][0], **profile)
    return buffer.getvalue()
