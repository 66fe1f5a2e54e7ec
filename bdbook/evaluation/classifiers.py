"""Feature networks for clothes and for textures: small classifiers trained here, whose last hidden layer is compared.

    python -m bdbook.evaluation.classifiers clothes-16      trains one in minutes and stores it with its accuracy

clothes-16, clothes-32   name the ten kinds of Fashion-MNIST, at the sizes at which the book draws them
textures-16, textures-32 tell photographs, dead leaves, and the Gaussian fields of either's spectrum apart: what they
                         look for is what a spectrum does not say
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from bdbook import data
from bdbook.errors import unknown
from bdbook.files import write_atomically
from bdbook.oracle import Gaussian
from bdbook.pixels import as_float, quantise
from bdbook.transforms import DCT

WEIGHTS = Path(__file__).parent / "weights"
FEATURES = 64
BATCH = 128
# Images of a kind of texture to train on, and to test on.
TEXTURES = {"train": 8192, "test": 2048}
FIELDS_SEED = {"train": 0, "test": 1}


class Classifier(nn.Module):
    """uint8 (N, C, H, W) -> (N, 64 C): each channel as a grey picture, brought to `size` pixels.

    size: 16 or 32; the larger has one more convolution, at its full resolution. classes: how many it names.
    """

    def __init__(self, size: int, classes: int):
        super().__init__()
        if size not in (16, 32):
            raise ValueError(f"size was {size}; expected 16 or 32")
        self.size, self.classes = size, classes
        # Pooled after each but the third from the end, so that two in a row see 16 pixels, and the last layers 4.
        widths = [1, 32, 32, 64] if size == 16 else [1, 16, 32, 32, 64]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.hidden = nn.Linear(64 * 4 * 4, FEATURES)
        self.last = nn.Linear(FEATURES, classes)

    def features(self, grey: Tensor) -> Tensor:
        """(N, 1, size, size) in [-1, 1] -> (N, 64)."""
        h = grey
        for k, convolution in enumerate(self.convolutions, -len(self.convolutions)):
            h = F.relu(convolution(h))
            h = h if k == -3 else F.max_pool2d(h, 2)
        return F.silu(self.hidden(h.flatten(1)))

    def logits(self, grey: Tensor) -> Tensor:
        """(N, 1, size, size) in [-1, 1] -> (N, classes)."""
        return self.last(self.features(grey))

    def forward(self, images: Tensor) -> Tensor:
        count, channels = images.shape[:2]
        return self.features(self.grey(images.flatten(0, 1).unsqueeze(1))).reshape(count, channels * FEATURES)

    def named(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> logits (N, classes), of the mean over channels."""
        return self.logits(self.grey(images.float().mean(1, keepdim=True)))

    def grey(self, images: Tensor) -> Tensor:
        """uint8 (N, 1, H, W) -> (N, 1, size, size) in [-1, 1]."""
        grey = images.float() / 127.5 - 1
        if grey.shape[-2:] != (self.size, self.size):
            grey = F.interpolate(grey, (self.size, self.size), mode="bilinear", antialias=True)
        return grey


def clothes(size: int, split: str) -> tuple[Tensor, Tensor]:
    """Fashion-MNIST as files hold it, uint8 (N, 1, size, size), and which kind of clothes each shows, (N,)."""
    return quantise(data.load_pixels("fashion", size, split=split)), data.fashion.labels(split)


def textures(size: int, split: str) -> tuple[Tensor, Tensor]:
    """As many photographs, dead leaves, and Gaussian fields of the spectrum of each; and which of the four each is.

    uint8 (N, 1, size, size) and (N,). The fields have the mean and variance of each coefficient of the training
    pictures, and are clamped to [-1, 1] as all that is stored.
    """
    kinds = []
    random = torch.Generator().manual_seed(FIELDS_SEED[split])
    for name in ("photos", "leaves"):
        pictures = data.load(name, size, count=TEXTURES[split], split=split)
        seen = pictures if split == "train" else data.load(name, size, count=TEXTURES["train"])
        fields = Gaussian.fit(DCT(size), seen).sample(TEXTURES[split], random)
        kinds += [quantise(pictures), quantise(fields)]
    return torch.cat(kinds), torch.arange(len(kinds)).repeat_interleave(TEXTURES[split])


@dataclass(frozen=True)
class Task:
    """What a network is trained on: labelled pictures of a split, at a size, moved by up to `shift` pixels."""

    pictures: Callable[[int, str], tuple[Tensor, Tensor]]
    size: int
    classes: int
    epochs: int
    shift: int = 0


TASKS = {
    "clothes-16": Task(clothes, 16, 10, epochs=12, shift=1),
    "clothes-32": Task(clothes, 32, 10, epochs=6, shift=2),
    "textures-16": Task(textures, 16, 4, epochs=12),
    "textures-32": Task(textures, 32, 4, epochs=5),
}


def task(name: str) -> Task:
    """One of TASKS by name."""
    if name not in TASKS:
        raise unknown("feature network", name, TASKS)
    return TASKS[name]


def fit(task: Task, epochs: int | None = None, seed: int = 0, tell: Callable[[str], None] | None = None) -> Classifier:
    """Train on the training split, moved and mirrored at random; weights are rounded to float16, as they are stored.

    epochs: None for the task's own. tell: is told of each epoch.
    """
    images, target = task.pictures(task.size, "train")
    epochs = task.epochs if epochs is None else epochs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Classifier(task.size, task.classes)
        steps = epochs * (len(images) // BATCH)
        optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
        for epoch in range(epochs):
            for rows in _batches(len(images)):
                loss = F.cross_entropy(net.logits(_moved(as_float(images[rows]), task.shift)), target[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                rate.step()
            if tell:
                tell(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}")
    return _frozen(net.half().float())


def _batches(count: int) -> Iterator[Tensor]:
    """Rows in random order; what is left over from whole batches waits for another epoch."""
    yield from torch.randperm(count)[: count // BATCH * BATCH].split(BATCH)


def _moved(images: Tensor, shift: int) -> Tensor:
    """A batch (B, 1, H, W) moved by up to `shift` pixels, black coming in; half of the images mirrored."""
    mirrored = torch.rand(len(images), 1, 1, 1) < 0.5
    images = torch.where(mirrored, images.flip(3), images)
    if not shift:
        return images
    height, width = images.shape[-2:]
    y, x = torch.randint(2 * shift + 1, (2,)).tolist()
    return F.pad(images, (shift,) * 4, value=-1.0)[..., y : y + height, x : x + width]


@torch.no_grad()
def accuracy(net: Classifier, images: Tensor, target: Tensor) -> float:
    """Share of pictures, uint8 (N, C, H, W), that a network names as `target` (N,) does."""
    right = [(net.named(x).argmax(1) == y) for x, y in zip(images.split(1000), target.split(1000), strict=True)]
    return torch.cat(right).double().mean().item()


def _frozen(net: Classifier) -> Classifier:
    return net.eval().requires_grad_(False)


def _file(name: str) -> Path:
    return WEIGHTS / f"{name}.safetensors"


@lru_cache(maxsize=len(TASKS))
def stored(name: str) -> Classifier:
    """The stored network of one of TASKS."""
    net = Classifier(task(name).size, task(name).classes)
    net.load_state_dict({key: value.float() for key, value in load(_file(name).read_bytes()).items()})
    return _frozen(net)


def stored_accuracy(name: str) -> float:
    """The share of its task's test pictures that the stored network names rightly, as it was found when it was made."""
    task(name)
    with safe_open(_file(name), "pt") as file:
        return float(file.metadata()["accuracy"])


def store(net: Classifier, name: str, right: float) -> None:
    """Write a network and its accuracy to where `stored` reads them, in float16."""
    content = {key: value.half().contiguous() for key, value in net.state_dict().items()}
    write_atomically(_file(name), save(content, {"accuracy": repr(right)}))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a feature network, and store it with its accuracy.")
    parser.add_argument("name", choices=TASKS)
    name: str = parser.parse_args().name
    chosen = task(name)
    net = fit(chosen, tell=print)
    right = accuracy(net, *chosen.pictures(chosen.size, "test"))
    store(net, name, right)
    print(f"{_file(name)}: right on {right:.2%} of the test pictures")


if __name__ == "__main__":
    main()
