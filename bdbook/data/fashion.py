"""Fashion-MNIST: 70,000 grey pictures of ten kinds of clothes, by Xiao, Rasul and Vollgraf (2017), read where it lies.

It is looked for in three places, in this order: the files of Debian's package dataset-fashion-mnist; the same four
(`FILES`, as they are or with .gz) in the folder fashion-mnist below the one that the variable BDBOOK_DATASETS names;
and the set "fashion-mnist" of `huggingface`, a local copy or the hub itself. Of a file its content is checked, so that
it does not matter who compressed it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bdbook.data import huggingface
from bdbook.data.reading import check_request, dividing, take
from bdbook.transforms import Size

NAME, ON_HUB = "fashion", "fashion-mnist"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
STEMS = {"train": "train", "test": "t10k"}
# SHA-256 of what the files hold when they are not compressed; computed from version 0.0~git20200523.55506a9-1 of the
# package.
FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
# As stored, and with a black border to a power of two.
STORED, SIDE = 28, 32


def load(size: Size, channels: int = 1, count: int | None = None, split: str = "train") -> Tensor:
    """The first `count` pictures of a split (60,000 to train on, 10,000 to test), (count, channels, H, W).

    size: 32, the 28 px as they are within a border of -1, uint8; or a side that divides 32, as 16, of which each pixel
    is the mean of an area of those, float32 in [-1, 1]. channels: 1, or 3 of the same grey. Raises FileNotFoundError
    where it lies in none of the three places.
    """
    check_request(channels, count, split)
    side = dividing(size, SIDE, NAME, f'. Its {STORED} px without a border are the set "{ON_HUB}" of the hub')
    found = folder_of(_images(split))
    if found is None:
        pictures = _of_the_hub(count, split)
    else:
        pictures = take(read(found, _images(split)), count, f"{NAME}, split {split!r},")
    border = (SIDE - STORED) // 2
    padded = np.pad(pictures, ((0, 0), (border, border), (border, border)))
    if side < SIDE:
        parts = padded.reshape(-1, side, SIDE // side, side, SIDE // side)
        padded = parts.mean((2, 4), dtype=np.float32) / np.float32(127.5) - 1
    return torch.from_numpy(padded)[:, None].repeat(1, channels, 1, 1)


def labels(split: str = "train", count: int | None = None) -> Tensor:
    """Which of CLASSES the pictures of `load` show, (count,) int64; from the files alone, not from the hub."""
    check_request(1, count, split)
    name = f"{STEMS[split]}-labels-idx1-ubyte"
    found = folder_of(name)
    if found is None:
        raise FileNotFoundError(f"{name} was not found, which has the labels. {how_to_have_it(hub=False)}")
    return torch.from_numpy(take(read(found, name), count, f"{NAME}, split {split!r},").astype(np.int64))


def folder_of(name: str) -> Path | None:
    """The first folder that has one of FILES, compressed or not: Debian's, then the one below BDBOOK_DATASETS."""
    root = os.environ.get(huggingface.SOURCES)
    folders = [DEBIAN, *([Path(root).expanduser() / ON_HUB] if root else [])]
    return next((folder for folder in folders if _file(folder, name)), None)


def read(folder: Path, name: str) -> np.ndarray:
    """The numbers of one of FILES in a folder, uint8: (N, 28, 28) of pictures, (N,) of labels.

    The format idx is four bytes, the last of which says how many dimensions there are, their sizes as big-endian
    integers of 32 bits, and the numbers. Raises ValueError where the content is not that of Fashion-MNIST.
    """
    file = _file(folder, name)
    if file is None:
        raise FileNotFoundError(f"there is no {name} in {str(folder)!r}, nor {name}.gz. {how_to_have_it()}")
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{str(file)!r} is damaged ({error}): get it again") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != FILES[name]:
        raise ValueError(
            f"{str(file)!r} is not Fashion-MNIST's: the SHA-256 of its content is {digest}, expected was "
            f"{FILES[name]}. It is damaged, or of another set (MNIST has files of the same names): get it again"
        )
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 * (1 + dimensions)).reshape(shape)


def _images(split: str) -> str:
    return f"{STEMS[split]}-images-idx3-ubyte"


def _file(folder: Path, name: str) -> Path | None:
    return next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)


def _of_the_hub(count: int | None, split: str) -> np.ndarray:
    try:
        return huggingface.load(ON_HUB, STORED, 1, count, split)[:, 0].numpy()
    except (FileNotFoundError, ModuleNotFoundError) as error:
        told = f"{NAME}: Fashion-MNIST was not found. {how_to_have_it()}\nThe hub said: {error}"
        raise FileNotFoundError(told) from error


def how_to_have_it(hub: bool = True) -> str:
    """The ways to have the files, in words for an error; hub: with the one through the hub."""
    download = huggingface.download_command(huggingface.DATASETS[ON_HUB])
    root = os.environ.get(huggingface.SOURCES)
    ways = [
        "on Debian or Ubuntu: apt-get install dataset-fashion-mnist",
        f"its files {', '.join(FILES)}, as they are or with .gz, in "
        + (f"{root}/{ON_HUB}" if root else f"a folder FOLDER/{ON_HUB}, and {huggingface.SOURCES}=FOLDER"),
        f'from the Hugging Face hub: pip install "bdbook[hub]" and a network, or a copy of it: {download}',
    ]
    ways = ways[: None if hub else 2]
    return f"There are {len(ways)} ways to have it:" + "".join(f"\n- {way}" for way in ways)
