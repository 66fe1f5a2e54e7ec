"""Which network's features stand for which images (`of`); and that of digits.

Inception cannot be embedded, and knows nothing of 16-pixel patches. The small classifier of digits is trained here in
seconds, by `python -m bdbook.evaluation.features`, on scikit-learn's digits; those of clothes and textures are in
`classifiers`. Any module (uint8 images) -> (N, features) may stand in for them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import Tensor, nn

from bdbook import data
from bdbook.evaluation import classifiers
from bdbook.transforms import height_width

WEIGHTS = Path(__file__).parent / "weights" / "digit_features.safetensors"
SIZE = 16
FEATURES = 32


class DigitFeatures(nn.Module):
    """uint8 (N, C, H, W) -> (N, 32 C): each channel as a grey image, resized to 16 pixels."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.hidden = nn.Linear(32 * (SIZE // 4) ** 2, FEATURES)
        self.last = nn.Linear(FEATURES, 10)

    def features(self, grey: Tensor) -> Tensor:
        """(N, 1, 16, 16) in [-1, 1] -> (N, 32)."""
        h = F.max_pool2d(F.relu(self.conv1(grey)), 2)
        h = F.max_pool2d(F.relu(self.conv2(h)), 2)
        return F.silu(self.hidden(h.flatten(1)))

    def logits(self, grey: Tensor) -> Tensor:
        """(N, 1, 16, 16) in [-1, 1] -> (N, 10)."""
        return self.last(self.features(grey))

    def forward(self, images: Tensor) -> Tensor:
        count, channels = images.shape[:2]
        return self.features(_grey(images.flatten(0, 1).unsqueeze(1))).reshape(count, channels * FEATURES)


def _grey(images: Tensor) -> Tensor:
    """uint8 (N, 1, H, W) -> (N, 1, 16, 16) in [-1, 1]."""
    grey = images.float() / 127.5 - 1
    if grey.shape[-2:] != (SIZE, SIZE):
        grey = F.interpolate(grey, (SIZE, SIZE), mode="bilinear", antialias=True)
    return grey


def labels(split: str) -> Tensor:
    """The digits' labels, in the order of `data.digits`."""
    file = data.package_file("sklearn.datasets.data", "digits.csv.gz")
    every = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.int64)[:, -1])
    border = round(0.8 * len(every))
    return every[:border] if split == "train" else every[border:]


def fit(steps: int = 1500, seed: int = 0) -> DigitFeatures:
    """Train on the training digits, shifted by up to two pixels."""
    images, target = data.digits(SIZE), labels("train")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = DigitFeatures()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-4)
        for _ in range(steps):
            chosen = torch.randint(len(images), (64,))
            shift = torch.randint(-2, 3, (2,)).tolist()
            shifted = F.pad(images[chosen], (2, 2, 2, 2), value=-1.0)
            shifted = shifted[..., 2 + shift[0] : 2 + shift[0] + SIZE, 2 + shift[1] : 2 + shift[1] + SIZE]
            optimizer.zero_grad()
            F.cross_entropy(net.logits(shifted), target[chosen]).backward()
            optimizer.step()
    return net.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(net: DigitFeatures, split: str = "test") -> float:
    """Share of digits named rightly."""
    return (net.logits(data.digits(SIZE, split=split)).argmax(1) == labels(split)).double().mean().item()


@lru_cache(maxsize=1)
def digit_features() -> DigitFeatures:
    """The stored network."""
    net = DigitFeatures()
    net.load_state_dict(load(WEIGHTS.read_bytes()))
    return net.eval().requires_grad_(False)


def digit_logits() -> Callable[[Tensor], Tensor]:
    """The stored network as a classifier: uint8 (N, C, H, W) -> (N, 10), of the mean over channels."""
    net = digit_features()
    return lambda images: net.logits(_grey(images.float().mean(1, keepdim=True)))


# Data for which a network was made -> the name of its kind in `classifiers`, and whether its classes are the data's.
MADE_FOR = {"fashion": ("clothes", True), "photos": ("textures", False), "leaves": ("textures", False)}


class Judge(NamedTuple):
    """features: uint8 (N, C, H, W) -> (N, d); logits: uint8 -> (N, classes) where the data have classes; words: whose.

    made: whether the network was made for such data.
    """

    features: nn.Module
    logits: Callable[[Tensor], Tensor] | None
    words: str
    made: bool


def of(name: str, size: data.Size) -> Judge:
    """The feature network for images of a data set, by name, at a size: side in pixels or (height, width).

    Fashion is seen by the classifier of clothes, photographs and leaves by that of textures, at 32 pixels where both
    sides have as many, else at 16. Digits have their own. For all other data there is none, and that of digits stands
    in, as the words say: its distances compare among themselves, and no class is any image's.
    """
    name = name.removeprefix(data.SET)
    if name in MADE_FOR:
        kind, classes = MADE_FOR[name]
        stored = f"{kind}-{32 if min(height_width(size)) >= 32 else 16}"
        net = classifiers.stored(stored)
        return Judge(net, net.named if classes else None, f"features of {stored}", True)
    if name == "digits":
        return Judge(digit_features(), digit_logits(), "embedded digit features", True)
    return Judge(digit_features(), None, f"embedded digit features (there are none for {name})", False)


if __name__ == "__main__":
    trained = fit()
    WEIGHTS.parent.mkdir(exist_ok=True)
    WEIGHTS.write_bytes(save({k: v.contiguous() for k, v in trained.state_dict().items()}))
    print(f"{WEIGHTS}: right on {accuracy(trained):.1%} of the test digits")
