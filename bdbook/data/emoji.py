"""Emoji in colour: the pictures of the font Noto Color Emoji of Google (OFL 1.1), with their Unicode names.

The font is looked for in two places, in this order: where Debian's package fonts-noto-color-emoji has it, and as
`FILE` in the folder emoji below the one that the variable BDBOOK_DATASETS names. Any version will do whose pictures are
bitmaps (tables CBDT and CBLC, PNG files of 136x128 px); a run's record tells the versions apart by the fingerprint of
their pixels. Version 2.042, of Unicode 15.1, has 3,916 pictures that differ, 2,986 to train on and 930 to test; 1,890
of them show a shade of skin, and 351 are flags.

In which split a picture is, and its place there, are decided by hashes of its characters, so that another version of
the font moves none to the other side. Skin tones, genders, directions, digits, hours of the clock, and families of
whatever members are variants of one picture, and stay together (`base`); 1,707 pictures are no variants of each other.
What merely looks alike does not, as the flags of Chad and Romania. At 32 px in [-1, 1] the root mean square of the
difference from the nearest training picture has a median of 0.41 for test pictures, of 0.19 for training pictures.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bdbook.data import huggingface
from bdbook.data.reading import UNREADABLE, check_request, dividing, read_image, take
from bdbook.transforms import Size

NAME, FILE = "emoji", "NotoColorEmoji.ttf"
DEBIAN = Path("/usr/share/fonts/truetype/noto") / FILE
# Width and height as stored, and the side of the middle: the outer columns are empty.
STORED, SIDE = (136, 128), 128
# One in so many bases is for testing, as in a folder.
HELD_OUT = 5
JOINER, SHADES = "\u200d", "".join(map(chr, range(0x1F3FB, 0x1F400)))  # from light to dark, by Fitzpatrick's scale
LETTERS, TAGS = ord("🇦") - ord("A"), 0xE0000  # what flags are spelt with: A as an indicator of regions, or as a tag
# What makes a variant of a picture is left out of its base, or stands there for all variants.
VARIANTS = str.maketrans(
    {
        **dict.fromkeys(f"{JOINER}{SHADES}♀♂➡\N{COMBINING ENCLOSING KEYCAP}", ""),
        **dict.fromkeys("👨👩", "🧑"),
        **dict.fromkeys("👦👧", "🧒"),
        **dict.fromkeys("0123456789*", "#"),
        **dict.fromkeys("👴👵", "🧓"),
        **dict.fromkeys("🤴👸", "🫅"),
        **dict.fromkeys("🎅🤶", "🧑🎄"),
        **dict.fromkeys("👫👬👭", "🧑🫱🫲"),
        **dict.fromkeys(map(chr, range(ord("🕐"), ord("🕧") + 1)), "🕐"),
        "🕺": "💃",
        "🤝": "🫱🫲",
        "👪": "🧑🧒",
        "💑": "🧑❤",
        "💏": "🧑❤💋",
    }
)
# What fontTools raises on damaged files depends on where they are damaged.
DAMAGED = (struct.error, LookupError, AssertionError, AttributeError, TypeError, ValueError, OverflowError)


def load(size: Size, channels: int = 3, count: int | None = None, split: str = "train") -> Tensor:
    """The first `count` pictures of a split, (count, channels, H, W) uint8, on white as those of a folder.

    size: a side that divides 128, of which each pixel is the mean of an area, rounded to 8 bits. channels: 3, or 1 for
    grey. Raises FileNotFoundError where the font is in neither place, ValueError where it is damaged or has no bitmaps.
    """
    check_request(channels, count, split)
    side, file = dividing(size, SIDE, NAME), font()
    places = take(_places(file, _stamp(file), split), count, f"{NAME}, split {split!r},")
    return torch.from_numpy(_pixels(file, _stamp(file), side, channels)[places])


def names(split: str = "train", count: int | None = None) -> list[str]:
    """What the pictures of `load` show, in Unicode's words: "GRINNING FACE", "WOMAN, ROCKET", "FLAG FR".

    Of a sequence the names of its characters, less joiners; of a flag its letters; of a picture that stands for several
    all of them, "FLAG CP or FLAG FR or FLAG MF". A character that is younger than this Python's tables of Unicode is
    named by its number, "U+1FAE8".
    """
    check_request(3, count, split)
    file = font()
    places = take(_places(file, _stamp(file), split), count, f"{NAME}, split {split!r},")
    texts = [text for text, _ in _glyphs(file, _stamp(file))]
    return [" or ".join(map(_name, texts[place])) for place in places]


def base(text: str) -> str:
    """The characters of an emoji that its variants share, sorted: "🧑🚀" for the astronaut of any gender and skin."""
    return "".join(sorted(set(text.translate(VARIANTS))))


def font() -> Path:
    """The first of the two files that is there, Debian's or the one below BDBOOK_DATASETS."""
    root = os.environ.get(huggingface.SOURCES)
    files = [DEBIAN, *([Path(root).expanduser() / NAME / FILE] if root else [])]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"{NAME}: the font Noto Color Emoji was not found. {_ways()}")
    return found


def read(file: Path) -> list[tuple[tuple[str, ...], bytes]]:
    """The pictures of a font, each once: the texts that show it, none longer than another, and its PNG file.

    In the order of a hash of the texts. Raises ValueError where the file is no font, is damaged or has no bitmaps.
    """
    from fontTools.ttLib import TTFont, TTLibError  # of use here alone, and it takes its time

    shown: dict[bytes, set[str]] = {}
    try:
        with TTFont(file, lazy=True) as opened:
            if "CBDT" in opened:
                texts, images = _texts(opened), opened["CBDT"].strikeData[0]
                for glyph in filter(texts.__contains__, images):
                    shown.setdefault(images[glyph].imageData, set()).update(texts[glyph])
    except (TTLibError, *DAMAGED) as error:
        raise _damaged(file, error) from error
    if not shown:
        raise ValueError(
            f"{str(file)!r} is a font without bitmaps of characters (table CBDT); Noto Color Emoji is made with curves "
            f"too, which are not read here. {_ways()}"
        )
    pictures = [(_shortest(texts), image) for image, texts in shown.items()]
    return sorted(pictures, key=lambda picture: _hash(picture[0][0]))


def _texts(opened: Any) -> dict[str, set[str]]:
    """Glyph -> the texts that it stands for, by the font's tables of characters and of ligatures."""
    character = {glyph: chr(code) for code, glyph in opened.getBestCmap().items()}
    # Old telephones had emoji in the area for private use.
    texts = {glyph: {letter} for glyph, letter in character.items() if unicodedata.category(letter) != "Co"}
    lookups = opened["GSUB"].table.LookupList.Lookup if "GSUB" in opened else []
    for table in (table for lookup in lookups for table in lookup.SubTable):
        for first, ligatures in getattr(getattr(table, "ExtSubTable", table), "ligatures", {}).items():
            for ligature in ligatures:
                glyphs = [first, *ligature.Component]
                if character.keys() >= set(glyphs):
                    texts.setdefault(ligature.LigGlyph, set()).add("".join(character[glyph] for glyph in glyphs))
    return texts


def _shortest(texts: Iterable[str]) -> tuple[str, ...]:
    """Of the texts of a picture the shortest, sorted; of a sequence and its mirror image one.

    Noto has sequences in both directions, since text runs from right to left too. Unicode's own begins with a person
    where there is one, and has no shade behind a joiner; elsewhere the greater is taken, which is a guess.
    """
    one_way: dict[str, str] = {}
    for text in sorted(texts, key=_likely):
        one_way["".join(sorted(text)) if JOINER in text else text] = text
    least = min(map(len, one_way.values()))
    return tuple(sorted(text for text in one_way.values() if len(text) == least))


def _likely(text: str) -> tuple[bool, bool, str]:
    return not any(JOINER + shade in text for shade in SHADES), text[0] in "👨👩🧑", text


def _name(text: str) -> str:
    """A flag by its letters, FLAG FR or FLAG GBSCT, anything else by the names of its characters."""
    codes = [ord(letter) for letter in text]
    regions = [code - LETTERS for code in codes if ord("A") <= code - LETTERS <= ord("Z")]
    tags = [code - TAGS for code in codes if ord(" ") <= code - TAGS <= ord("~")]
    if len(regions) == 2 or tags:
        return "FLAG " + "".join(map(chr, regions or tags)).upper()
    return ", ".join(unicodedata.name(letter, f"U+{ord(letter):04X}") for letter in text if letter != JOINER)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _stamp(file: Path) -> int:
    """Changes when a file is replaced, which then is read again."""
    return file.stat().st_mtime_ns


@lru_cache(maxsize=1)
def _glyphs(file: Path, stamp: int) -> list[tuple[tuple[str, ...], bytes]]:
    return read(file)


@lru_cache(maxsize=2)
def _places(file: Path, stamp: int, split: str) -> list[int]:
    """Which pictures of a font are in a split."""
    tests = [_hash(base(texts[0])) % HELD_OUT == 0 for texts, _ in _glyphs(file, stamp)]
    return [place for place, is_test in enumerate(tests) if is_test == (split == "test")]


@lru_cache(maxsize=4)
def _pixels(file: Path, stamp: int, side: int, channels: int) -> np.ndarray:
    """All pictures of a font, both splits, (N, channels, side, side) uint8."""
    border = (STORED[0] - SIDE) // 2
    pixels = []
    for texts, png in _glyphs(file, stamp):
        try:
            image = read_image(io.BytesIO(png), channels)
        except UNREADABLE as error:
            raise _damaged(file, error) from error
        if image.size != STORED:
            raise ValueError(
                f"{str(file)!r} has a picture of {image.width}x{image.height} px, {_name(texts[0])}; expected was "
                f"{STORED[0]}x{STORED[1]}, as in Noto Color Emoji: {_ways()}"
            )
        image = image.crop((border, 0, border + SIDE, SIDE)).reduce(SIDE // side)
        pixels.append(np.atleast_3d(np.asarray(image)))
    return np.ascontiguousarray(np.stack(pixels).transpose(0, 3, 1, 2))


def _damaged(file: Path, error: Exception) -> ValueError:
    return ValueError(f"{str(file)!r} is damaged, or no font ({type(error).__name__}: {error}): get it again")


def _ways() -> str:
    """What to do to have it."""
    root = os.environ.get(huggingface.SOURCES)
    place = f"{root}/{NAME}" if root else f"a folder FOLDER/{NAME}, and {huggingface.SOURCES}=FOLDER"
    ways = [
        "on Debian or Ubuntu: apt-get install fonts-noto-color-emoji",
        f"its file {FILE}, of the kind with bitmaps, in {place}",
    ]
    return f"There are {len(ways)} ways to have it:" + "".join(f"\n- {way}" for way in ways)
