"""Fit the mixtures of the exact laboratory to pictures of 16x16, diagonal in the cosine basis.

    python results/laboratory/mixtures.py

A mixture that is there is kept. Fashion-MNIST needs Debian's dataset-fashion-mnist, and half a minute of one core;
the first 20,000 of its training images are fitted.
"""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from bdbook import data
from bdbook.mixtures import Mixture
from bdbook.transforms import DCT

HERE = Path(__file__).parent
COMPONENTS = {"fashion": 100, "photos": 30, "leaves": 30}
COUNT = {"fashion": 20_000}


def main() -> None:
    """Fit what is missing."""
    for name, components in tqdm(COMPONENTS.items(), "mixtures"):
        file = HERE / f"{name}.safetensors"
        if not file.exists():
            images = data.load(name, 16, count=COUNT.get(name))
            Mixture.fit(DCT(16), images.double(), components, seed=0).save(file)


if __name__ == "__main__":
    main()
