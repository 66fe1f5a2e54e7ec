"""What somebody's own data lie in, as samples of one shape: pictures, arrays, latents, sound.

    PATH                     a folder of pictures, or of sounds
    PATH.npy                 an array, read by memory map: it may be larger than the memory
    PATH.npz:NAME            an array of an archive; the name may be left out where there is one
    PATH.safetensors:NAME    a tensor, as latents are kept; only what is asked for is read
    PATH.wav                 a sound, a channel a track

The axes of an array are told by a layout, a letter each: N the samples, C the channels, X one of one to three axes
along which there are frequencies. Nothing is unpickled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from bdbook.data import folders, reading

# Bytes of float64 that a batch may have, and coefficients that a sample may: a few arrays of as many are kept.
BATCH, LARGEST = 16 * 2**20, 2**23
# Bytes of pictures, resized, that are kept for the second time they are asked for: reading a file costs the most.
KEPT = 256 * 2**20
# Windows are cut where there are fewer samples than this, since each coefficient needs some for a variance.
FEW = 16
ORIENTATION = 0x0112  # in a picture's EXIF
SOUND_WINDOW, PICTURE_SIDE = 1024, 64
LAYOUTS = {1: ("X",), 2: ("NX", "CX", "XX"), 3: ("NXX", "NCX", "CXX", "XXX"), 4: ("NCXX",), 5: ("NCXXX",)}
MEANING = {
    "X": "one series",
    "NX": "N series",
    "CX": "a series of several channels",
    "XX": "one field",
    "NXX": "N grey pictures",
    "NCX": "N series of several channels",
    "CXX": "a field of several channels",
    "XXX": "one volume",
}


@dataclass(frozen=True)
class Samples:
    """Samples of one shape, (C, *axes), read again and again without being kept.

    name: what was asked for. total: how many there are; picked: those that are read, spread evenly. read: numbers of
    samples (n,) -> (n, C, *axes) float64, as stored. pixels: whether they are 8-bit grey levels. rate: samples a
    second, of sound. cut: how they were cut from something larger, in words; "" where they were not.
    """

    name: str
    shape: tuple[int, ...]
    total: int
    picked: np.ndarray
    read: Callable[[np.ndarray], np.ndarray]
    pixels: bool = False
    rate: int | None = None
    cut: str = ""

    def __len__(self) -> int:
        return len(self.picked)

    def batches(self) -> Iterator[np.ndarray]:
        """All that are picked, (n, C, *axes) float64 and finite; ValueError where one is not a number."""
        size = max(1, BATCH // (8 * math.prod(self.shape)))
        for begin in range(0, len(self.picked), size):
            places = self.picked[begin : begin + size]
            batch = self.read(places)
            if not np.isfinite(batch).all():
                wrong = ~np.isfinite(batch).reshape(len(batch), -1).all(1)
                raise ValueError(
                    f"{self.name}: sample {places[wrong][0]} has a NaN or infinite value, and so have {wrong.sum()} of "
                    f"the {len(batch)} around it; leave such samples out, or fill what is missing"
                )
            yield batch


def samples(
    source: str | Path | np.ndarray,
    layout: str | None = None,
    window: Sequence[int] | None = None,
    size: int | None = None,
    limit: int = 20_000,
) -> Samples:
    """Open what `source` names, or an array.

    layout: of an array, e.g. "NCXX". window: cut samples into windows of so many values an axis, side by side; by
    default only where there are fewer than 16 samples. size: of pictures, the side to which they are cut and resized;
    by default they are as large as the smallest, at most 64 px; with a window they keep the size that they have. limit:
    the most samples to read, spread evenly over all. ValueError, with what was found and what to do, for what cannot be
    read.
    """
    if limit < 2:
        raise ValueError(f"limit was {limit}; expected at least 2 samples, of which a variance can be told")
    path, name = (None, "") if isinstance(source, np.ndarray) else _place(str(source))
    if path is not None and path.is_dir():
        return _folder(path, layout, window, size, limit)
    if size is not None:
        raise ValueError(f"size was {size}, which is for a folder of pictures; expected window, or neither")
    if path is None:
        return _cut(_Array("an array", source, layout), window, limit)
    if path.suffix.lower() == ".wav":
        return _cut(_Sounds([path], layout), window, limit)
    return _cut(_Array(str(source), _array(path, name), layout), window, limit)


def _place(source: str) -> tuple[Path, str]:
    """(path, name of an array in it); OSError where there is no such file."""
    stem, colon, name = source.rpartition(":")
    path, name = (Path(stem), name) if colon and not Path(source).exists() else (Path(source), "")
    if not path.exists():
        raise FileNotFoundError(
            f"there is no {source}; expected a folder of pictures or sounds, or a file .npy, .npz, .safetensors or .wav"
        )
    return path, name


class Store(Protocol):
    """Samples as they lie: part(k, window) reads (C, *window) float64 of one; sides are of all of them or of each."""

    name: str
    count: int
    channels: int
    pixels: bool
    rate: int | None

    def sides(self) -> tuple[int, ...] | list[tuple[int, ...]]: ...

    def part(self, place: int, where: tuple[slice, ...], /) -> np.ndarray: ...


# --- arrays ------------------------------------------------------------------------------------------------


def _array(path: Path, name: str) -> Any:
    """Something with a shape and a dtype that can be sliced: a memory map, an array, a slice of a tensor."""
    kind = path.suffix.lower()
    try:
        if kind == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        if kind == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return archive[_one_of(path, name, archive.files)]
        if kind == ".safetensors":
            from safetensors import safe_open

            opened: Any = safe_open(str(path), "np")
            return _Tensor(opened.get_slice(_one_of(path, name, list(opened.keys()))))
    except (EOFError, OSError, ValueError) as error:
        if isinstance(error, _Unnamed):
            raise
        raise ValueError(f"{path} cannot be read as {kind}: {error}") from error
    except Exception as error:  # safetensors has an error of its own, zipfile another
        raise ValueError(f"{path} cannot be read as {kind}: {error}") from error
    said = " (a pickle runs code when it is read, and none is read here: save the array as .npy)"
    raise ValueError(
        f"{path} ends in {kind or 'nothing'}{said if kind in ('.pt', '.pth', '.pkl', '.ckpt') else ''}; expected a "
        "folder, .npy, .npz, .safetensors or .wav"
    )


class _Unnamed(ValueError):
    """A file with several arrays, of which none was named."""


def _one_of(path: Path, name: str, names: list[str]) -> str:
    if name in names:
        return name
    if not name and len(names) == 1:
        return names[0]
    raise _Unnamed(f"{path} has {', '.join(names) or 'no array'}; expected one by name, e.g. {path}:{(*names, 'x')[0]}")


class _Tensor:
    """A tensor of a safetensors file, read in slices."""

    def __init__(self, part: Any):
        self.part, self.shape = part, tuple(part.get_shape())
        self.dtype = np.asarray(part[tuple(slice(0, 1) for _ in self.shape)]).dtype

    def __getitem__(self, places: Any) -> np.ndarray:
        return np.asarray(self.part[places])


class _Array:
    """Samples (N, C, *axes) of an array with a layout."""

    rate: int | None = None

    def __init__(self, name: str, array: Any, layout: str | None):
        self.name, self.array = name, array
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{name} has values of type {array.dtype}; expected real numbers")
        self.layout = _layout(name, tuple(array.shape), layout)
        sides = dict(zip(self.layout, array.shape))
        self.count, self.channels = sides.get("N", 1), sides.get("C", 1)
        self.axes = tuple(side for letter, side in zip(self.layout, array.shape) if letter == "X")
        self.pixels = array.dtype == np.uint8

    def sides(self) -> tuple[int, ...]:
        return self.axes

    def part(self, place: int, where: tuple[slice, ...]) -> np.ndarray:
        """(C, *window) float64 of one sample."""
        along = iter(where)
        cut = {"N": slice(place, place + 1), "C": slice(None)}
        found = np.asarray(self.array[tuple(next(along) if letter == "X" else cut[letter] for letter in self.layout)])
        order = [self.layout.index("C")] if "C" in self.layout else []
        order += [k for k, letter in enumerate(self.layout) if letter == "X"]
        first = [self.layout.index("N")] if "N" in self.layout else []
        found = found.transpose(first + order).astype(np.float64)
        return found.reshape(self.channels, *found.shape[-len(self.axes) :])


def _layout(name: str, shape: tuple[int, ...], layout: str | None) -> str:
    """The layout that was asked for, checked, or the only one that so many axes can have."""
    known = LAYOUTS.get(len(shape), ())
    if layout is None:
        if len(known) == 1 and not _channels_last(shape):
            return known[0]
        if len(known) == 1:
            raise ValueError(
                f"{name} has shape {shape}, which looks like channels last; say so, layout NXXC (or {known[0]} if "
                "they are not)"
            )
        ways = ", ".join(f"{way} ({MEANING[way]})" for way in known)
        if not known:
            raise ValueError(f"{name} has shape {shape}; expected 1 to 5 axes: samples, channels, 1 to 3 of space")
        raise ValueError(f"{name} has shape {shape}, which can be read in several ways; say which by layout: {ways}")
    letters = layout.upper()
    rest = letters.replace("X", "")
    if len(letters) != len(shape) or rest not in ("", "N", "C", "NC", "CN") or not 1 <= letters.count("X") <= 3:
        raise ValueError(
            f"layout was {layout!r} for shape {shape}; expected {len(shape)} letters: one to three X, and at most one "
            "N (samples) and one C (channels)"
        )
    return letters


def _channels_last(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[-1] <= 4 < shape[1]


# --- sounds and pictures -----------------------------------------------------------------------------------


class _Sounds:
    """Sounds of one rate and one number of tracks, each a sample (C, L)."""

    pixels = False

    def __init__(self, files: list[Path], layout: str | None):
        if layout is not None:
            raise ValueError(f"layout was {layout!r}, and a sound has its own, tracks and time; leave it out")
        self.files, self.opened = files, [_sound(file) for file in files]
        self.name = str(files[0] if len(files) == 1 else files[0].parent)
        kinds = {(rate, sound.shape[1]) for rate, sound in self.opened}
        if len(kinds) > 1:
            each = ", ".join(f"{rate} Hz with {tracks}" for rate, tracks in sorted(kinds))
            raise ValueError(f"{self.name} has sounds of several rates or numbers of tracks: {each}; expected one kind")
        ((rate, self.channels),) = kinds
        self.rate: int | None = rate
        self.count = len(files)

    def sides(self) -> list[tuple[int, ...]]:
        return [(len(sound),) for _, sound in self.opened]

    def part(self, place: int, where: tuple[slice, ...]) -> np.ndarray:
        sound = np.asarray(self.opened[place][1][where[0]])
        if sound.dtype == np.uint8:  # 8-bit sound is the only one without a sign
            return (sound.astype(np.float64).T - 128) / 128
        return sound.astype(np.float64).T / (1 if sound.dtype.kind == "f" else -float(np.iinfo(sound.dtype).min))


def _sound(file: Path) -> tuple[int, np.ndarray]:
    """(rate, (L, tracks) as stored)."""
    from scipy.io import wavfile

    try:
        try:
            rate, sound = wavfile.read(file, mmap=True)
        except ValueError:  # samples of 24 bits cannot be mapped
            rate, sound = wavfile.read(file)
    except Exception as error:  # scipy's own kinds depend on the damage
        raise ValueError(f"{file} cannot be read as a sound: {error}") from error
    return int(rate), sound if sound.ndim == 2 else sound[:, None]


class _Pictures:
    """The pictures of a folder, (1 or 3, H, W) in grey levels, as they are or cut to a square and resized."""

    pixels = True
    rate: int | None = None

    def __init__(self, path: Path, size: int | None):
        folder = folders.listed(path)
        self.name, self.files = str(path), sorted([*folder.train, *folder.test])
        self.count, self.size = len(self.files), size
        saturation = np.asarray(reading.read_image(self.files[0], 3).convert("HSV"))[..., 1]
        self.channels = 3 if saturation.any() else 1
        self._last: tuple[int, np.ndarray] | None = None
        self._kept: dict[int, np.ndarray] = {}

    def sides(self) -> tuple[int, ...] | list[tuple[int, ...]]:
        return (self.size, self.size) if self.size is not None else [_upright(file) for file in self.files]

    def part(self, place: int, where: tuple[slice, ...]) -> np.ndarray:
        return self._picture(place)[(slice(None), *where)].astype(np.float64)

    def _picture(self, place: int) -> np.ndarray:
        if place in self._kept:
            return self._kept[place]
        if self._last is None or self._last[0] != place:
            try:
                image = reading.read_image(self.files[place], self.channels)
            except reading.UNREADABLE as error:
                raise ValueError(f"{self.files[place]} cannot be read: {error}; take it out of the folder") from error
            if self.size is not None:
                image = reading.resize(image, (self.size, self.size))
            self._last = place, np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
            if self.size is not None and (len(self._kept) + 1) * self._last[1].nbytes <= KEPT:
                self._kept[place] = self._last[1]
        return self._last[1]


def _upright(file: Path) -> tuple[int, int]:
    """(height, width) of a picture as it is shown, from its head."""
    try:
        with Image.open(file) as opened:
            turned = opened.getexif().get(ORIENTATION, 1) >= 5  # the four that lie on their side
            return (opened.width, opened.height) if turned else (opened.height, opened.width)
    except reading.UNREADABLE as error:
        raise ValueError(f"{file} cannot be read: {error}; take it out of the folder") from error


def _folder(path: Path, layout: str | None, window: Sequence[int] | None, size: int | None, limit: int) -> Samples:
    sounds = sorted(file for file in path.iterdir() if file.suffix.lower() == ".wav")
    if sounds:
        if size is not None:
            raise ValueError(f"size was {size}, and {path} has sounds; expected window, or neither")
        return _cut(_Sounds(sounds, layout), window, limit)
    if layout is not None:
        raise ValueError(f"layout was {layout!r}, and {path} has pictures, which have their own; leave it out")
    if window is not None and size is not None:
        raise ValueError(
            f"window was {tuple(window)} and size {size}; expected one of them: windows are cut from pictures as they "
            "are, a size is what they are resized to"
        )
    found = _Pictures(path, size)
    if window is None and size is None:
        found = _Pictures(path, min(PICTURE_SIDE, *(min(_upright(file)) for file in found.files)))
    return _cut(found, window if size is None else (size, size), limit)


# --- windows -----------------------------------------------------------------------------------------------


def _cut(store: Store, window: Sequence[int] | None, limit: int) -> Samples:
    """The samples of a store, or the windows that lie side by side in them."""
    sides = store.sides()
    smallest = sides if isinstance(sides, tuple) else tuple(map(min, zip(*sides)))
    if not store.count or not store.channels or min(smallest) < 1:
        raise ValueError(f"{store.name} has no values: {store.count} samples of {store.channels} x {smallest}")
    alike = isinstance(sides, tuple) or len(set(sides)) == 1
    wanted = _window(store, smallest, window, alike)
    grids = [tuple(n // w for n, w in zip(of, wanted)) for of in ([sides] if isinstance(sides, tuple) else sides)]
    if len(grids) == 1:
        total = store.count * math.prod(grids[0])
    else:
        starts = np.concatenate([[0], np.cumsum([math.prod(grid) for grid in grids])])
        total = int(starts[-1])
    if total < 2:
        raise ValueError(
            f"{store.name} has one sample of {store.channels} x {' x '.join(map(str, wanted))}; expected at least 2, "
            "of which a variance can be told: give more, or a smaller window"
        )

    def read(places: np.ndarray) -> np.ndarray:
        out = np.empty((len(places), store.channels, *wanted))
        for k, number in enumerate(places.tolist()):
            if len(grids) == 1:
                (place, inside), grid = divmod(number, math.prod(grids[0])), grids[0]
            else:
                place = int(np.searchsorted(starts, number, side="right")) - 1
                inside, grid = number - int(starts[place]), grids[place]
            corner = np.unravel_index(inside, grid)
            out[k] = store.part(place, tuple(slice(int(c) * w, (int(c) + 1) * w) for c, w in zip(corner, wanted)))
        return out

    picked = np.arange(total) if total <= limit else np.linspace(0, total - 1, limit).round().astype(np.int64)
    words = "" if alike and wanted == smallest else f"windows of {' x '.join(map(str, wanted))}, side by side"
    return Samples(store.name, (store.channels, *wanted), total, picked, read, store.pixels, store.rate, words)


def _window(store: Store, sides: tuple[int, ...], window: Sequence[int] | None, alike: bool) -> tuple[int, ...]:
    """The window that was asked for, or all of a sample, halved until there are enough samples of a bearable size."""
    if window is not None:
        wanted = tuple(window) * len(sides) if len(window) == 1 else tuple(window)
        if len(wanted) != len(sides) or any(not 2 <= w <= n for w, n in zip(wanted, sides)):
            raise ValueError(
                f"window was {tuple(window)} for samples of {' x '.join(map(str, sides))}; expected one number or "
                f"{len(sides)}, each from 2 to the side"
            )
    elif store.rate is not None:
        wanted = (min(SOUND_WINDOW, *sides),)
    elif not alike:
        raise ValueError(f"{store.name} has samples of several shapes; expected a window, or a size for pictures")
    else:
        wanted = sides
        while _too_few(store, sides, wanted) and max(wanted) >= 8:
            longest = wanted.index(max(wanted))
            wanted = tuple(w // 2 if k == longest else w for k, w in enumerate(wanted))
    if store.channels * math.prod(wanted) > LARGEST:
        raise ValueError(
            f"a sample of {store.name} has {store.channels * math.prod(wanted):,} values; expected at most "
            f"{LARGEST:,}: give a window"
        )
    return wanted


def _too_few(store: Store, sides: tuple[int, ...], window: tuple[int, ...]) -> bool:
    """Whether there are too few windows, or they are too large."""
    count = store.count * math.prod(n // w for n, w in zip(sides, window))
    return count < FEW or store.channels * math.prod(window) > LARGEST
