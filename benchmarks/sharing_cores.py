"""Do two trainings on one machine slow each other? One alone, then two at once, waiting as torch does and as bdbook.

Run: python benchmarks/sharing_cores.py   (some minutes; prints a Markdown table; the target is a ratio of at most 2.2)

Each is a process of its own, with as many threads as the machine has cores. Two that share the cores fairly take twice
as long as one. Threads of GNU's OpenMP that wait spin for milliseconds, on the very core that the other needs;
GOMP_SPINCOUNT, which `import bdbook` sets (bdbook/cores.py), lets them sleep. --steps makes it shorter.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from bdbook import cores

ROOT = Path(__file__).resolve().parents[1]
# How threads wait: the variables of the environment.
WAYS = {
    "spinning, OpenMP's default": {"GOMP_SPINCOUNT": "300000"},
    f"GOMP_SPINCOUNT={cores.SPINS}, as bdbook sets it": {"GOMP_SPINCOUNT": cores.SPINS},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
}


def seconds(at_once: int, steps: int, waiting: dict[str, str]) -> float:
    """From the start of so many trainings to the end of the last."""
    others = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        command = [sys.executable, "-m", "bdbook", "train", "--recipe", "digits-blurring", "--profile", "cpu"]
        running = [
            subprocess.Popen(
                [*command, "--steps", str(steps), "--checkpoint-every", str(steps), "--out", f"{folder}/{number}"],
                env=others | waiting,
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for number in range(at_once)
        ]
        ended = [process.wait() for process in running]
        if any(ended):
            raise RuntimeError(f"trainings ended with {ended}; run one by hand: {' '.join(command)}")
        return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100)
    steps = parser.parse_args().steps
    print(f"torch {torch.__version__}, {cores.available()} core(s), {steps} steps of digits-blurring\n")
    print("| threads wait by | one, s | two at once, s | ratio |\n| --- | --- | --- | --- |")
    for name, waiting in WAYS.items():
        one, two = (seconds(at_once, steps, waiting) for at_once in (1, 2))
        print(f"| {name} | {one:.1f} | {two:.1f} | {two / one:.2f} |", flush=True)


if __name__ == "__main__":
    main()
