"""How long is a DCT? bdbook's two matrix products against torch-dct and scipy, on one batch.

Run: python benchmarks/dct.py   (needs the extra "bench"; prints a Markdown table)

The three take turns, so that whatever else the machine does disturbs all alike. OMP_NUM_THREADS sets the
threads of the first two; scipy is given as many workers.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy.fft
import torch
import torch_dct

from bdbook.transforms import DCT

REPEATS = 200
SHAPES = [(128, 3, 32, 32), (64, 1, 16, 16), (16, 3, 64, 64)]


def contenders(shape: tuple[int, ...]) -> tuple[np.ndarray, dict[str, tuple[Callable, Callable]]]:
    """(x float32, {name: (forward, forward and inverse)}) as functions without arguments, returning arrays."""
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    tensor, basis, workers = torch.from_numpy(x), DCT(shape[-2:]), torch.get_num_threads()
    options = {"norm": "ortho", "axes": (-2, -1), "workers": workers}
    return x, {
        "bdbook": (lambda: basis.forward(tensor), lambda: basis.inverse(basis.forward(tensor))),
        "torch-dct": (
            lambda: torch_dct.dct_2d(tensor, norm="ortho"),
            lambda: torch_dct.idct_2d(torch_dct.dct_2d(tensor, norm="ortho"), norm="ortho"),
        ),
        "scipy": (
            lambda: scipy.fft.dctn(x, **options),
            lambda: scipy.fft.idctn(scipy.fft.dctn(x, **options), **options),
        ),
    }


def seconds(call: Callable) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), float32, median of {REPEATS} in ms\n")
    print("| batch | what | bdbook | torch-dct | scipy | bdbook/torch-dct | bdbook/scipy | largest difference |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for shape in SHAPES:
        x, calls = contenders(shape)
        exact = scipy.fft.dctn(x.astype(np.float64), norm="ortho", axes=(-2, -1)), x
        for k, what in enumerate(("forward", "forward and inverse")):
            times: dict[str, list[float]] = {name: [] for name in calls}
            for repeat in range(REPEATS + 10):
                for name, functions in calls.items():
                    elapsed = seconds(functions[k])
                    if repeat >= 10:  # the first ones warm up
                        times[name].append(elapsed)
            ours, *others = (1000 * statistics.median(times[name]) for name in calls)
            worst = np.abs(calls["bdbook"][k]().numpy() - exact[k]).max()
            print(
                f"| {'x'.join(map(str, shape))} | {what} | {ours:.3f} | "
                + " | ".join(f"{other:.3f}" for other in others)
                + " | "
                + " | ".join(f"{ours / other:.2f}" for other in others)
                + f" | {worst:.1e} |"
            )


if __name__ == "__main__":
    main()
