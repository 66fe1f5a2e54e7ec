"""What real pictures get from each measure, how much that scatters, and how both depend on how many there are.

    python results/laboratory/floors.py

Sets of real training pictures, none of them in the reference, are measured as samples are (`fair.Real`): for each data
set and size, DRAWS disjoint sets of each count. Minutes of a core; what is recorded is kept.
"""

from __future__ import annotations

import json
from pathlib import Path

import tyro
from tqdm import tqdm

from bdbook import files
from bdbook.evaluation import fair
from bdbook.training import records

FILE = Path(__file__).with_suffix(".json")
SETS = (("fashion", 16), ("fashion", 32))
COUNTS, DRAWS = (128, 512, 1024), 10


def main(file: Path = FILE) -> None:
    """Measure what is missing.

    Args:
        file: Where to keep what is found.
    """
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name, size in SETS:
        for count in tqdm(COUNTS, f"{name}, {size} px"):
            key = f"{name}, {size} px, {count}"
            if key in found:
                continue
            real = fair.real(name, size)
            sets = real.spare[: DRAWS * count].split(count)
            measured = [real.measures(pictures) for pictures in sets]
            found[key] = {
                "training": [each["samples"] for each in measured],
                "test": [each["test"]["samples"] for each in measured],
                "about": records.made_here(),
            }
            files.write_atomically(file, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
