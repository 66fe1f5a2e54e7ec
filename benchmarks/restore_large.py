"""How long does `bdbook restore` take for a photograph of 12 megapixels, and how much memory?

Run: python benchmarks/restore_large.py [--width 4000 --height 3000] [--without-network]

It makes a colour JPEG, restores it by the recorded photos-sharpen with the default settings, and prints the seconds and
the peak of the process's memory. Targets: 5 minutes and 2 GiB on two cores. --without-network puts a network that costs
nothing in its place: what is left is all that is around it, the memory but for a tile's. Unix only (resource).
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image

from bdbook import unet
from bdbook.cli import main as bdbook


def photograph(path: Path, width: int, height: int) -> None:
    """A smooth colour picture with fine grain, as a camera's JPEG."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (height // 100, width // 100, 3), dtype=np.uint8))
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(path, quality=92)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", type=int, default=4000)
    parser.add_argument("--height", type=int, default=3000)
    parser.add_argument("--without-network", action="store_true", help="measure what is around the network")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.jpg"
        photograph(file, asked.width, asked.height)
        start, used = time.perf_counter(), time.process_time()
        free = mock.patch.object(unet.UNet, "forward", lambda self, x, t: torch.zeros_like(x))
        if asked.without_network:
            free.start()
        status = bdbook(["restore", "--image", str(file), "--profile", "cpu"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(
        f"{asked.width}x{asked.height}: {time.perf_counter() - start:.0f} s, {time.process_time() - used:.0f} s of "
        f"cores, peak {peak / 2**30:.2f} GiB, {torch.get_num_threads()} threads, status {status}"
    )


if __name__ == "__main__":
    main()
