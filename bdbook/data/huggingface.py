"""Image sets of the Hugging Face hub: read once, preprocessed to 8-bit pixels, then mapped from a file.

A set is looked for in two places: below the folder that the variable BDBOOK_DATASETS names, in owner/name as
`hf download --repo-type dataset owner/name --local-dir` leaves it, and else on the hub itself, whose client keeps
a cache of its own. The pixels are kept below BDBOOK_CACHE (~/.cache/bdbook), a file for each request, made anew when
a local copy changes. What is read off the hub is taken to stay as it is: delete the file to read it again. A
preprocessing that was killed may leave a file *.part, which nothing reads.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shlex
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from bdbook.data import reading
from bdbook.errors import unknown
from bdbook.transforms import Size, height_width

SOURCES = "BDBOOK_DATASETS"
CACHE = "BDBOOK_CACHE"
HELD_OUT = 20  # where a set has no split for testing, rows 19, 39, 59, ... are held out of the training split
SHARD = re.compile(r"(.*)-\d{5}-of-(\d{5})\b.*")  # train-00003-of-00019.parquet, a hash before the dot in older ones


def load(name: str, size: Size, channels: int | None = None, count: int | None = None, split: str = "train") -> Tensor:
    """The first `count` images of a set in the order of its files, (count, channels, H, W) uint8.

    The tensor is a private view of a file: it need not fit in memory, and writing to it does not change the file.
    name: of DATASETS. size: side in pixels or (height, width), to whose aspect images are cut. channels: 1, 3, or
    None for what the set has. count: None for all. split: "train" or "test".
    """
    if name not in DATASETS:
        raise unknown("dataset of the hub", name, DATASETS)
    chosen = DATASETS[name]
    shape = (chosen.channels if channels is None else channels, *height_width(size))
    reading.check_request(shape[0], count, split)
    folder = local_copy(chosen)
    cache = Path(os.environ.get(CACHE) or "~/.cache/bdbook").expanduser()
    sides = "x".join(map(str, shape))
    path = cache / f"{name}-{split}-{sides}-{count or 'all'}-{_fingerprint(chosen, folder)}.npy"
    if not path.is_file():
        skipped: list[str] = []
        images = _images(name, _rows(name, folder, split), folder, split, shape, skipped)
        _write(path, images, shape, count, f"{name}, split {split!r}", skipped)
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def local_copy(chosen: HubSet) -> Path | None:
    """The folder of a set below BDBOOK_DATASETS, if it is there."""
    root = os.environ.get(SOURCES)
    folder = Path(root).expanduser().resolve() / chosen.repository if root else None
    return folder if folder and folder.is_dir() else None


def download_command(chosen: HubSet) -> str:
    """What to run on a machine with a network to get a local copy."""
    root = os.environ.get(SOURCES) or "FOLDER"
    folder = shlex.quote(f"{root}/{chosen.repository}")
    return f"hf download --repo-type dataset {chosen.repository} --local-dir {folder}"


def _library() -> Any:
    """The library `datasets`, imported late since that takes a second."""
    # Both are read during the import: no report of the installed packages and no count of loads goes out.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'sets of the hub need the library datasets ({error}): pip install "bdbook[hub]"', name=error.name
        ) from error
    return datasets


def _files(folder: Path) -> list[Path]:
    """Files below a folder, relative to it, sorted; hidden ones, which the hub's client adds, are not."""
    found = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return sorted(file for file in found if not any(part.startswith(".") for part in file.parts))


def _fingerprint(chosen: HubSet, folder: Path | None) -> str:
    """Changes with the way a set is read, and with any file of a local copy."""
    lines = [repr(chosen), f"every {HELD_OUT}"]
    if folder:
        for file in _files(folder):
            status = (folder / file).stat()
            lines.append(f"{file.as_posix()} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _rows(name: str, folder: Path | None, split: str) -> Iterable[dict[str, Any]]:
    """The rows of the split that is read, with their images undecoded and no other column."""
    datasets, chosen = _library(), DATASETS[name]
    part = chosen.test if split == "test" and chosen.test else chosen.train
    if folder:
        _check_shards(folder, part, chosen)
    try:
        # Streamed, a local copy is read where it lies; else the library would write it out once more.
        where = {"path": str(folder), "streaming": True} if folder else {"path": chosen.repository}
        found = datasets.load_dataset(**where)
    except Exception as error:  # those of the hub's client differ by version and by what went wrong
        raise _not_found(name, folder, error) from error
    place = _place(chosen, folder)
    if part not in found:
        raise ValueError(f"{place} has no split {part!r}, which {name} needs; its splits: {', '.join(found)}")
    columns = found[part].column_names or []
    if chosen.column not in columns:
        raise ValueError(f"{place} has no column {chosen.column!r} of images; its columns: {', '.join(columns)}")
    rows = found[part].select_columns([chosen.column])
    stored = isinstance(rows.features[chosen.column], datasets.Image)
    undecoded: Iterable[dict[str, Any]] = (
        rows.cast_column(chosen.column, datasets.Image(decode=False)) if stored else rows
    )
    return undecoded


def _place(chosen: HubSet, folder: Path | None) -> str:
    return f"the local copy {str(folder)!r}" if folder else f"{chosen.repository} on the hub"


def _not_found(name: str, folder: Path | None, error: Exception) -> OSError:
    """What to raise when neither a local copy nor the hub could be opened."""
    chosen, root = DATASETS[name], os.environ.get(SOURCES)
    if folder:
        listing = ", ".join(str(file) for file in _files(folder)[:5]) or "nothing"
        return OSError(
            f"the local copy {str(folder)!r} of dataset {name!r} cannot be opened ({error}); it holds {listing}, "
            f"expected were parquet files or folders of images. Get it again: {download_command(chosen)}"
        )
    looked = f"in {root}/{chosen.repository}" if root else f"in a local copy ({SOURCES} is not set)"
    return FileNotFoundError(
        f"dataset {name!r} was found neither {looked} nor as {chosen.repository} on the Hugging Face hub or in its "
        f"cache ({error}). On a machine with a network, run: {download_command(chosen)}\n"
        f"and set {SOURCES}={root or 'FOLDER'} here, the folder that now holds it"
    )


def _check_shards(folder: Path, part: str, chosen: HubSet) -> None:
    """Raise if some of the numbered files of a split are missing, as after an interrupted download."""
    matches = (SHARD.fullmatch(file.as_posix()) for file in _files(folder))
    present = Counter(match.groups() for match in matches if match and Path(match[1]).name == part)
    for (stem, total), number in present.items():
        if number < int(total):
            raise ValueError(
                f"the local copy {str(folder)!r} has {number} of the {int(total)} files {stem}-*: finish the "
                f"download: {download_command(chosen)}"
            )


def _images(
    name: str,
    rows: Iterable[dict[str, Any]],
    folder: Path | None,
    split: str,
    shape: tuple[int, int, int],
    skipped: list[str],
) -> Iterator[np.ndarray]:
    """Pixels (C, H, W) uint8 of each row of a split; of one that cannot be read a note is added to `skipped`."""
    chosen, (channels, height, width) = DATASETS[name], shape
    for i, row in enumerate(_guarded(rows, name, folder)):
        if chosen.test is None and (i % HELD_OUT == HELD_OUT - 1) != (split == "test"):
            continue
        cell = row[chosen.column]
        if cell is None:
            cell = {"bytes": b"", "path": None}  # as unreadable as a damaged one
        if not isinstance(cell, dict) or not {"bytes", "path"} <= cell.keys():
            kind = type(cell).__name__
            raise ValueError(f"{_place(chosen, folder)}: column {chosen.column!r} holds no images but {kind}")
        try:
            file = cell["path"] if cell["bytes"] is None else io.BytesIO(cell["bytes"])
            image = _central_square(reading.read_image(file, channels), chosen.crop)
        except reading.UNREADABLE as error:
            skipped.append(f"row {i}: {error}")
            continue
        yield np.atleast_3d(np.asarray(reading.resize(image, (height, width)))).transpose(2, 0, 1)


def _guarded(rows: Iterable[dict[str, Any]], name: str, folder: Path | None) -> Iterator[dict[str, Any]]:
    """The same rows; says of which set a file was damaged."""
    try:
        yield from rows
    except Exception as error:  # as in _rows
        raise _not_found(name, folder, error) from error


def _central_square(image: Image.Image, side: int | None) -> Image.Image:
    """The square of `side` px in the middle, or what fits; None: the whole image."""
    if side is None:
        return image
    side = min(side, image.width, image.height)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _header(shape: tuple[int, ...]) -> bytes:
    """How a .npy file of 8-bit pixels begins; as long for any number of images."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def _write(
    path: Path, images: Iterator[np.ndarray], shape: tuple[int, ...], count: int | None, what: str, skipped: list[str]
) -> None:
    """The first `count` images as a .npy file, which appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{uuid4().hex[:8]}.part")  # its own for each process
    number = 0
    try:
        with open(unfinished, "wb") as file:
            file.write(_header((0, *shape)))
            for image in tqdm(islice(images, count), total=count, desc=what, unit="image", disable=None):
                file.write(image.tobytes())
                number += 1
            file.seek(0)
            file.write(_header((number, *shape)))
            file.flush()
            os.fsync(file.fileno())
        if not number:
            raise ValueError(f"{what}, has no image that can be read: {skipped[0] if skipped else 'it has no rows'}")
        if count is not None and number < count:
            raise ValueError(f"{what}, has {number} images, {count} were asked for: lower count or leave it out")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    if skipped:
        warnings.warn(f"left out {len(skipped)} row(s) of {what}, which cannot be read; {skipped[0]}", stacklevel=3)


@dataclass(frozen=True)
class HubSet:
    """Where a set lies on the hub, and how it is read.

    repository: owner/name. column: that of the images. channels: as stored. train, test: its splits; with test None
    every 20th row of train is for testing. crop: side in px of the central square that is taken, None for all.
    """

    repository: str
    column: str = "image"
    channels: int = 3
    train: str = "train"
    test: str | None = "test"
    crop: int | None = None


# Layouts as checked against stored pages of the hub (file listings and cards); no file of it could be opened.
DATASETS: dict[str, HubSet] = {
    # mnist/{train,test}-00000-of-00001.parquet by its card: 60000 and 10000 images of 28 px.
    "mnist": HubSet("ylecun/mnist", channels=1),
    # fashion_mnist/{train,test}-00000-of-00001.parquet by the commit that made them: 60000 and 10000 images of 28 px.
    # `fashion` falls back to it, and gives it a border.
    "fashion-mnist": HubSet("zalando-datasets/fashion_mnist", channels=1),
    # plain_text/{train,test}-00000-of-00001.parquet: 50000 and 10000 images of 32 px.
    "cifar10": HubSet("uoft-cs/cifar10", column="img"),
    # img_align+identity+attr/train-00000-of-00019.parquet, test-00000-of-00003.parquet: all 202599 aligned images,
    # 178x218, with the official splits train, valid, test (19962). Others offer archives with a script, which the
    # library no longer runs. Crop: 140 px for Soft diffusion, after the code of Song et al. (2021), is the default
    # here; Bansal says 128x128 and no more (whence a square of the full 178 px is common); Lee and HS do not use it.
    "celeba": HubSet("flwrlabs/celeba", crop=140),
    # data/train-0000{0,1}-of-00002.parquet: 16130 images of 512 px, training and validation images of version 1 in
    # one split, perhaps sorted by class: hence a test split spread over it. Column and number by others' code.
    "afhq": HubSet("huggan/AFHQ", test=None),
    # data/train-00000-of-00009-5beebd96eb33b02b.parquet, ...: 287968 and 15157 images, about a tenth of LSUN's
    # bedrooms (its card says 20 %). Cut to the aspect of the size asked for; Lee resized without cropping.
    "lsun-bedroom": HubSet("pcuenq/lsun-bedrooms"),
    # data/train-00000-of-00001-6cbaf0200a9bf96f.parquet, ...: LSUN's 126227 training images, split by its owner
    # into 119915 and 6312; 256 px or more. The file names by others' code. Cut and resized as the bedrooms.
    "lsun-church": HubSet("tglcourse/lsun_church_train"),
}
